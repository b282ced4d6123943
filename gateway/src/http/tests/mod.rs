//! The whole router over the store in memory, without a socket.

mod access;
mod doctor;
mod document;
mod event_types;
mod ingest;
mod inputs;
mod plugins;
mod profiles;
mod replays;
mod resources;
mod sources;
mod stream;
mod world;
