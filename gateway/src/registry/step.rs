//! A subscription's steps, compiled: a plugin with its config, and what is tried beside it.
//!
//! A candidate is another version of the step. Either it gets a share of the events, always the same ones, or it runs
//! in the step's shadow and nothing of it is sent. A connector's candidate has the connector's own name, since secrets
//! were entered for that name; a transform of another name brings a config of its own.

use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::shelf::Found;
use super::{Shelf, plan, schema, seal};
use crate::domain::pointer::insert;
use crate::domain::{
    AuthNeed, CandidateSpec, ConnectorSpec, EventId, FieldError, Interprets, Kind, Manifest, PluginRun, Secret,
    Subscription, TransformSpec,
};
use crate::egress;
use crate::engine::Plugin;
use crate::vault::Vault;

/// A plugin and the config it is given.
pub struct Step {
    /// The plugin.
    pub plugin: Arc<Plugin>,
    /// `name@version`.
    pub reference: String,
    /// The config as JSON text, placeholders in the place of secrets.
    pub config: String,
    /// What is tried beside it.
    pub candidate: Option<Box<Candidate>>,
    /// Where it follows a name: which version it has not followed, and why.
    pub behind: Option<String>,
    /// Hosts that secrets may be sent to if it is the connector.
    hosts: Vec<String>,
}

/// What is tried beside a step.
pub struct Candidate {
    /// The plugin and its config.
    pub step: Step,
    /// How it is tried.
    pub share: Share,
}

/// How a candidate is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// It gets so many of a hundred events.
    Percent(u8),
    /// It runs after the delivery, and nothing of it is sent.
    Shadow,
}

impl Step {
    /// What runs for an event: the step itself, or its candidate. For the same event it is always the same, and what a
    /// smaller share gets, a larger one does, too.
    #[must_use]
    pub fn used_for(&self, event: EventId) -> &Self {
        match &self.candidate {
            Some(candidate) if candidate.share.takes(event) => &candidate.step,
            _ => self,
        }
    }

    /// The one of the two that has run for an event, by what was noted of it: after a change of the share that may not be
    /// the one that would run now.
    #[must_use]
    pub fn used_in(&self, runs: &[PluginRun], event: EventId) -> &Self {
        let has_run =
            |step: &&Self| runs.iter().any(|run| run.digest == step.plugin.digest() && run.plugin == step.reference);
        let tried = self.candidate.as_ref().map(|candidate| &candidate.step);
        [self.used_for(event), self].into_iter().chain(tried).find(has_run).unwrap_or(self)
    }

    /// What runs in its shadow.
    #[must_use]
    pub fn shadow(&self) -> Option<&Self> {
        let candidate = self.candidate.as_ref().filter(|candidate| candidate.share == Share::Shadow);
        candidate.map(|candidate| &candidate.step)
    }

    /// Whether the connector is to be asked about this answer.
    #[must_use]
    pub fn interprets(&self, is_2xx: bool, body: &[u8]) -> bool {
        match self.plugin.manifest().interprets {
            Interprets::Never => false,
            Interprets::Errors => !is_2xx,
            // Slack answers so to nearly every message, and to ask is to call into the guest once more.
            Interprets::Always => !(is_2xx && body == b"ok"),
        }
    }

    /// Hosts that secrets may be sent to if it is the connector, by its word or that of what is tried beside it.
    pub(super) fn hosts(&self) -> Vec<String> {
        let mut hosts = self.hosts.clone();
        hosts.extend(self.candidate.iter().flat_map(|candidate| candidate.step.hosts.clone()));
        hosts
    }
}

impl Share {
    /// Whether the candidate runs in place of the step for this event.
    #[must_use]
    pub fn takes(self, event: EventId) -> bool {
        match self {
            Self::Percent(percent) => hundredth(event) < percent,
            Self::Shadow => false,
        }
    }
}

/// Where an event stands between 0 and 99. Its id begins with the time, so it is hashed.
fn hundredth(event: EventId) -> u8 {
    let digest = Sha256::digest(event.to_bytes());
    let number = digest.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    u8::try_from(number % 100).unwrap_or(0)
}

