//! Subscriptions: made, changed, paused, and their secrets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::map::Entry;
use serde_json::{Map, Value};

use super::reading::{NOT_YET, READ_ONLY, merge, refuse, settle};
use super::sources::without_nulls;
use super::{Control, Error, Expected, Result, read_value};
use crate::clock::later;
use crate::domain::pointer::{remove, unescape};
use crate::domain::{
    Algorithm, FieldError, NextSecret, SchemeKind, Sealed, Secret, State, StateReason, Status, Subscription,
    SubscriptionId, SubscriptionSpec, TenantId, plugin_name,
};
use crate::profiles::SecretUse;
use crate::registry::Plan;
use crate::signing::{Language, Receiver, Scheme};
use crate::store::{DeliveryFilter, Record, RecordKey};

/// The longest that two secrets may live side by side.
const LONGEST_OVERLAP: Duration = Duration::from_secs(30 * 24 * 3600);

/// Fields of a subscription that are refused with a reason.
const REFUSED: [(&str, &str); 14] = [
    ("ordering", NOT_YET),
    ("id", READ_ONLY),
    ("tenant_id", READ_ONLY),
    ("revision", READ_ONLY),
    ("state", "read-only; say `enabled`, or use …/pause and …/resume"),
    ("state_reason", READ_ONLY),
    ("state_since", READ_ONLY),
    ("secrets_set", READ_ONLY),
    ("public_key", READ_ONLY),
    ("fault", READ_ONLY),
    ("runs", READ_ONLY),
    ("behind", READ_ONLY),
    ("created_at", READ_ONLY),
    ("updated_at", READ_ONLY),
];

/// Kinds of `auth` that are known and not built.
const AUTH_NOT_YET: [&str; 5] = ["oauth2_client_credentials", "oauth2", "aws_sigv4", "mutual_tls", "mtls"];

/// A subscription that was just made.
pub struct Made {
    /// It.
    pub plan: Arc<Plan>,
    /// Its signing secret, shown this once.
    pub secret: Option<Secret>,
}

/// What is to become of deliveries that are still owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pending {
    /// They wait.
    #[default]
    Keep,
    /// They end as cancelled.
    Cancel,
}

/// A change of one subscription.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// A merge patch.
    Patch(Map<String, Value>),
    /// Hold deliveries.
    Pause,
    /// Send them again.
    Resume,
    /// Begin to sign with this secret, or one that is made; both count for so long.
    Rotate {
        /// The new secret, if the client brings one.
        secret: Option<String>,
        /// How long the old one still counts.
        overlap: Duration,
    },
    /// End a rotation now.
    FinishRotation,
}

impl Control {
    /// Makes a subscription.
    ///
    /// # Errors
    /// Every mistake with its place; a uid that is taken; one subscription too many.
    pub async fn create_subscription(&self, tenant: TenantId, wanted: Map<String, Value>) -> Result<Made> {
        let subscription = self.draft(tenant, wanted)?;
        let id = subscription.id;
        let _changing = self.changing.lock().await;
        let secret = self.registry.open_secret(&subscription, "/secret");
        self.registry.save(vec![Record::Subscription(subscription)], vec![]).await?;
        self.pipeline.changed(tenant, id).await?;
        Ok(Made { plan: self.subscription(tenant, id)?, secret })
    }

    /// What a client asked for as a subscription that is not saved.
    pub(super) fn draft(&self, tenant: TenantId, mut wanted: Map<String, Value>) -> Result<Subscription> {
        refuse_unavailable(&wanted)?;
        // `null` is the client's own word, too: none, whatever its tenant has.
        if !wanted.contains_key("profile")
            && let Some(profile) = &self.tenant(tenant)?.profile
        {
            wanted.insert("profile".to_owned(), profile.as_str().into());
        }
        self.secret_as_token(&mut wanted, None)?;
        let spec: SubscriptionSpec = read_value(Value::Object(without_nulls(wanted)))?;
        self.check_sources(tenant, &spec)?;
        Ok(self.registry.seal(tenant, SubscriptionId::new(self.clock.now()), spec, None)?)
    }

