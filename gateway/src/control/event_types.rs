//! The catalogue: what a tenant, or a profile that it uses, says of event types, and what of each really came in.
//!
//! What a profile says is read from the profile and never written down: a newer profile says something newer, and what
//! the tenant says itself counts before it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::reading::{merge, settle};
use super::{Control, Error, Expected, Result};
use crate::domain::{CatalogueEntry, Enforce, EventType, FieldError, Sample, SeenType, TenantId};
use crate::profiles::{self, EventEntry, Profile};
use crate::registry::EventKind;
use crate::store::{EventFilter, Record, RecordKey};

/// Most event types that a tenant describes, samples of one, and bytes of all that is said of one.
const MOST: usize = 1_000;
const MOST_SAMPLES: usize = 20;
const MOST_BYTES: usize = 64 * 1024;

/// Events that stand in for samples where there are none.
const LAST_EVENTS: usize = 5;

/// An event type as a client describes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewEventType {
    /// The type.
    pub name: EventType,
    /// What it is called; its name, unless given.
    #[serde(default)]
    pub title: Option<String>,
    /// What it means.
    #[serde(default)]
    pub description: Option<String>,
    /// What such events look like.
    #[serde(default)]
    pub samples: Vec<NewSample>,
    /// The JSON Schema of their data.
    #[serde(default)]
    pub schema: Option<Value>,
    /// What becomes of those that break it.
    #[serde(default)]
    pub enforce: Enforce,
}

/// A change of it: what is left out is kept, `null` clears what may be absent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventTypePatch {
    /// What it is called.
    #[serde(default)]
    pub title: Option<String>,
    /// What it means.
    #[serde(default, deserialize_with = "given")]
    pub description: Option<Option<String>>,
    /// What such events look like; all of them.
    #[serde(default, deserialize_with = "given")]
    pub samples: Option<Option<Vec<NewSample>>>,
    /// The JSON Schema of their data, merged.
    #[serde(default, deserialize_with = "given")]
    pub schema: Option<Option<Value>>,
    /// What becomes of those that break it.
    #[serde(default)]
    pub enforce: Option<Enforce>,
}

/// Tells `null` from what is left out.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> std::result::Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// A sample as a client writes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewSample {
    /// What it shows.
    pub name: String,
    /// The data, kept as it is written.
    pub data: Box<RawValue>,
}

impl From<NewSample> for Sample {
    fn from(sample: NewSample) -> Self {
        Self { name: sample.name, data: sample.data.get().to_owned() }
    }
}

/// What is said of an event type, and who says it.
#[derive(Clone)]
pub enum Said {
    /// The tenant.
    Own(Arc<EventKind>),
    /// An entry of a profile that the tenant, one of its sources or one of its subscriptions has.
    Profile(Arc<Profile>, usize),
}

impl Said {
    /// The tenant's own entry.
    #[must_use]
    pub fn own(&self) -> Option<&CatalogueEntry> {
        match self {
            Self::Own(kind) => Some(&kind.entry),
            Self::Profile(..) => None,
        }
    }

    /// The profile whose word it is.
    #[must_use]
    pub fn profile(&self) -> Option<&Profile> {
        match self {
            Self::Own(_) => None,
            Self::Profile(profile, _) => Some(profile),
        }
    }

    /// What the profile says.
    #[must_use]
    pub fn profile_entry(&self) -> Option<&EventEntry> {
        match self {
            Self::Own(_) => None,
            Self::Profile(profile, at) => profile.events.get(*at),
        }
    }

    /// The same as an entry that the tenant could make its own.
    #[must_use]
    pub fn entry(&self, tenant: TenantId, name: &EventType, now: Timestamp) -> CatalogueEntry {
        if let Self::Own(kind) = self {
            return kind.entry.clone();
        }
        let entry = self.profile_entry();
        CatalogueEntry {
            tenant_id: tenant,
            name: name.clone(),
            title: entry.map_or_else(|| name.to_string(), |entry| entry.title.clone()),
            description: entry.and_then(|entry| entry.description.clone()),
            samples: self.samples(name),
            schema: entry.and_then(|entry| entry.schema.clone()),
            enforce: Enforce::Off,
            created_at: now,
            updated_at: now,
        }
    }

