//! The two traits an author implements.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::{Decision, Event, Fault, Manifest, Outcome, Response, Verdict};

/// A transform: changes or drops events on their way. Export it with [`transform!`](crate::transform!).
pub trait Transform {
    /// What the subscription's author fills in. Its schema is derived; doc comments become help texts.
    type Config: DeserializeOwned + JsonSchema;

    /// What this plugin says of itself.
    const MANIFEST: Manifest;

    /// Handles one event.
    ///
    /// # Errors
    /// A [`Fault`] goes into the delivery's log and ends the attempt.
    fn transform(event: Event, config: &Self::Config) -> Result<Decision, Fault>;
}

/// A connector: knows a target. Export it with [`connector!`](crate::connector!).
pub trait Connector {
    /// What the subscription's author fills in. Secrets are [`Secret`](crate::Secret) fields.
    type Config: DeserializeOwned + JsonSchema;

    /// What this plugin says of itself.
    const MANIFEST: Manifest;

    /// Makes the request for one event.
    ///
    /// # Errors
    /// A [`Fault`] goes into the delivery's log and ends the attempt.
    fn render(event: Event, config: &Self::Config) -> Result<Outcome, Fault>;

    /// Reads an answer, when the manifest's `interprets` asks for it. The default is the host's own
    /// rule.
    fn interpret(response: &Response, config: &Self::Config) -> Verdict {
        let _ = config;
        response.default_verdict()
    }
}