/// Which version a step means that follows a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The newest: that the step does not go together with it is a mistake.
    Newest,
    /// The newest of those that it goes together with.
    Fitting,
}

/// What the steps of a subscription are compiled with.
pub(super) struct Reading<'a> {
    pub(super) meaning: Meaning,
    pub(super) subscription: &'a Subscription,
    pub(super) vault: &'a Vault,
    pub(super) shelf: &'a Shelf,
    pub(super) placeholders: &'a mut Vec<(String, Secret)>,
    pub(super) errors: &'a mut Vec<FieldError>,
}

impl Reading<'_> {
    pub(super) fn transform(&mut self, number: usize, spec: &TransformSpec) -> Option<Step> {
        let at = format!("/transforms/{number}");
        let kind = (Kind::Transform, "is a connector; name it in `connector`");
        let step = self.step(&spec.plugin, &spec.config, kind, (&format!("{at}/plugin"), &format!("{at}/config")))?;
        self.beside(step, &spec.config, spec.candidate.as_ref(), &at)
    }

    pub(super) fn connector(&mut self, spec: &ConnectorSpec) -> Option<Step> {
        let kind = (Kind::Connector, "is a transform; name it in `transforms`");
        let step = self.step(&spec.name, &spec.config, kind, ("/connector/name", "/connector/config"))?;
        self.beside(step, &spec.config, spec.candidate.as_ref(), "/connector")
    }

    /// A step of a kind; with what is said of one of another kind, and the places of its name and of its config.
    fn step(
        &mut self,
        name: &str,
        config: &Value,
        (kind, otherwise): (Kind, &str),
        (name_at, config_at): (&str, &str),
    ) -> Option<Step> {
        let tenant = self.subscription.tenant_id;
        let mut found = match self.shelf.find(tenant, name) {
            Ok(found) => found,
            Err(detail) => {
                self.errors.push(FieldError::new(name_at, detail));
                return None;
            }
        };
        let (mut config, mut secrets) = (config.clone(), Vec::new());
        for (pointer, sealed) in &self.subscription.secrets {
            let Some(field) = pointer.strip_prefix(config_at) else { continue };
            let Ok(secret) = self.vault.open(&seal::context(self.subscription.id, pointer), sealed) else { continue };
            let stand_in = plan::placeholder(sealed);
            insert(&mut config, field, Value::String(stand_in.clone()));
            secrets.push((field, secret.clone()));
            self.placeholders.push((stand_in, secret));
        }
        let entered = |field: &str| match secrets.iter().find(|(at, _)| *at == field) {
            Some((_, secret)) => Some(secret.expose()),
            None => config.pointer(field).and_then(Value::as_str),
        };
        let misfits = |found: &Found| {
            let manifest = found.plugin().manifest();
            if manifest.kind != kind {
                return vec![FieldError::new(name_at, format!("`{}` {otherwise}", manifest.reference()))];
            }
            let schema = serde_json::from_str::<Value>(&manifest.config_schema);
            let mut errors = schema.map_or_else(|_| Vec::new(), |schema| schema::check(&schema, &config, config_at));
            // Said by `plan` of the version that is taken; here it is asked which one that is.
            if self.meaning == Meaning::Fitting
                && self.subscription.spec.auth.is_none()
                && let AuthNeed::GoogleServiceAccount { config_field, .. } = &manifest.auth
                && let Err(detail) = egress::check_service_account(entered(config_field).unwrap_or_default())
            {
                errors.push(FieldError::new(format!("{config_at}{config_field}"), detail));
            }
            errors
        };
        // Where a reference follows, there may be another version since it was saved.
        let mut errors = misfits(&found);
        let mut behind = None;
        if self.meaning == Meaning::Fitting
            && let Some(FieldError { pointer, detail }) = errors.first()
            && let Some(fits) = self.shelf.could_mean(tenant, name).into_iter().find(|found| misfits(found).is_empty())
        {
            let newest = found.plugin().manifest().reference();
            behind = Some(format!("it does not go together with `{newest}`: {pointer}: {detail}"));
            (found, errors) = (fits, Vec::new());
        }
        self.errors.extend(errors);
        let plugin = found.plugin().clone();
        let mut hosts = plugin.manifest().hosts.clone();
        // A tenant's own may be another version by now, with hosts that no secret was entered for.
        if let (Found::Own(_), Some(entered)) = (&found, &self.subscription.hosts) {
            hosts.retain(|host| entered.contains(host));
        }
        Some(Step {
            reference: plugin.manifest().reference(),
            config: config.to_string(),
            plugin,
            candidate: None,
            behind,
            hosts,
        })
    }

    /// The step with what is tried beside it.
    fn beside(&mut self, mut step: Step, config: &Value, spec: Option<&CandidateSpec>, at: &str) -> Option<Step> {
        let Some(spec) = spec else { return Some(step) };
        let at = format!("{at}/candidate");
        let share = match (spec.percent, spec.shadow) {
            (Some(percent @ 0..=100), false) => Share::Percent(percent),
            (Some(_), false) => {
                self.errors.push(FieldError::new(format!("{at}/percent"), "a share is 0 to 100"));
                return None;
            }
            (None, true) => Share::Shadow,
            _ => {
                let detail = "say either which `percent` of the events it gets, or `\"shadow\": true`";
                self.errors.push(FieldError::new(at, detail));
                return None;
            }
        };
        let config_at =
            if spec.config.is_some() { format!("{at}/config") } else { at.replace("/candidate", "/config") };
        let name_at = format!("{at}/plugin");
        // Of what is saved an earlier version may be of the kind that the newest is not: `step` looks for it.
        let newest = match self.meaning {
            Meaning::Newest => self.shelf.find(self.subscription.tenant_id, &spec.plugin).ok(),
            Meaning::Fitting => None,
        };
        if let Some(detail) = newest.and_then(|found| unlike(&step, found.plugin().manifest(), spec)) {
            self.errors.push(FieldError::new(name_at, detail));
            return None;
        }
        let kind = (step.plugin.manifest().kind, "is of another kind");
        let known = self.errors.len();
        let config = spec.config.as_ref().unwrap_or(config);
        let tried = self.step(&spec.plugin, config, kind, (&name_at, &config_at))?;
        if spec.config.is_none() && self.errors.len() > known {
            let of_config = self.errors.drain(known..).map(|error| format!("{}: {}", error.pointer, error.detail));
            let why = of_config.collect::<Vec<_>>().join("; ");
            let detail =
                format!("`{}` does not take the step's config ({why}); give it a `config` of its own", tried.reference);
            self.errors.push(FieldError::new(at, detail));
        }
        step.candidate = Some(Box::new(Candidate { step: tried, share }));
        Some(step)
    }
}

