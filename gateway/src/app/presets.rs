//! The presets, embedded as they were built from `plugins/`.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use futures_util::future::try_join_all;

use crate::engine::{Engine, Plugin};

/// Name and bytes of every preset.
pub(super) const PRESETS: [(&str, &[u8]); 6] = [
    ("slack", include_bytes!("../../../plugins/dist/slack.wasm")),
    ("zapier", include_bytes!("../../../plugins/dist/zapier.wasm")),
    ("google-sheets", include_bytes!("../../../plugins/dist/google-sheets.wasm")),
    ("http", include_bytes!("../../../plugins/dist/http.wasm")),
    ("fields", include_bytes!("../../../plugins/dist/fields.wasm")),
    ("redact", include_bytes!("../../../plugins/dist/redact.wasm")),
];

/// Compiles the presets, or loads what an earlier start compiled, and what the operator adds.
pub(super) async fn install(engine: &Engine, files: &[PathBuf], extra: &[Vec<u8>]) -> anyhow::Result<Vec<Arc<Plugin>>> {
    let presets = PRESETS.map(|(name, bytes)| async move {
        engine.install_own(bytes).await.with_context(|| format!("the preset `{name}` does not load"))
    });
    let mut plugins = try_join_all(presets).await?;
    let mut added = Vec::with_capacity(files.len());
    for file in files {
        let bytes = std::fs::read(file).with_context(|| format!("plugins.files: can't read {}", file.display()))?;
        added.push((format!("plugins.files: {}", file.display()), bytes));
    }
    added.extend(extra.iter().map(|bytes| ("an added plugin".to_owned(), bytes.clone())));
    for (what, bytes) in added {
        let plugin = engine.install(&bytes).await.with_context(|| format!("{what} does not load"))?;
        let name = &plugin.manifest().name;
        let taken = plugins.iter().any(|other: &Arc<Plugin>| other.manifest().name == *name);
        anyhow::ensure!(!taken, "{what} calls itself `{name}`, and another plugin does already: choose another name");
        plugins.push(plugin);
    }
    Ok(plugins)
}
