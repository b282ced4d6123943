//! The API, one file per resource: what is asked is taken apart, given to `control`, and shown.

mod deliveries;
mod doctor;
mod event_types;
mod events;
mod inboxes;
mod keys;
mod pasted;
mod plugins;
mod profiles;
mod replays;
mod rollouts;
mod runs;
mod sources;
mod stream;
mod subscriptions;
mod tenants;
mod trial;
pub(super) mod views;

pub use self::runs::run_alone;
pub(super) use self::trial::EventShape;
use super::route::Route;

/// The routes of all resources.
pub(super) fn routes() -> Vec<Route> {
    [
        events::routes(),
        event_types::routes(),
        stream::routes(),
        subscriptions::routes(),
        trial::routes(),
        doctor::routes(),
        deliveries::routes(),
        replays::routes(),
        sources::routes(),
        profiles::routes(),
        plugins::routes(),
        runs::routes(),
        rollouts::routes(),
        inboxes::routes(),
        keys::routes(),
        tenants::routes(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
