//! The whole router over the store in memory, without a socket.

mod access;
mod document;
mod ingest;
mod inputs;
mod profiles;
mod resources;
mod world;