    /// What events of this type look like.
    #[must_use]
    pub fn samples(&self, name: &EventType) -> Vec<Sample> {
        if let Self::Own(kind) = self {
            return kind.entry.samples.clone();
        }
        let named = |(at, sample): (usize, &profiles::Sample)| Sample {
            name: sample
                .name
                .clone()
                .unwrap_or_else(|| if at == 0 { "sample".into() } else { format!("sample {}", at + 1) }),
            data: sample.data.to_string(),
        };
        self.profile_samples(name).enumerate().map(named).collect()
    }

    /// The profile's samples of this type: where its entry is a pattern, they may be of several.
    pub(super) fn profile_samples<'a>(&'a self, name: &'a EventType) -> impl Iterator<Item = &'a profiles::Sample> {
        self.profile_entry().into_iter().flat_map(|entry| &entry.samples).filter(|sample| sample.event_type == *name)
    }
}

/// An event type: what is said of it, and what came in.
#[derive(Clone)]
pub struct KnownType {
    /// Its name.
    pub name: EventType,
    /// What is said of it; `None`: it came in, and nobody has described it.
    pub said: Option<Said>,
    /// How many events of it came in.
    pub count: u64,
    /// When the last one did.
    pub last_seen_at: Option<Timestamp>,
}

impl Control {
    /// Describes an event type.
    ///
    /// # Errors
    /// If it is not valid, described already, or one too many.
    pub async fn create_event_type(&self, tenant: TenantId, wanted: NewEventType) -> Result<KnownType> {
        let now = self.clock.now();
        let NewEventType { name, title, description, samples, schema, enforce } = wanted;
        let entry = CatalogueEntry {
            tenant_id: tenant,
            title: title.unwrap_or_else(|| name.to_string()),
            name: name.clone(),
            description,
            samples: samples.into_iter().map(Sample::from).collect(),
            schema,
            enforce,
            created_at: now,
            updated_at: now,
        };
        let _changing = self.changing.lock().await;
        self.tenant(tenant)?;
        if self.registry.event_kind(tenant, &name).is_some() {
            return Err(Error::Conflict(format!("`{name}` is described already; change it, or delete it first")));
        }
        self.check_room(tenant)?;
        self.save_event_type(entry).await?;
        self.event_type(tenant, &name)
    }

    fn check_room(&self, tenant: TenantId) -> Result<()> {
        if self.registry.event_kinds(tenant).len() >= MOST {
            return Err(Error::Limit(format!("a tenant may describe {MOST} event types; delete one")));
        }
        Ok(())
    }

    async fn save_event_type(&self, entry: CatalogueEntry) -> Result<()> {
        check(&entry)?;
        let kind = self.registry.compile_kind(entry)?;
        let mut errors = Vec::new();
        for (number, sample) in kind.entry.samples.iter().enumerate() {
            let found = kind.check(&sample.data).err().unwrap_or_default();
            let below = |error: FieldError| {
                let detail = format!("the sample breaks the schema: {}", error.detail);
                FieldError::new(format!("/samples/{number}/data{}", error.pointer), detail)
            };
            errors.extend(found.into_iter().map(below));
        }
        settle(errors)?;
        self.registry.save(vec![Record::EventType(kind.entry)], vec![]).await?;
        Ok(())
    }

