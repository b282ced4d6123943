//! The end-to-end suite: the real binary, real sockets, a real disk. One module a theme, one binary for all.
//!
//! `HOOKMILL_LONG=1` makes the tests of crashes and damage as long as a release wants them.

mod addresses;
mod authors;
mod bench;
mod commands;
mod connectors;
mod crash;
mod damage;
mod delivery;
mod dev;
mod doctor;
mod endpoints;
mod full_disk;
mod harm;
mod hostile;
mod ingest;
mod json;
mod languages;
mod plugins;
mod process;
mod profiles;
mod purity;
mod replays;
mod retries;
mod rollout;
mod sources;
mod states;
mod systems;
mod tenancy;
mod uploads;
mod vendors;
mod watching;
