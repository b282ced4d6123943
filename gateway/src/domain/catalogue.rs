//! Event types that a tenant describes.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{EventType, TenantId};

/// What a tenant says of one event type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CatalogueEntry {
    /// Whose it is.
    pub tenant_id: TenantId,
    /// The type.
    pub name: EventType,
    /// What it is called, for people.
    pub title: String,
    /// What it means, for people.
    #[serde(default)]
    pub description: Option<String>,
    /// What such events look like.
    #[serde(default)]
    pub samples: Vec<Sample>,
    /// The JSON Schema (2020-12) of an event's data.
    #[serde(default)]
    pub schema: Option<Value>,
    /// What becomes of an event that breaks it.
    #[serde(default)]
    pub enforce: Enforce,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

/// What an event of a type looks like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// What it shows.
    pub name: String,
    /// The JSON text of its data, as it was written.
    pub data: String,
}

/// What becomes of an event whose data breaks the schema of its type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Enforce {
    /// Nobody looks.
    #[default]
    Off,
    /// It is taken, and says so in its attribute [`BREACH`].
    Warn,
    /// It is refused.
    Reject,
}

impl Enforce {
    /// The word in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Warn => "warn",
            Self::Reject => "reject",
        }
    }
}

/// The attribute of an event that says how it breaks the schema of its type.
pub const BREACH: &str = "hookmill-schema";

/// How many events of each type a tenant has had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenTypes {
    /// Whose.
    pub tenant_id: TenantId,
    /// The types.
    pub types: Vec<SeenType>,
}

/// How many events of a type there were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenType {
    /// The type.
    pub name: EventType,
    /// How many.
    pub count: u64,
    /// When the last one was received.
    pub last_seen_at: Timestamp,
}
