//! The plugins there are, found by what a subscription calls them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::Plugin;

/// Plugins by name. Fixed at start: presets, and what the operator adds.
#[derive(Clone, Default)]
pub struct Shelf(Arc<BTreeMap<String, Arc<Plugin>>>);

impl Shelf {
    /// A shelf of these. Of two with one name the later counts.
    #[must_use]
    pub fn new(plugins: impl IntoIterator<Item = Arc<Plugin>>) -> Self {
        Self(Arc::new(plugins.into_iter().map(|plugin| (plugin.manifest().name.clone(), plugin)).collect()))
    }

    /// All of them, by name.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Plugin>> {
        self.0.values().cloned().collect()
    }

    /// The plugin a subscription means by `name`, `name@1.2.0`, `name@latest`, `name@^1` or `name@sha256:…`.
    ///
    /// # Errors
    /// A sentence that says what there is instead.
    pub fn find(&self, reference: &str) -> Result<Arc<Plugin>, String> {
        let (name, version) = match reference.split_once('@') {
            Some((name, version)) => (name, Some(version)),
            None => (reference, None),
        };
        let Some(plugin) = self.0.get(name) else {
            let names: Vec<&str> = self.0.keys().map(String::as_str).collect();
            return Err(format!("there is no plugin `{name}`; there are {}", names.join(", ")));
        };
        let manifest = plugin.manifest();
        let fits = match version {
            None | Some("latest") => true,
            Some(digest) if digest.starts_with("sha256:") => digest == plugin.digest().to_string(),
            Some(range) if range.starts_with('^') => same_major(&range[1..], &manifest.version),
            Some(exact) => exact == manifest.version,
        };
        if fits {
            Ok(plugin.clone())
        } else {
            Err(format!("there is no `{reference}`; the version here is `{}`", manifest.reference()))
        }
    }
}

/// Whether `version` is one that `^wanted` takes: the same leftmost part that is not zero.
fn same_major(wanted: &str, version: &str) -> bool {
    let wanted: Vec<&str> = wanted.split('.').collect();
    let version: Vec<&str> = version.split('.').collect();
    let significant = wanted.iter().position(|part| *part != "0").unwrap_or(wanted.len().saturating_sub(1));
    wanted.iter().zip(&version).take(significant + 1).all(|(wanted, version)| wanted == version)
}

#[cfg(test)]
mod tests {
    use super::same_major;

    #[test]
    fn carets() {
        for (wanted, version, fits) in [
            ("1", "1.2.3", true),
            ("1.2", "1.9.0", true),
            ("2", "1.2.3", false),
            ("0.1", "0.1.7", true),
            ("0.1", "0.2.0", false),
            ("0", "0.9.0", true),
        ] {
            assert_eq!(same_major(wanted, version), fits, "^{wanted} and {version}");
        }
    }
}
