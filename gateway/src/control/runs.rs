//! One call of a plugin, to see what it makes of an event. Nothing is sent and nothing is kept.
//!
//! The same input gives the same output, whenever and wherever it is run: what the caller leaves out of the event is
//! always the same, and a secret in the config is stood for by a placeholder that follows from its place.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Control, Error, Result};
use crate::domain::{Decision, EventType, Fault, Kind, LogLine, PluginEvent, Rendered, TenantId, rfc3339};
use crate::engine::{Engine, Plugin, Ran};
use crate::registry::Registry;

/// The event of a run, as a client writes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunEvent {
    /// Its id.
    #[serde(default)]
    pub id: Option<String>,
    /// Its type.
    #[serde(rename = "type")]
    pub event_type: EventType,
    /// When it happened.
    #[serde(default)]
    pub timestamp: Option<Timestamp>,
    /// Who says so.
    #[serde(default)]
    pub source: Option<String>,
    /// Its data, kept as it is written.
    pub data: Box<RawValue>,
    /// Kept headers and extensions.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

/// What a plugin made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Of a transform.
    Decided(Decision),
    /// Of a connector.
    Rendered(Rendered),
}

/// What a run came to.
#[derive(Debug)]
pub struct PluginTrial {
    /// What was run.
    pub plugin: Arc<Plugin>,
    /// What it made, or what went wrong.
    pub result: std::result::Result<Output, Fault>,
    /// What it logged.
    pub log: Vec<LogLine>,
    /// Its running time.
    pub cpu: Duration,
    /// The most linear memory it had, in bytes.
    pub peak_memory: usize,
}

impl Control {
    /// Runs a plugin over one event.
    ///
    /// # Errors
    /// If there is none, its schema does not allow the config, or the tenant's plugins have used up their processor time.
    pub async fn run_plugin(
        &self,
        tenant: TenantId,
        reference: &str,
        event: RunEvent,
        config: Value,
    ) -> Result<PluginTrial> {
        let found = self.registry.find_plugin(tenant, reference).map_err(|_| Error::NotFound("plugin"))?;
        let plugin = found.plugin().clone();
        let (event, config) = PluginTrial::prepare(&plugin, event, config)?;
        self.not_before(self.pipeline.cpu_free_at(tenant))?;
        let trial = PluginTrial::make(self.registry.engine(), tenant, plugin, event, &config).await;
        self.pipeline.charge(tenant, trial.cpu);
        Ok(trial)
    }
}

impl PluginTrial {
    /// The event and the config as the plugin is given them.
    ///
    /// # Errors
    /// If the id can't be one, or the plugin's schema does not allow the config.
    pub fn prepare(plugin: &Plugin, event: RunEvent, config: Value) -> Result<(PluginEvent, String)> {
        if event.id.as_ref().is_some_and(|id| id.is_empty() || id.len() > 256) {
            return Err(Error::field("/event/id", "an id is 1 to 256 bytes"));
        }
        let config = Registry::trial_config(plugin, config)?;
        Ok((plugin_event(event), config))
    }

    /// Runs a plugin once, on what was prepared.
    pub async fn make(
        engine: &Engine,
        tenant: TenantId,
        plugin: Arc<Plugin>,
        event: PluginEvent,
        config: &str,
    ) -> Self {
        match plugin.manifest().kind {
            Kind::Transform => {
                let ran = engine.transform(&plugin, tenant, &event, config).await;
                trial(plugin, ran, Output::Decided)
            }
            Kind::Connector => {
                let ran = engine.render(&plugin, tenant, &[event], config).await;
                trial(plugin, ran, Output::Rendered)
            }
        }
    }
}

fn trial<T>(plugin: Arc<Plugin>, ran: Ran<T>, output: impl FnOnce(T) -> Output) -> PluginTrial {
    let Ran { result, log, cpu, peak_memory } = ran;
    PluginTrial { plugin, result: result.map(output), log, cpu, peak_memory }
}

/// What is left out is filled in with what is always the same.
fn plugin_event(event: RunEvent) -> PluginEvent {
    PluginEvent {
        id: event.id.unwrap_or_else(|| "evt_run".to_owned()),
        event_type: event.event_type.as_str().to_owned(),
        source: event.source.unwrap_or_default(),
        timestamp: rfc3339(event.timestamp.unwrap_or(Timestamp::UNIX_EPOCH)),
        data: Box::<str>::from(event.data).into(),
        attributes: event.attributes.into_iter().collect(),
    }
}