    /// The catalogue that a tenant works with, by name: what it says itself, and for what it says nothing of, what its
    /// own profile says, or one of its sources or its subscriptions.
    ///
    /// This is the one place that says what it consists of.
    #[must_use]
    pub fn catalogue(&self, tenant: TenantId) -> BTreeMap<EventType, Said> {
        let own = self.registry.event_kinds(tenant).into_iter();
        let mut catalogue: BTreeMap<EventType, Said> =
            own.map(|kind| (kind.entry.name.clone(), Said::Own(kind))).collect();
        for profile in self.profiles_of(tenant) {
            for (at, entry) in profile.events.iter().enumerate() {
                let types = entry.samples.iter().map(|sample| sample.event_type.clone());
                for name in EventType::parse(&entry.name).ok().into_iter().chain(types) {
                    catalogue.entry(name).or_insert_with(|| Said::Profile(profile.clone(), at));
                }
            }
        }
        catalogue
    }

    /// The profiles that a tenant uses, each once: its own, its sources', its subscriptions'.
    fn profiles_of(&self, tenant: TenantId) -> Vec<Arc<Profile>> {
        let own = self.registry.tenant(tenant).and_then(|tenant| tenant.profile.clone());
        let sources = self.registry.sources(tenant);
        let sources = sources.iter().filter_map(|inlet| inlet.written.profile.clone());
        let plans = self.registry.plans(tenant);
        let plans = plans.iter().filter_map(|plan| plan.spec.profile.clone());
        let mut seen = HashSet::new();
        let names = own.into_iter().chain(sources).chain(plans).filter(|name| seen.insert(name.clone()));
        let profiles = self.registry.profiles();
        names.filter_map(|name| profiles.get(&name).cloned()).collect()
    }

    /// What the catalogue says of one type.
    fn described(&self, tenant: TenantId, name: &EventType) -> Option<Said> {
        self.catalogue(tenant).remove(name)
    }

    /// All event types of a tenant, by name: those that are described, and those that came in.
    #[must_use]
    pub fn event_types(&self, tenant: TenantId) -> Vec<KnownType> {
        let mut types: BTreeMap<EventType, KnownType> = BTreeMap::new();
        for (name, said) in self.catalogue(tenant) {
            types.insert(name.clone(), KnownType { name, said: Some(said), count: 0, last_seen_at: None });
        }
        for SeenType { name, count, last_seen_at } in self.pipeline.seen(tenant) {
            let new = || KnownType { name: name.clone(), said: None, count: 0, last_seen_at: None };
            let known = types.entry(name.clone()).or_insert_with(new);
            (known.count, known.last_seen_at) = (count, Some(last_seen_at));
        }
        types.into_values().collect()
    }

    /// One event type.
    ///
    /// # Errors
    /// If nobody has described it and none came in.
    pub fn event_type(&self, tenant: TenantId, name: &EventType) -> Result<KnownType> {
        let said = self.described(tenant, name);
        let seen = self.pipeline.seen(tenant).into_iter().find(|seen| seen.name == *name);
        if said.is_none() && seen.is_none() {
            return Err(Error::NotFound("event type"));
        }
        let (count, last_seen_at) = seen.map_or((0, None), |seen| (seen.count, Some(seen.last_seen_at)));
        Ok(KnownType { name: name.clone(), said, count, last_seen_at })
    }

    /// What events of a type look like: the catalogue's samples, or else the data of the last that came in.
    ///
    /// # Errors
    /// If nobody has described it and none came in.
    pub async fn samples(&self, tenant: TenantId, name: &EventType) -> Result<Vec<Sample>> {
        let known = self.event_type(tenant, name)?;
        let described = known.said.map(|said| said.samples(name)).unwrap_or_default();
        if !described.is_empty() {
            return Ok(described);
        }
        let filter = EventFilter { event_type: Some(name.clone()), ..Default::default() };
        let page = self.store.events(tenant, &filter, LAST_EVENTS, None).await?;
        let sample = |stored: crate::store::StoredEvent| Sample {
            name: stored.event.id.to_string(),
            data: stored.event.data.to_string(),
        };
        Ok(page.items.into_iter().map(sample).collect())
    }

