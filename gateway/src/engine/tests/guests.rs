//! What only tests want of a guest made of text.

use wit_component::ComponentEncoder;

pub(super) use crate::engine::fixtures::guest::{ECHO, Guest, embed, manifest};

impl Guest {
    /// The component made of it.
    pub(super) fn component(&self) -> Vec<u8> {
        ComponentEncoder::default().validate(true).module(&self.module()).unwrap().encode().unwrap()
    }
}
