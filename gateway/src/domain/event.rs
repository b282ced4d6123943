//! Events.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{EventId, SourceId, TenantId};

/// Event types that begin so are the gateway's own operational events: refused at ingest, not matched by
/// `*`, and never the cause of another.
pub const RESERVED_PREFIX: &str = "hookmill.";

/// An event's type: 1–200 of `[A-Za-z0-9._:/-]`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct EventType(Box<str>);

/// A text that is no event type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an event type is 1 to 200 characters of A-Z a-z 0-9 . _ : / -")]
pub struct EventTypeError;

impl EventType {
    /// Checks and takes a text.
    ///
    /// # Errors
    /// If it is empty, longer than 200 bytes, or has another character.
    pub fn parse(text: &str) -> Result<Self, EventTypeError> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'/' | b'-');
        if text.is_empty() || text.len() > 200 || !text.bytes().all(fits) {
            return Err(EventTypeError);
        }
        Ok(Self(text.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is one of the gateway's own.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with(RESERVED_PREFIX)
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl<'de> Deserialize<'de> for EventType {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// Something that happened, kept as the bytes that said so. Immutable; shared as `Arc<Event>` by all of its
/// deliveries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The gateway's id.
    pub id: EventId,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// The client's own id, if it gave one: at most 256 bytes.
    pub external_id: Option<Box<str>>,
    /// Its type.
    pub event_type: EventType,
    /// The source that took it in, if it came through `/in/…`.
    pub source_id: Option<SourceId>,
    /// Who says so: the client's `source`, CloudEvents' `source`, or the source's name.
    pub source: Option<Box<str>>,
    /// When it happened, by the client's word; else when it was received.
    pub timestamp: Timestamp,
    /// When it was received.
    pub received_at: Timestamp,
    /// The JSON text of its data, exactly as it arrived.
    pub data: Box<str>,
    /// Kept request headers and CloudEvents extensions; names are lower case.
    pub attributes: Vec<(Box<str>, Box<str>)>,
}

impl Event {
    /// The id receivers and plugins see: the client's own, else the gateway's.
    #[must_use]
    pub fn public_id(&self) -> String {
        self.external_id.as_deref().map_or_else(|| self.id.to_string(), str::to_owned)
    }

    /// About how many bytes it takes in memory.
    #[must_use]
    pub fn weight(&self) -> usize {
        let attributes: usize = self.attributes.iter().map(|(name, value)| name.len() + value.len() + 32).sum();
        size_of::<Self>() + self.data.len() + attributes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_types() {
        for good in ["a", "event.purchase_complete", "PRIZE_PAYOUT_CREATED", "com.example/a:b-c", &"x".repeat(200)] {
            assert!(EventType::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "ä", "a*", "a\n", &"x".repeat(201)] {
            assert!(EventType::parse(bad).is_err(), "{bad}");
        }
        assert!(EventType::parse("hookmill.delivery.failed").unwrap().is_reserved());
    }
}
