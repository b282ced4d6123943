//! The presets, embedded as they were built from `plugins/`.

use std::sync::Arc;

use anyhow::Context;

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
pub(super) async fn install(engine: &Engine, extra: &[Vec<u8>]) -> anyhow::Result<Vec<Arc<Plugin>>> {
    let mut plugins = Vec::with_capacity(PRESETS.len() + extra.len());
    for (name, bytes) in PRESETS {
        plugins.push(engine.install(bytes).await.with_context(|| format!("the preset `{name}` does not load"))?);
    }
    for bytes in extra {
        plugins.push(engine.install(bytes).await.context("an added plugin does not load")?);
    }
    Ok(plugins)
}
