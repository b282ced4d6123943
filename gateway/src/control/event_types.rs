//! The catalogue: what a tenant says of its event types, and what of each really came in.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::reading::{merge, settle};
use super::{Control, Error, Expected, Result};
use crate::domain::{CatalogueEntry, Enforce, EventType, FieldError, Sample, SeenType, TenantId};
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

/// An event type: what is said of it, and what came in.
#[derive(Clone)]
pub struct KnownType {
    /// Its name.
    pub name: EventType,
    /// What is said of it; `None`: it came in, and nobody has described it.
    pub kind: Option<Arc<EventKind>>,
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
        if self.registry.event_kinds(tenant).len() >= MOST {
            return Err(Error::Limit(format!("a tenant may describe {MOST} event types; delete one")));
        }
        self.save_event_type(entry).await?;
        self.event_type(tenant, &name)
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

    /// The catalogue that a tenant works with, by name.
    ///
    /// This is the one place that says what it consists of.
    #[must_use]
    pub fn catalogue(&self, tenant: TenantId) -> BTreeMap<EventType, Arc<EventKind>> {
        let own = self.registry.event_kinds(tenant);
        own.into_iter().map(|kind| (kind.entry.name.clone(), kind)).collect()
    }

    /// What the catalogue says of one type.
    fn described(&self, tenant: TenantId, name: &EventType) -> Option<Arc<EventKind>> {
        self.catalogue(tenant).remove(name)
    }

    /// All event types of a tenant, by name: those that are described, and those that came in.
    #[must_use]
    pub fn event_types(&self, tenant: TenantId) -> Vec<KnownType> {
        let mut types: BTreeMap<EventType, KnownType> = BTreeMap::new();
        for (name, kind) in self.catalogue(tenant) {
            types.insert(name.clone(), KnownType { name, kind: Some(kind), count: 0, last_seen_at: None });
        }
        for SeenType { name, count, last_seen_at } in self.pipeline.seen(tenant) {
            let new = || KnownType { name: name.clone(), kind: None, count: 0, last_seen_at: None };
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
        let kind = self.described(tenant, name);
        let seen = self.pipeline.seen(tenant).into_iter().find(|seen| seen.name == *name);
        if kind.is_none() && seen.is_none() {
            return Err(Error::NotFound("event type"));
        }
        let (count, last_seen_at) = seen.map_or((0, None), |seen| (seen.count, Some(seen.last_seen_at)));
        Ok(KnownType { name: name.clone(), kind, count, last_seen_at })
    }

    /// What events of a type look like: the catalogue's samples, or else the data of the last that came in.
    ///
    /// # Errors
    /// If nobody has described it and none came in.
    pub async fn samples(&self, tenant: TenantId, name: &EventType) -> Result<Vec<Sample>> {
        let known = self.event_type(tenant, name)?;
        let described = known.kind.map(|kind| kind.entry.samples.clone()).unwrap_or_default();
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

    /// Changes what is said of an event type.
    ///
    /// # Errors
    /// If the tenant does not describe it, it is not valid, or it has changed.
    pub async fn patch_event_type(
        &self,
        tenant: TenantId,
        name: &EventType,
        patch: EventTypePatch,
        expected: &Expected,
    ) -> Result<KnownType> {
        let _changing = self.changing.lock().await;
        let mut entry = self.own_event_type(tenant, name)?;
        expected.check(&Self::event_type_version(&entry))?;
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

    fn own_event_type(&self, tenant: TenantId, name: &EventType) -> Result<CatalogueEntry> {
        let kind =
            self.registry.event_kind(tenant, name).ok_or(Error::NotFound("event type that you have described"))?;
        Ok(kind.entry.clone())
    }

    /// Removes what is said of an event type. Its events stay.
    ///
    /// # Errors
    /// If the tenant does not describe it, or it has changed.
    pub async fn delete_event_type(&self, tenant: TenantId, name: &EventType, expected: &Expected) -> Result<()> {
        let _changing = self.changing.lock().await;
        expected.check(&Self::event_type_version(&self.own_event_type(tenant, name)?))?;
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
