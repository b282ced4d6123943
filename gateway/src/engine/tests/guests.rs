//! What only tests want of a guest made of text.

use wit_component::ComponentEncoder;

use crate::domain::Kind;
use crate::engine::fixtures::guest::params;
pub(super) use crate::engine::fixtures::guest::{ECHO, Guest, embed, manifest};

impl Guest {
    /// A connector of these two bodies; `render`'s locals are the events and the config.
    pub(super) fn connector(render: &str, interpret: &str) -> Self {
        Self::of(
            Kind::Connector,
            format!(
                "(func (export \"render\") {} (result i32) {render}) (func (export \"interpret\") {} (result i32) {interpret})",
                params(4),
                params(9)
            ),
        )
    }

    /// With fields of the module before everything else.
    pub(super) fn importing(mut self, import: &str) -> Self {
        self.imports = import.into();
        self
    }

    /// The component made of it.
    pub(super) fn component(&self) -> Vec<u8> {
        ComponentEncoder::default().validate(true).module(&self.module()).unwrap().encode().unwrap()
    }
}
