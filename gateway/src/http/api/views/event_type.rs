//! Event types.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{Raw, Time};
use crate::control::{KnownType, Said};
use crate::domain::Sample;

/// What describes an event type. `name` is required.
#[derive(ToSchema)]
#[schema(as = NewEventType)]
#[expect(dead_code, reason = "a shape for the document; what is read is a type of `control`")]
pub(in crate::http) struct NewEventTypeBody {
    /// 1 to 200 of `A-Z a-z 0-9 . _ : / -`.
    name: String,
    /// What it is called, for people; its name, unless given.
    #[schema(required = false)]
    title: String,
    /// What it means, for people.
    #[schema(required = false)]
    description: Option<String>,
    /// What such events look like; at most 20.
    #[schema(required = false)]
    samples: Vec<SampleView>,
    /// The JSON Schema (2020-12) of an event's `data`. It may refer to places in itself (`#/$defs/…`), but not to itself
    /// as a whole nor to anything outside.
    #[schema(required = false, value_type = Object)]
    schema: Option<Value>,
    /// What becomes of an event that breaks the schema: `off` (nobody looks), `warn` or `reject`.
    #[schema(required = false)]
    enforce: String,
}

/// What an event of a type looks like.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventTypeSample)]
pub(in crate::http) struct SampleView {
    /// What it shows; an event's id where it is one that came in.
    name: String,
    /// The data, as it was written.
    data: Raw,
}

impl From<&Sample> for SampleView {
    fn from(sample: &Sample) -> Self {
        Self { name: sample.name.clone(), data: Raw::of(&sample.data) }
    }
}

/// An event type: what is said of it, and what of it came in.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventType)]
pub(in crate::http) struct EventTypeView {
    name: String,
    /// Whether it is described. If not, it came in all the same, and `title` is its name.
    known: bool,
    /// The profile that describes it, of the tenant, a source or a subscription; `null`: the tenant itself, or nobody.
    profile: Option<String>,
    title: String,
    description: Option<String>,
    samples: Vec<SampleView>,
    #[schema(value_type = Option<Object>)]
    schema: Option<Raw>,
    /// `off`, `warn` or `reject`.
    enforce: &'static str,
    /// How many events of it came in.
    count: u64,
    /// When the last one did.
    last_seen_at: Option<Time>,
    created_at: Option<Time>,
    updated_at: Option<Time>,
}

impl From<&KnownType> for EventTypeView {
    fn from(known: &KnownType) -> Self {
        let said = known.said.as_ref();
        let own = said.and_then(Said::own);
        let seeded = said.and_then(Said::profile_entry);
        let description = own.map_or_else(|| seeded.map(|entry| &entry.description), |own| Some(&own.description));
        let schema = own.map_or_else(|| seeded.map(|entry| &entry.schema), |own| Some(&own.schema));
        let title = own.map(|own| &own.title).or_else(|| seeded.map(|entry| &entry.title));
        let samples = said.map(|said| said.samples(&known.name)).unwrap_or_default();
        Self {
            name: known.name.to_string(),
            known: said.is_some(),
            profile: said.and_then(Said::profile).map(|profile| profile.name.clone()),
            title: title.cloned().unwrap_or_else(|| known.name.to_string()),
            description: description.cloned().flatten(),
            samples: samples.iter().map(SampleView::from).collect(),
            schema: schema.and_then(Option::as_ref).map(|schema| Raw::of(&schema.to_string())),
            enforce: own.map(|own| own.enforce).unwrap_or_default().as_str(),
            count: known.count,
            last_seen_at: known.last_seen_at.map(Time::from),
            created_at: own.map(|own| own.created_at.into()),
            updated_at: own.map(|own| own.updated_at.into()),
        }
    }
}