    /// The version of an event type, for [`Expected`].
    #[must_use]
    pub fn event_type_version(entry: &CatalogueEntry) -> String {
        entry.updated_at.as_nanosecond().to_string()
    }

    /// Changes what is said of an event type. What a profile says of it becomes the tenant's own with that.
    ///
    /// # Errors
    /// If neither the tenant nor a profile describes it, it is not valid, it has changed, or it is one too many.
    pub async fn patch_event_type(
        &self,
        tenant: TenantId,
        name: &EventType,
        patch: EventTypePatch,
        expected: &Expected,
    ) -> Result<KnownType> {
        let _changing = self.changing.lock().await;
        let said = self.described(tenant, name).ok_or(Error::NotFound("event type that is described"))?;
        let version = said.own().map(Self::event_type_version).unwrap_or_default();
        expected.check(&version)?;
        if said.own().is_none() {
            self.check_room(tenant)?;
        }
        let mut entry = said.entry(tenant, name, self.clock.now());
        let EventTypePatch { title, description, samples, schema, enforce } = patch;
        entry.title = title.unwrap_or(entry.title);
        entry.description = description.unwrap_or(entry.description);
        entry.enforce = enforce.unwrap_or(entry.enforce);
        if let Some(samples) = samples {
            entry.samples = samples.unwrap_or_default().into_iter().map(Sample::from).collect();
        }
        match schema {
            Some(Some(patch)) => merge(entry.schema.get_or_insert_default(), patch),
            Some(None) => entry.schema = None,
            None => {}
        }
        entry.updated_at = self.clock.now();
        self.save_event_type(entry).await?;
        self.event_type(tenant, name)
    }

    /// Removes what the tenant says of an event type. Its events stay, and so does what a profile says of it.
    ///
    /// # Errors
    /// If the tenant does not describe it, even if a profile does, or it has changed.
    pub async fn delete_event_type(&self, tenant: TenantId, name: &EventType, expected: &Expected) -> Result<()> {
        let _changing = self.changing.lock().await;
        let said = self.described(tenant, name).ok_or(Error::NotFound("event type that you have described"))?;
        let Some(own) = said.own() else {
            let profile = said.profile().map_or("", |profile| &profile.name);
            return Err(Error::Conflict(format!(
                "`{name}` is described by the profile `{profile}` and not by you, so there is nothing to delete; change it \
                 to say something else of it"
            )));
        };
        expected.check(&Self::event_type_version(own))?;
        self.registry.save(vec![], vec![RecordKey::EventType(tenant, name.clone())]).await?;
        Ok(())
    }
}

fn check(entry: &CatalogueEntry) -> Result<()> {
    let mut errors = Vec::new();
    let mut wrong = |pointer: String, detail: &str| errors.push(FieldError::new(pointer, detail));
    if entry.name.is_reserved() {
        wrong("/name".to_owned(), "types that begin with `hookmill.` are the gateway's own");
    }
    if entry.title.trim().is_empty() || entry.title.len() > 200 {
        wrong("/title".to_owned(), "a title is 1 to 200 bytes");
    }
    if entry.samples.len() > MOST_SAMPLES {
        wrong("/samples".to_owned(), "at most 20 samples");
    }
    for (number, sample) in entry.samples.iter().enumerate() {
        let is_taken = entry.samples.iter().take(number).any(|other| other.name == sample.name);
        if sample.name.trim().is_empty() || sample.name.len() > 200 || is_taken {
            wrong(format!("/samples/{number}/name"), "a name of its own, of 1 to 200 bytes");
        }
    }
    if entry.enforce != Enforce::Off && entry.schema.is_none() {
        wrong("/enforce".to_owned(), "there is no schema to enforce; give a `schema`, or leave this `off`");
    }
    if serde_json::to_vec(entry).map_or(usize::MAX, |text| text.len()) > MOST_BYTES {
        wrong(String::new(), "what is said of an event type is at most 64 KiB of JSON; shorten samples or schema");
    }
    settle(errors)
}
