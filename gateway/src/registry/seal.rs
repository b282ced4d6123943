//! Secrets out of a spec and under the master key, and back into it for a change.
//!
//! What a client sends has its secrets in place; what is stored has none. Both directions go by the JSON
//! Pointers of the fields, so that a merge patch works on the whole: omitted keeps, `null` clears.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;
use url::Url;

use super::{Shelf, plan, schema};
use crate::domain::pointer::{escape, insert, remove};
use crate::domain::{
    Auth, CandidateSpec, ConnectorSpec, FieldError, SchemeKind, Sealed, Secret, Signing, State, StateReason,
    Subscription, SubscriptionId, SubscriptionSpec, TenantId, TransformSpec, plugin_name,
};
use crate::profiles::Profiles;
use crate::signing::Scheme;
use crate::vault::Vault;

/// What a subscription's secret is sealed under: it can't be moved to another field or subscription.
pub(super) fn context(id: SubscriptionId, pointer: &str) -> String {
    format!("{id}{pointer}")
}

pub(super) struct Sealer<'a> {
    pub(super) profiles: &'a Profiles,
    pub(super) vault: &'a Vault,
    pub(super) shelf: &'a Shelf,
}

impl Sealer<'_> {
    pub(super) fn seal(
        &self,
        tenant: TenantId,
        id: SubscriptionId,
        mut spec: SubscriptionSpec,
        change: Option<(&Subscription, &Value)>,
        now: Timestamp,
    ) -> Result<Subscription, Vec<FieldError>> {
        let old = change.map(|(old, _)| old);
        let mut errors = Vec::new();
        let mut fields = vec!["/url".to_owned(), "/secret".to_owned()];
        self.pin(tenant, &mut spec, change.map(|(_, patch)| patch), &mut fields, &mut errors);
        match &spec.auth {
            Some(Auth::Bearer { .. }) => fields.push("/auth/token".to_owned()),
            Some(Auth::Basic { .. }) => fields.push("/auth/password".to_owned()),
            Some(Auth::Header { .. }) => fields.push("/auth/value".to_owned()),
            Some(Auth::GoogleServiceAccount { .. }) => fields.push("/auth/service_account".to_owned()),
            None => {}
        }
        fields.extend(spec.secret_headers.keys().map(|name| format!("/secret_headers/{}", escape(name))));
        match plan::whole(&spec, self.profiles) {
            Ok((whole, _)) => {
                let signing = whole.signing();
                if change.is_some_and(|(_, patch)| clears_secret(patch)) && signing.scheme != SchemeKind::None {
                    errors.push(FieldError::new(
                        "/secret",
                        "a subscription that signs needs a secret: POST …/rotate-secret makes another, and \
                         `\"signing\": {\"scheme\": \"none\"}` does without",
                    ));
                }
                give_signing_secret(&mut spec, &signing, &mut errors);
            }
            // A profile may be gone, or another one by now: that is not what a change of something else is refused for.
            Err(found) if change.is_none_or(|(_, patch)| patch.get("profile").is_some()) => errors.extend(found),
            Err(_) => {}
        }
        if let Some((old, patch)) = change {
            self.entered_again(tenant, &spec, old, patch, &mut errors);
            // What was a secret stays one, also where the version that is wanted now does not call it so.
            let kept = old.secrets.keys().filter(|pointer| is_of_a_config(pointer) && patch.pointer(pointer).is_none());
            let forgotten: Vec<String> = kept.filter(|pointer| !fields.contains(pointer)).cloned().collect();
            fields.extend(forgotten);
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let hosts = match change {
            Some((Subscription { hosts: Some(entered), .. }, patch)) if !sets_connector(patch) => entered.clone(),
            _ => self.hosts(tenant, &spec),
        };
        let replaced = old.and_then(|old| self.replaced(old, spec.secret.as_deref()));
        let (spec, secrets) = self.take_out(id, spec, &fields)?;
        let (state, state_reason, state_since) = next_state(spec.enabled, old, now);
        let mut sealed = Subscription {
            id,
            tenant_id: tenant,
            revision: old.map_or(1, |old| old.revision + 1),
            next_secret: old.and_then(|old| old.next_secret.clone()),
            previous_secrets: old.map(|old| old.previous_secrets.clone()).unwrap_or_default(),
            state,
            state_reason,
            state_since,
            created_at: old.map_or(now, |old| old.created_at),
            updated_at: now,
            spec,
            secrets,
            hosts: Some(hosts),
        };
        if let Some(replaced) = replaced {
            sealed.retire(replaced, now);
        }
        Ok(sealed)
    }

    /// The signing secret that a change takes the place of.
    fn replaced(&self, old: &Subscription, new: Option<&str>) -> Option<Sealed> {
        let sealed = old.secrets.get("/secret")?;
        let secret = self.vault.open(&context(old.id, "/secret"), sealed).ok()?;
        (new != Some(secret.expose())).then(|| sealed.clone())
    }

    /// Names become `name@version`, configs are checked, and their secret fields are noted. What a change does not touch is
    /// not checked again: it may follow a plugin whose newest version it does not go together with.
    fn pin(
        &self,
        tenant: TenantId,
        spec: &mut SubscriptionSpec,
        patch: Option<&Value>,
        fields: &mut Vec<String>,
        errors: &mut Vec<FieldError>,
    ) {
        let transforms = spec.transforms.iter_mut().enumerate().map(|(at, transform)| {
            let TransformSpec { plugin, config, candidate } = transform;
            (plugin, &*config, candidate, format!("/transforms/{at}"), ("transforms", "plugin"))
        });
        let connector = spec.connector.iter_mut().map(|connector| {
            let ConnectorSpec { name, config, candidate } = connector;
            (name, &*config, candidate, "/connector".to_owned(), ("connector", "name"))
        });
        for (name, config, candidate, at, (field, named)) in transforms.chain(connector) {
            let config_at = format!("{at}/config");
            let mut found = self.pin_one(tenant, name, config, (format!("{at}/{named}"), &config_at), fields);
            if let Some(CandidateSpec { plugin, config: own, .. }) = candidate {
                let (name_at, own_at) = (format!("{at}/candidate/plugin"), format!("{at}/candidate/config"));
                match own {
                    Some(own) => found.extend(self.pin_one(tenant, plugin, own, (name_at, &own_at), fields)),
                    // What either of the two calls a secret is one; whether both take the config is said where the step is
                    // compiled.
                    None => drop(self.pin_one(tenant, plugin, config, (name_at, &config_at), fields)),
                }
            }
            if patch.is_none_or(|patch| patch.get(field).is_some()) {
                errors.extend(found);
            }
        }
    }

    fn pin_one(
        &self,
        tenant: TenantId,
        name: &mut String,
        config: &Value,
        (name_at, config_at): (String, &str),
        fields: &mut Vec<String>,
    ) -> Vec<FieldError> {
        let plugin = match self.shelf.find(tenant, name) {
            Ok(found) => found.plugin().clone(),
            Err(detail) => return vec![FieldError::new(name_at, detail)],
        };
        // `name@latest` and `name@^1` are kept as they are: they follow.
        if !name.contains('@') {
            *name = plugin.manifest().reference();
        }
        let Ok(schema) = serde_json::from_str::<Value>(&plugin.manifest().config_schema) else {
            return vec![FieldError::new(config_at, "the plugin's own schema is not JSON")];
        };
        let secret = schema::secret_fields(&schema).into_iter().map(|field| format!("{config_at}{field}"));
        for field in secret {
            if !fields.contains(&field) {
                fields.push(field);
            }
        }
        schema::check(&schema, config, config_at)
    }

    /// A secret was entered for one host and one connector: with another, it must be in the change again, or a change of
    /// the URL would be a way to read it; and so with a version of the connector, or a candidate, that names a host more.
    /// A version that comes by itself, where one is followed, has them sent to no such host (see `step`).
    fn entered_again(
        &self,
        tenant: TenantId,
        spec: &SubscriptionSpec,
        old: &Subscription,
        patch: &Value,
        errors: &mut Vec<FieldError>,
    ) {
        let old_url = old.secrets.get("/url").and_then(|sealed| self.vault.open(&context(old.id, "/url"), sealed).ok());
        let origin = |url: Option<&str>| url.and_then(|url| Url::parse(url).ok()).map(|url| url.origin());
        // A connector may name the target itself: then its `url`, a template, is what says where secrets go.
        let chosen = |spec: &SubscriptionSpec| {
            let url = spec.connector.as_ref()?.config.get("url")?.as_str()?.to_owned();
            Some(origin(Some(&url)).map_or(url, |origin| origin.ascii_serialization()))
        };
        let moved = origin(old_url.as_ref().map(Secret::expose)) != origin(spec.url.as_deref())
            || chosen(&old.spec) != chosen(spec);
        let name = |spec: &SubscriptionSpec| spec.connector.as_ref().map(|of| plugin_name(&of.name).to_owned());
        let other_connector = name(&old.spec) != name(spec);
        let entered = old.hosts.clone().unwrap_or_else(|| self.hosts(tenant, &old.spec));
        let other_host = sets_connector(patch) && !self.hosts(tenant, spec).is_subset(&entered);
        let Ok(value) = serde_json::to_value(spec) else { return };
        for pointer in old.secrets.keys().filter(|pointer| *pointer != "/url" && *pointer != "/secret") {
            let kept = value.pointer(pointer).and_then(Value::as_str).is_some_and(|text| !text.is_empty())
                && patch.pointer(pointer).is_none();
            let concerned = moved
                || (other_connector && pointer.starts_with("/connector"))
                || (other_host && is_of_a_config(pointer));
            if kept && concerned {
                errors.push(FieldError::new(
                    pointer.clone(),
                    "the host or the connector changes, so this secret must be entered again (or cleared with null)",
                ));
            }
        }
    }

    /// The hosts to which the connector, and what is tried beside it, may have secrets sent.
    fn hosts(&self, tenant: TenantId, spec: &SubscriptionSpec) -> BTreeSet<String> {
        let Some(ConnectorSpec { name, candidate, .. }) = &spec.connector else { return BTreeSet::new() };
        let names = std::iter::once(name).chain(candidate.iter().map(|candidate| &candidate.plugin));
        let found = names.filter_map(|name| self.shelf.find(tenant, name).ok());
        found.flat_map(|found| found.plugin().manifest().hosts.clone()).collect()
    }

    fn take_out(
        &self,
        id: SubscriptionId,
        spec: SubscriptionSpec,
        fields: &[String],
    ) -> Result<(SubscriptionSpec, BTreeMap<String, Sealed>), Vec<FieldError>> {
        let unreadable = |error: serde_json::Error| vec![FieldError::new("", error.to_string())];
        let mut value = serde_json::to_value(spec).map_err(unreadable)?;
        let mut secrets = BTreeMap::new();
        for pointer in fields {
            let Some(place) = value.pointer_mut(pointer) else { continue };
            let text = match place {
                Value::String(text) if !text.is_empty() => std::mem::take(text),
                Value::Null | Value::String(_) => continue,
                // A key file pasted as the object it is.
                Value::Object(object) => serde_json::to_string(object).map_err(unreadable)?,
                _ => return Err(vec![FieldError::new(pointer.clone(), "a secret is a text")]),
            };
            secrets.insert(pointer.clone(), self.vault.seal(&context(id, pointer), &Secret::new(text)));
            // What the spec's own type requires stays as an empty text; the rest goes.
            if !pointer.starts_with("/auth/") && !pointer.starts_with("/secret_headers/") {
                remove(&mut value, pointer);
            }
        }
        Ok((serde_json::from_value(value).map_err(unreadable)?, secrets))
    }
}