    /// One subscription.
    ///
    /// # Errors
    /// If there is none.
    pub fn subscription(&self, tenant: TenantId, id: SubscriptionId) -> Result<Arc<Plan>> {
        self.registry.plan(tenant, id).ok_or(Error::NotFound("subscription"))
    }

    /// The subscription of a path: `sub_…` or `uid:…`.
    ///
    /// # Errors
    /// If there is none.
    pub fn find_subscription(&self, tenant: TenantId, text: &str) -> Result<Arc<Plan>> {
        let found = match text.strip_prefix("uid:") {
            Some(uid) => self.registry.plan_by_uid(tenant, uid),
            None => text.parse().ok().and_then(|id| self.registry.plan(tenant, id)),
        };
        found.ok_or(Error::NotFound("subscription"))
    }

    /// A tenant's subscriptions, by id.
    #[must_use]
    pub fn subscriptions(&self, tenant: TenantId) -> Vec<Arc<Plan>> {
        self.registry.plans(tenant)
    }

    /// The version of a subscription, for [`Expected`].
    #[must_use]
    pub fn subscription_version(subscription: &Subscription) -> String {
        subscription.revision.to_string()
    }

    /// Makes the next revision of a subscription.
    ///
    /// # Errors
    /// If there is none, it has changed, or the change is not valid or not possible as it stands.
    pub async fn change_subscription(
        &self,
        tenant: TenantId,
        id: SubscriptionId,
        change: Change,
        expected: &Expected,
        pending: Pending,
    ) -> Result<Arc<Plan>> {
        let changing = self.changing.lock().await;
        let old = self.subscription(tenant, id)?.subscription.clone();
        expected.check(&Self::subscription_version(&old))?;
        let old = self.with_finished_rotation(&old);
        let new = match change {
            Change::Patch(patch) => Some(self.patched(tenant, &old, patch)?),
            Change::Pause => match old.state {
                State::Paused => None,
                State::Active => Some(with_state(&old, State::Paused, Some(StateReason::User))),
                State::Disabled => return Err(disabled(&old)),
            },
            Change::Resume => match old.state {
                State::Active => None,
                State::Paused => Some(with_state(&old, State::Active, None)),
                State::Disabled => return Err(disabled(&old)),
            },
            Change::Rotate { secret, overlap } => Some(self.rotated(&old, secret, overlap)?),
            Change::FinishRotation => Some(finished(&old, self.clock.now()).ok_or_else(|| {
                Error::Conflict("no rotation is under way; POST …/rotate-secret begins one".to_owned())
            })?),
        };
        if let Some(mut new) = new {
            let now = self.clock.now();
            new.revision = old.revision + 1;
            new.updated_at = now;
            if new.state != old.state {
                new.state_since = now;
            }
            self.registry.save(vec![Record::Subscription(new)], vec![]).await?;
            self.pipeline.changed(tenant, id).await?;
        }
        drop(changing);
        if pending == Pending::Cancel {
            self.cancel_pending(tenant, id).await?;
        }
        self.subscription(tenant, id)
    }

    fn patched(&self, tenant: TenantId, old: &Subscription, mut patch: Map<String, Value>) -> Result<Subscription> {
        refuse_unavailable(&patch)?;
        self.secret_as_token(&mut patch, Some(&old.spec))?;
        let new_secret = patch.contains_key("secret");
        let mut spec = self.registry.open_spec(old)?;
        if spec.profile.is_none() && patch.contains_key("profile") {
            spec = spec.without_defaults();
        }
        // What is changed in part begins as it holds.
        if spec.signing.is_none() && patch.get("signing").is_some_and(|signing| signing.get("scheme").is_none()) {
            spec.signing = Some(self.subscription(tenant, old.id)?.spec.signing());
        }
        // The gateway may have disabled it since its owner enabled it; only a word of the owner undoes that.
        spec.enabled = old.state != State::Disabled;
        let mut value = serde_json::to_value(spec).map_err(|error| Error::Internal(error.to_string()))?;
        replace_kinds(&mut value, &patch);
        let transforms = value.get("transforms").cloned().unwrap_or_default();
        let patch = Value::Object(patch);
        merge(&mut value, patch.clone());
        if let Some(wanted) = value.get_mut("transforms") {
            keep_secrets(wanted, &transforms, &old.secrets);
        }
        let spec: SubscriptionSpec = read_value(value)?;
        self.check_sources(tenant, &spec)?;
        let mut new = self.registry.seal(tenant, old.id, spec, Some((old, &patch)))?;
        if new_secret {
            new.next_secret = None;
        }
        Ok(new)
    }