/// Why one can't be tried in the place of the other.
fn unlike(step: &Step, then: &Manifest, spec: &CandidateSpec) -> Option<String> {
    let now = step.plugin.manifest();
    let is_other = now.name != then.name;
    match now.kind {
        kind if kind != then.kind => {
            Some(format!("`{}` is of another kind than `{}`", then.reference(), step.reference))
        }
        Kind::Connector if is_other => Some(format!(
            "a connector's candidate is another version of the same connector, here of `{}`: its secrets were entered for that",
            now.name
        )),
        Kind::Transform if is_other && spec.config.is_none() => {
            Some(format!("`{}` is another plugin than `{}`; give it a `config` of its own", then.name, now.name))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn a_share_is_of_the_same_events_and_grows() {
        let events: Vec<EventId> = (0..2_000).map(|_| EventId::new(Timestamp::UNIX_EPOCH)).collect();
        let taken = |share: Share| events.iter().filter(|event| share.takes(**event)).copied().collect::<Vec<_>>();
        assert_eq!((taken(Share::Percent(0)).len(), taken(Share::Shadow).len()), (0, 0));
        assert_eq!(taken(Share::Percent(100)), events);
        let (tenth, third) = (taken(Share::Percent(10)), taken(Share::Percent(33)));
        assert!((120..=280).contains(&tenth.len()), "{}", tenth.len());
        assert!((560..=760).contains(&third.len()), "{}", third.len());
        assert!(tenth.iter().all(|event| third.contains(event)), "who has it keeps it when the share grows");
        assert_eq!(taken(Share::Percent(10)), tenth);
    }
}
