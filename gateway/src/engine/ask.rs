//! What an instance is asked, and what it answers: the calls of both worlds as values, so that one way of running
//! serves them all.

use std::borrow::Cow;

use wasmtime::Store;

use super::bindings::{connector, transform, types};
use super::convert;
use super::fault::Stage;
use super::guest::Guest;
use super::output;
use crate::domain::{Decision, Fault, Kind, PluginEvent, PluginResponse, Rendered, Verdicts};

/// An instance of either world.
pub(super) enum Instance {
    Transform(transform::Transform),
    Connector(connector::Connector),
}

/// A call of one of the contract's functions.
pub(super) trait Ask: Sync {
    /// Which world has the function.
    const KIND: Kind;
    /// What comes back, as it comes.
    type Said: Send;
    /// What came back, checked.
    type Answer: Send + 'static;
    /// The same call, which can be made on another thread.
    type Owned: Ask<Answer = Self::Answer> + Send + 'static;

    /// The same call, to be made on another thread.
    fn owned(&self) -> Self::Owned;

    /// Makes the call. Of an instance of the other world it gets an error of the engine's own.
    fn put(
        &self,
        instance: &Instance,
        store: &mut Store<Guest>,
        config: &str,
    ) -> impl Future<Output = Result<Self::Said, Stage>> + Send;

    /// Holds what was said against the contract, and against the limit on its size.
    fn check(&self, said: Self::Said, limit: usize) -> Result<Self::Answer, Fault>;
}

/// A transform's decision about an event.
pub(super) struct Decide<'a>(pub(super) Cow<'a, PluginEvent>);

impl Ask for Decide<'_> {
    const KIND: Kind = Kind::Transform;
    type Said = Result<transform::Decision, types::Fault>;
    type Answer = Decision;
    type Owned = Decide<'static>;

    fn owned(&self) -> Self::Owned {
        Decide(Cow::Owned(self.0.clone().into_owned()))
    }

    async fn put(&self, instance: &Instance, store: &mut Store<Guest>, config: &str) -> Result<Self::Said, Stage> {
        let Instance::Transform(guest) = instance else { return Err(other_world()) };
        guest.call_transform(store, &convert::event_in(&self.0), config).await.map_err(Stage::Run)
    }

    fn check(&self, said: Self::Said, limit: usize) -> Result<Decision, Fault> {
        output::decision(said.map_err(convert::fault)?, &self.0, limit)
    }
}

/// A connector's request for events.
pub(super) struct Render<'a>(pub(super) Cow<'a, [PluginEvent]>);

impl Ask for Render<'_> {
    const KIND: Kind = Kind::Connector;
    type Said = Result<connector::Outcome, types::Fault>;
    type Answer = Rendered;
    type Owned = Render<'static>;

    fn owned(&self) -> Self::Owned {
        Render(Cow::Owned(self.0.to_vec()))
    }

    async fn put(&self, instance: &Instance, store: &mut Store<Guest>, config: &str) -> Result<Self::Said, Stage> {
        let Instance::Connector(guest) = instance else { return Err(other_world()) };
        let events: Vec<_> = self.0.iter().map(convert::event_in).collect();
        guest.call_render(store, &events, config).await.map_err(Stage::Run)
    }

    fn check(&self, said: Self::Said, limit: usize) -> Result<Rendered, Fault> {
        output::rendered(said.map_err(convert::fault)?, limit)
    }
}

/// A connector's reading of an answer to a request that carried `count` events.
pub(super) struct Interpret<'a> {
    pub(super) response: Cow<'a, PluginResponse>,
    pub(super) count: u32,
}

impl Ask for Interpret<'_> {
    const KIND: Kind = Kind::Connector;
    type Said = connector::Verdicts;
    type Answer = Verdicts;
    type Owned = Interpret<'static>;

    fn owned(&self) -> Self::Owned {
        Interpret { response: Cow::Owned(self.response.clone().into_owned()), count: self.count }
    }

    async fn put(&self, instance: &Instance, store: &mut Store<Guest>, config: &str) -> Result<Self::Said, Stage> {
        let Instance::Connector(guest) = instance else { return Err(other_world()) };
        guest.call_interpret(store, &convert::response_in(&self.response), config, self.count).await.map_err(Stage::Run)
    }

    fn check(&self, said: Self::Said, limit: usize) -> Result<Verdicts, Fault> {
        output::verdicts(said, self.count, limit)
    }
}

fn other_world() -> Stage {
    Stage::Start(wasmtime::Error::msg("an instance of the other world was asked"))
}