    /// Where a profile's secret is a token that is sent along, a given secret becomes that; unless the client signs with
    /// it.
    fn secret_as_token(&self, wanted: &mut Map<String, Value>, old: Option<&SubscriptionSpec>) -> Result<()> {
        let profile = match wanted.get("profile") {
            Some(named) => named.as_str(),
            None => old.and_then(|old| old.profile.as_deref()),
        };
        let profiles = self.registry.profiles();
        let half = profile.and_then(|name| profiles.get(name)).and_then(|profile| profile.delivery.as_ref());
        let signs = wanted.contains_key("signing") || old.is_some_and(|old| old.signing.is_some());
        if half.is_none_or(|half| half.secret != SecretUse::Bearer) || signs || !wanted.contains_key("secret") {
            return Ok(());
        }
        if wanted.contains_key("auth") {
            return Err(Error::field(
                "/secret",
                "in this profile it is the bearer token: give `secret` or `auth`, not both",
            ));
        }
        let auth = match wanted.shift_remove("secret") {
            Some(Value::String(token)) => serde_json::json!({ "type": "bearer", "token": token }),
            Some(Value::Null) | None => Value::Null,
            Some(_) => return Err(Error::field("/secret", "a secret is a text")),
        };
        wanted.insert("auth".to_owned(), auth);
        Ok(())
    }

    fn check_sources(&self, tenant: TenantId, spec: &SubscriptionSpec) -> Result<()> {
        let unknown = spec.source_ids.iter().enumerate().filter(|(_, id)| self.source(tenant, **id).is_err());
        settle(unknown.map(|(at, _)| FieldError::new(format!("/source_ids/{at}"), "there is no such source")).collect())
    }

    fn rotated(&self, old: &Subscription, secret: Option<String>, overlap: Duration) -> Result<Subscription> {
        let signing = self.subscription(old.tenant_id, old.id)?.spec.signing();
        if signing.scheme == SchemeKind::None {
            return Err(Error::Conflict("this subscription does not sign, so it has no secret to rotate".to_owned()));
        }
        if old.next_secret.is_some() {
            return Err(Error::Conflict(
                "a rotation is under way; end it with POST …/rotate-secret/finish first".to_owned(),
            ));
        }
        if overlap > LONGEST_OVERLAP {
            return Err(Error::field("/overlap", "an overlap is at most \"30d\""));
        }
        let scheme = Scheme::for_delivery(&signing)
            .map_err(|errors| Error::Internal(format!("the stored signing scheme does not compile: {errors:?}")))?;
        let secret = match secret {
            Some(text) => {
                scheme.check_secret(&text).map_err(|detail| Error::field("/secret", detail))?;
                Secret::new(text)
            }
            None => scheme.generate_secret(),
        };
        let next =
            NextSecret { secret: self.registry.seal_secret(old.id, &secret), from: later(self.clock.now(), overlap) };
        let new = Subscription { next_secret: Some(next), ..old.clone() };
        Ok(if overlap.is_zero() { finished(&new, self.clock.now()).unwrap_or(new) } else { new })
    }

