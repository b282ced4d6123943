//! How profiles look.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{Raw, Time};
use crate::control::Reloaded;
use crate::profiles::{Broken, EventEntry, Profile, Sample, Term};

/// A profile in a list.
#[derive(Serialize, ToSchema)]
#[schema(as = ProfileSummary)]
pub(in crate::http) struct ProfileSummary {
    name: String,
    /// The product's name.
    title: String,
    about: String,
    /// Where the product documents its webhooks.
    documentation: Option<String>,
    /// Whether it comes with Hookmill.
    shipped: bool,
    /// Whether its requests can be taken in.
    has_source: bool,
    /// Whether deliveries like its own can be made.
    has_delivery: bool,
    event_count: usize,
    sample_count: usize,
}

impl From<&Profile> for ProfileSummary {
    fn from(profile: &Profile) -> Self {
        Self {
            name: profile.name.clone(),
            title: profile.title.clone(),
            about: profile.about.clone(),
            documentation: profile.documentation.clone(),
            shipped: profile.is_shipped,
            has_source: profile.source.is_some(),
            has_delivery: profile.delivery.is_some(),
            event_count: profile.events.len(),
            sample_count: profile.events.iter().map(|entry| entry.samples.len()).sum(),
        }
    }
}

/// A profile as a whole.
#[derive(Serialize, ToSchema)]
#[schema(as = Profile)]
pub(in crate::http) struct ProfileView {
    name: String,
    /// The product's name.
    title: String,
    about: String,
    /// Where the product documents its webhooks.
    documentation: Option<String>,
    /// Whether it comes with Hookmill.
    shipped: bool,
    /// What the product calls our things: `source`, `event`, `subscription`, `delivery`, `attempt`, `secret`.
    #[schema(value_type = Object)]
    terms: BTreeMap<Term, String>,
    /// How its requests are verified and read, in the words of a source.
    #[schema(value_type = Option<Object>)]
    source: Option<Map<String, Value>>,
    /// How a delivery like its own is made, in the words of a subscription.
    #[schema(value_type = Option<Object>)]
    delivery: Option<Map<String, Value>>,
    events: Vec<ProfileEvent>,
}

/// An event type of a profile.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct ProfileEvent {
    /// The type, or a pattern that stands for many.
    name: String,
    title: String,
    description: Option<String>,
    /// JSON Schema of its data, where the product gives one.
    #[schema(value_type = Option<Object>)]
    schema: Option<Value>,
    samples: Vec<ProfileSample>,
}

/// A request as the product makes it, and what is read from it.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct ProfileSample {
    name: Option<String>,
    /// The event's type.
    r#type: String,
    /// Its id, if the product gives one.
    id: Option<String>,
    /// When it happened, if the product says so.
    timestamp: Option<Time>,
    /// The event's data.
    data: Raw,
    /// The request's headers beside those of its signature.
    headers: BTreeMap<String, String>,
    /// What follows the `?` of its URL.
    query: Option<String>,
    /// Its body, byte for byte.
    body: String,
}

impl From<&Profile> for ProfileView {
    fn from(profile: &Profile) -> Self {
        Self {
            name: profile.name.clone(),
            title: profile.title.clone(),
            about: profile.about.clone(),
            documentation: profile.documentation.clone(),
            shipped: profile.is_shipped,
            terms: profile.terms.clone(),
            source: profile.source.as_ref().map(|half| half.written.clone()),
            delivery: profile.delivery.as_ref().map(|half| half.written.clone()),
            events: profile.events.iter().map(ProfileEvent::from).collect(),
        }
    }
}

impl From<&EventEntry> for ProfileEvent {
    fn from(entry: &EventEntry) -> Self {
        Self {
            name: entry.name.clone(),
            title: entry.title.clone(),
            description: entry.description.clone(),
            schema: entry.schema.clone(),
            samples: entry.samples.iter().map(ProfileSample::from).collect(),
        }
    }
}

impl From<&Sample> for ProfileSample {
    fn from(sample: &Sample) -> Self {
        Self {
            name: sample.name.clone(),
            r#type: sample.event_type.to_string(),
            id: sample.id.clone(),
            timestamp: sample.time.map(Time::from),
            data: Raw::of(&sample.data),
            headers: sample.headers.clone(),
            query: sample.query.clone(),
            body: sample.body.clone(),
        }
    }
}

/// What came of reading the folder again.
#[derive(Serialize, ToSchema)]
#[schema(as = ReloadedProfiles)]
pub(in crate::http) struct ReloadedView {
    /// The profiles there are now that do not come with Hookmill.
    loaded: Vec<ProfileSummary>,
    /// What kept files from counting.
    broken: Vec<BrokenView>,
}

/// A mistake in a file.
#[derive(Serialize, ToSchema)]
#[schema(as = BrokenProfile)]
pub(in crate::http) struct BrokenView {
    /// The file, as it is called in its folder.
    file: String,
    /// The line, from 1.
    line: Option<usize>,
    /// What is wrong and what to do.
    reason: String,
}

impl From<&Reloaded> for ReloadedView {
    fn from(reloaded: &Reloaded) -> Self {
        let broken = |one: &Broken| BrokenView { file: one.file.clone(), line: one.line, reason: one.reason.clone() };
        Self {
            loaded: reloaded.loaded.iter().map(|profile| ProfileSummary::from(&**profile)).collect(),
            broken: reloaded.broken.iter().map(broken).collect(),
        }
    }
}
