//! Profiles: products as data files.
//!
//! **Who acts.** `app` loads the shipped files, which are compiled in, and those of the operator's folder; `control`
//! loads the folder again when it is told to. `registry` lays the settings of sources and subscriptions over a
//! profile's halves, and `pipeline` writes a profile's [`Envelope`]. **What a profile is.** A *source half*: how a request from the
//! product proves itself and what is read from it, in the words of a source of the API. A *delivery half*: how the
//! product signs, wraps and retries, in the words of a subscription. A *catalogue*: the event types with a title and
//! real requests for each. And the product's own names for our things. Adding a product needs no code.
//! **What is promised.** A file counts as a whole or not at all. One that is broken is refused with its name, the
//! line and the reason, and takes nothing with it: the others count, and so does what was loaded under its name
//! before. A key that is not known is a mistake, never ignored. Whatever a profile says is checked by the readers that
//! check what a client says, and every request in it is read by its own source half when it is loaded; both checks
//! are handed in ([`Check`]), for the rooms that can make them come later. **What is deliberately not.** A profile holds
//! no secret, and no file of the folder may take the name of a shipped one: what `github` means is the same
//! everywhere.

mod envelope;
mod file;
mod place;
mod profile;
mod set;
mod shipped;

#[cfg(test)]
mod tests;

pub use self::envelope::{Envelope, Frame};
pub use self::profile::{DeliveryHalf, EventEntry, Profile, Sample, SecretUse, SourceHalf, Term};
pub use self::set::{Broken, Check, Profiles, Proven};