    /// A rotation whose overlap is over has ended by itself; this writes it down.
    pub(super) fn with_finished_rotation(&self, subscription: &Arc<Subscription>) -> Arc<Subscription> {
        let now = self.clock.now();
        let over = subscription.next_secret.as_ref().is_some_and(|next| next.from <= now);
        match finished(subscription, now) {
            Some(finished) if over => Arc::new(finished),
            _ => subscription.clone(),
        }
    }

    /// The signing secret that counts now, and the one being rotated in.
    ///
    /// # Errors
    /// If there is no such subscription, it has no secret, or the secret does not open.
    pub fn secret(&self, tenant: TenantId, id: SubscriptionId) -> Result<(Secret, Option<(Secret, Timestamp)>)> {
        let plan = self.subscription(tenant, id)?;
        let subscription = self.with_finished_rotation(&plan.subscription);
        if !subscription.secrets.contains_key("/secret") {
            return Err(Error::NotFound("secret; this subscription does not sign"));
        }
        let unopened = || Error::Internal("the stored signing secret does not open".to_owned());
        let secret = self.registry.open_secret(&subscription, "/secret").ok_or_else(unopened)?;
        let next = match &subscription.next_secret {
            Some(next) => Some((self.registry.open_next_secret(&subscription).ok_or_else(unopened)?, next.from)),
            None => None,
        };
        Ok((secret, next))
    }

    /// The public key of a subscription that signs with one.
    #[must_use]
    pub fn public_key(&self, plan: &Plan) -> Option<String> {
        let signing = plan.spec.signing();
        if signing.algorithm != Some(Algorithm::Ed25519) {
            return None;
        }
        let scheme = Scheme::for_delivery(&signing).ok()?;
        scheme.public_key(&self.registry.open_secret(&plan.subscription, "/secret")?)
    }

    /// A program that verifies this subscription's requests.
    ///
    /// # Errors
    /// If there is no such subscription, or it signs nothing that a program could verify.
    pub fn receiver(&self, tenant: TenantId, id: SubscriptionId, language: Language) -> Result<Receiver> {
        let plan = self.subscription(tenant, id)?;
        let scheme = Scheme::for_delivery(&plan.spec.signing())
            .map_err(|errors| Error::Internal(format!("the stored signing scheme does not compile: {errors:?}")))?;
        let url = plan.url_for_reading().unwrap_or_default();
        scheme.receiver(language, &url, plan.url_is_credential()).ok_or_else(|| {
            Error::Conflict(match scheme.signs() {
                true => "no receiver is written for a scheme that signs {form}; sign {body}".to_owned(),
                false => {
                    "this subscription does not sign: compare the credential of its `auth`, or set `signing`".to_owned()
                }
            })
        })
    }

    /// Removes a subscription. What was delivered can still be looked at.
    ///
    /// # Errors
    /// If there is none, or it has changed.
    pub async fn delete_subscription(&self, tenant: TenantId, id: SubscriptionId, expected: &Expected) -> Result<()> {
        let changing = self.changing.lock().await;
        expected.check(&Self::subscription_version(&self.subscription(tenant, id)?.subscription))?;
        self.registry.save(vec![], vec![RecordKey::Subscription(tenant, id)]).await?;
        self.pipeline.changed(tenant, id).await?;
        drop(changing);
        // Nobody is left whom they could be sent to. What is in the dispatcher's hand it ends itself.
        self.cancel_pending(tenant, id).await
    }

    async fn cancel_pending(&self, tenant: TenantId, id: SubscriptionId) -> Result<()> {
        for status in [Status::Pending, Status::Held] {
            let filter = DeliveryFilter { subscription_id: Some(id), status: Some(status), ..Default::default() };
            let mut after = None;
            loop {
                let page = self.store.deliveries(tenant, &filter, 200, after).await?;
                for delivery in &page.items {
                    self.pipeline.cancel(tenant, delivery.id).await?;
                }
                match page.next {
                    Some(next) => after = Some(next),
                    None => break,
                }
            }
        }
        Ok(())
    }
}