/// Whether a change is about the connector: it then is what counts from now on that it names.
fn sets_connector(patch: &Value) -> bool {
    patch.get("connector").is_some()
}

/// Whether a change takes the signing secret away, and leaves how is signed as it is.
fn clears_secret(patch: &Value) -> bool {
    patch.get("secret").is_some_and(Value::is_null) && patch.get("signing").is_none() && patch.get("profile").is_none()
}

/// Whether a secret is one of a plugin's.
fn is_of_a_config(pointer: &str) -> bool {
    pointer.starts_with("/transforms/") || pointer.starts_with("/connector/")
}

/// The spec with its secrets in place again.
pub(super) fn open_spec(vault: &Vault, subscription: &Subscription) -> Result<SubscriptionSpec, String> {
    let mut value = serde_json::to_value(&subscription.spec).map_err(|error| error.to_string())?;
    for (pointer, sealed) in &subscription.secrets {
        let secret = vault.open(&context(subscription.id, pointer), sealed).map_err(|error| error.to_string())?;
        insert(&mut value, pointer, Value::String(secret.expose().to_owned()));
    }
    serde_json::from_value(value).map_err(|error| error.to_string())
}

/// A subscription that signs and was given no secret gets one.
fn give_signing_secret(spec: &mut SubscriptionSpec, signing: &Signing, errors: &mut Vec<FieldError>) {
    if signing.scheme == SchemeKind::None || spec.secret.is_some() {
        return;
    }
    match Scheme::for_delivery(signing) {
        Ok(scheme) => spec.secret = Some(scheme.generate_secret().expose().to_owned()),
        Err(found) => errors
            .extend(found.into_iter().map(|error| FieldError::new(format!("/signing{}", error.pointer), error.detail))),
    }
}

fn next_state(enabled: bool, old: Option<&Subscription>, now: Timestamp) -> (State, Option<StateReason>, Timestamp) {
    match old {
        Some(old) if enabled == (old.state != State::Disabled) => (old.state, old.state_reason, old.state_since),
        _ if enabled => (State::Active, None, now),
        _ => (State::Disabled, Some(StateReason::User), now),
    }
}
