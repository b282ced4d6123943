//! The plugins there are.

use std::sync::Arc;

use super::{Control, Error, Result};
use crate::domain::Kind;
use crate::engine::Plugin;

impl Control {
    /// The plugins, by name; of one kind, if one is named.
    #[must_use]
    pub fn plugins(&self, kind: Option<Kind>) -> Vec<Arc<Plugin>> {
        let mut plugins = self.registry.plugins();
        plugins.retain(|plugin| kind.is_none_or(|kind| plugin.manifest().kind == kind));
        plugins
    }

    /// The plugin with this name, and this version if one is named.
    ///
    /// # Errors
    /// If there is none.
    pub fn plugin(&self, name: &str, version: Option<&str>) -> Result<Arc<Plugin>> {
        self.registry
            .plugins()
            .into_iter()
            .find(|plugin| {
                let manifest = plugin.manifest();
                manifest.name == name && version.is_none_or(|version| version == manifest.version)
            })
            .ok_or(Error::NotFound("plugin"))
    }
}