/// A tagged object of another kind replaces the old one: merged into it, the fields of the old kind would
/// be refused as unknown to the new.
fn replace_kinds(value: &mut Value, patch: &Map<String, Value>) {
    for (field, tag) in [("signing", "scheme"), ("auth", "type"), ("connector", "name")] {
        let wanted = patch.get(field).and_then(|part| part.get(tag)).and_then(Value::as_str);
        let current = value.get(field).and_then(|part| part.get(tag)).and_then(Value::as_str);
        if let (Some(wanted), Some(current)) = (wanted, current)
            && plugin_name(wanted) != plugin_name(current)
            && let Some(object) = value.as_object_mut()
        {
            object.shift_remove(field);
        }
    }
}

/// A list is replaced as a whole, but whoever sends transforms back as they were read has not been told their secrets.
/// One that has its plugin's name and its place still keeps those that it omits; `null` clears. Where several have that
/// name it is not known which of them is which, unless all else in its config is as it was.
fn keep_secrets(wanted: &mut Value, before: &Value, secrets: &BTreeMap<String, Sealed>) {
    let pointers: Vec<&str> = secrets.keys().filter_map(|pointer| pointer.strip_prefix("/transforms")).collect();
    let mut told = before.clone();
    pointers.iter().for_each(|pointer| remove(&mut told, pointer));
    let untouched = wanted.clone();
    for pointer in pointers {
        // `/0/config/…`, or `/0/candidate/config/…`.
        let Some((step, field)) = pointer.split_once("/config/") else { continue };
        let transform = step.trim_end_matches("/candidate");
        let stays = |place: &str| named(before, place).is_some_and(|name| named(&untouched, place) == Some(name));
        let is_one = [before, &untouched].iter().all(|all| count(all, named(before, transform)) == 1);
        let config = format!("{step}/config");
        if !stays(step) || !stays(transform) || !(is_one || told.pointer(&config) == untouched.pointer(&config)) {
            continue;
        }
        if let (Some(secret), Some(Value::Object(step))) = (before.pointer(pointer), wanted.pointer_mut(step)) {
            put_back(step, &format!("config/{field}"), secret);
        }
    }
}

/// Puts it where the path leads, unless something is there, or `null` says that nothing is to be.
fn put_back(object: &mut Map<String, Value>, path: &str, secret: &Value) {
    match path.split_once('/') {
        Some((field, rest)) => {
            let below = object.entry(unescape(field)).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(below) = below {
                put_back(below, rest, secret);
            }
        }
        None => match object.entry(unescape(path)) {
            Entry::Occupied(there) if there.get().is_null() => {
                there.shift_remove();
            }
            Entry::Occupied(_) => {}
            Entry::Vacant(place) => {
                place.insert(secret.clone());
            }
        },
    }
}

/// The name of the plugin at a place in a list of transforms.
fn named<'a>(transforms: &'a Value, place: &str) -> Option<&'a str> {
    name_of(transforms.pointer(place)?)
}

/// How many transforms of a list have this name.
fn count(transforms: &Value, name: Option<&str>) -> usize {
    transforms.as_array().into_iter().flatten().filter(|transform| name_of(transform) == name).count()
}

fn name_of(step: &Value) -> Option<&str> {
    step.get("plugin")?.as_str().map(plugin_name)
}

fn refuse_unavailable(wanted: &Map<String, Value>) -> Result<()> {
    let mut errors = refuse(wanted, &REFUSED);
    let auth = wanted.get("auth").and_then(|auth| auth.get("type")).and_then(Value::as_str);
    if let Some(kind) = auth.filter(|kind| AUTH_NOT_YET.contains(kind)) {
        errors.push(FieldError::new("/auth/type", format!("`{kind}` is not available in this version")));
    }
    settle(errors)
}

fn with_state(old: &Subscription, state: State, state_reason: Option<StateReason>) -> Subscription {
    Subscription { state, state_reason, ..old.clone() }
}

fn disabled(old: &Subscription) -> Error {
    let why = match old.state_reason {
        Some(StateReason::Gone) => ": its endpoint said that it is gone",
        Some(StateReason::Failing) => ": it failed for too long",
        _ => "",
    };
    Error::Conflict(format!("the subscription is disabled{why}; enable it with PATCH {{\"enabled\":true}}"))
}

/// The subscription with its next secret in the place of the old one; `None` if there is none.
fn finished(old: &Subscription, now: Timestamp) -> Option<Subscription> {
    let mut new = old.clone();
    let next = new.next_secret.take()?;
    // Both are sealed for the same place.
    if let Some(replaced) = new.secrets.insert("/secret".to_owned(), next.secret) {
        new.retire(replaced, next.from.min(now));
    }
    Some(new)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Where secrets are. What they are is in the specs.
    fn at(pointers: &[&str]) -> BTreeMap<String, Sealed> {
        pointers.iter().map(|pointer| ((*pointer).to_owned(), Sealed(String::new()))).collect()
    }

    #[test]
    fn transforms_that_stay_keep_their_secrets() {
        let step = |plugin: &str, config: Value| json!({ "plugin": plugin, "config": config });
        let (a, b) = (step("a@1.0.0", json!({ "n": 1, "k/1": "secret" })), step("b@1.0.0", json!({})));
        let secrets = at(&["/auth/token", "/transforms/0/config/k~11"]);
        for (wanted, kept) in [
            (json!([step("a@2.0.0", json!({ "n": 2 })), b]), Some("secret")),
            (json!([{ "plugin": "a@2.0.0" }]), Some("secret")),
            (json!([step("a@2.0.0", json!({ "k/1": "new" }))]), Some("new")),
            (json!([step("a@2.0.0", json!({ "k/1": null }))]), None),
            (json!([step("c@1.0.0", json!({}))]), None),
            (json!([b, step("a@1.0.0", json!({}))]), None),
            (json!([step("a@1.0.0", json!({})), step("a@1.0.0", json!({}))]), None),
            (json!([]), None),
            (Value::Null, None),
        ] {
            let mut changed = wanted.clone();
            keep_secrets(&mut changed, &json!([a, b]), &secrets);
            let found = changed.pointer("/0/config/k~11");
            assert_eq!(found, kept.map(Value::from).as_ref(), "{wanted}");
        }
    }

    #[test]
    fn two_of_a_name_are_told_by_the_rest_of_their_configs() {
        let step = |config: Value| json!({ "plugin": "a@1.0.0", "config": config });
        let before = json!([step(json!({ "n": 1, "deep": { "k": "one" } })), step(json!({ "n": 2, "k": "two" }))]);
        let secrets = at(&["/transforms/0/config/deep/k", "/transforms/1/config/k"]);
        let (one, two) = (step(json!({ "n": 1, "deep": {} })), step(json!({ "n": 2 })));
        for (wanted, kept) in [(json!([one, two]), true), (json!([two, one]), false)] {
            let mut changed = wanted.clone();
            keep_secrets(&mut changed, &before, &secrets);
            assert_eq!(changed, if kept { before.clone() } else { wanted });
        }
    }

    #[test]
    fn a_candidate_keeps_its_own() {
        let tried = |plugin: &str, config: Value| {
            let candidate = json!({ "plugin": plugin, "config": config });
            json!([{ "plugin": "a", "candidate": candidate }])
        };
        let secrets = at(&["/transforms/0/candidate/config/key"]);
        for (plugin, kept) in [("b@2.0.0", Some("secret")), ("c@1.0.0", None)] {
            let mut changed = tried(plugin, json!({}));
            keep_secrets(&mut changed, &tried("b@1.0.0", json!({ "key": "secret" })), &secrets);
            let found = changed.pointer("/0/candidate/config/key").and_then(Value::as_str);
            assert_eq!(found, kept, "{plugin}");
        }
        let mut changed = json!([{ "plugin": "a", "config": {} }]);
        keep_secrets(&mut changed, &tried("b", json!({ "key": "secret" })), &secrets);
        assert_eq!(changed, json!([{ "plugin": "a", "config": {} }]), "what is tried no more is not brought back");
    }
}
