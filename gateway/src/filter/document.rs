//! The event, as a filter sees it.

use std::borrow::Cow;
use std::sync::OnceLock;

use super::json::{JsonFault, Node, Object};
use crate::domain::{Event, rfc3339};

/// The envelope that expressions look at: `{id, type, timestamp, source, attributes, data}`.
///
/// It is parsed when the first filter looks, once for all of them, and never if none does. `source` is `null`
/// when the event has none; `attributes` is an object of strings.
#[derive(Debug)]
pub struct Document<'a> {
    id: Cow<'a, str>,
    event_type: &'a str,
    timestamp: Cow<'a, str>,
    source: Option<&'a str>,
    attributes: &'a [(Box<str>, Box<str>)],
    data: &'a str,
    root: OnceLock<Result<Node<'a>, JsonFault>>,
}

impl<'a> Document<'a> {
    /// A document of these parts; `data` is JSON text, `timestamp` RFC 3339.
    #[must_use]
    pub fn new(
        id: impl Into<Cow<'a, str>>,
        event_type: &'a str,
        timestamp: impl Into<Cow<'a, str>>,
        source: Option<&'a str>,
        attributes: &'a [(Box<str>, Box<str>)],
        data: &'a str,
    ) -> Self {
        let (id, timestamp) = (id.into(), timestamp.into());
        Self { id, event_type, timestamp, source, attributes, data, root: OnceLock::new() }
    }

    /// The document of an event; its `id` is the one that receivers see.
    #[must_use]
    pub fn of(event: &'a Event) -> Self {
        Self::new(
            event.public_id(),
            event.event_type.as_str(),
            rfc3339(event.timestamp),
            event.source.as_deref(),
            &event.attributes,
            &event.data,
        )
    }

    /// The envelope.
    ///
    /// # Errors
    /// If `data` is not JSON, or nested deeper than [`super::MAX_DEPTH`].
    pub fn root(&self) -> Result<&Node<'a>, JsonFault> {
        self.root.get_or_init(|| self.parse()).as_ref().map_err(Clone::clone)
    }

    fn parse(&self) -> Result<Node<'a>, JsonFault> {
        let text = |text: &'a str| Node::String(Cow::Borrowed(text));
        let data = Node::parse(self.data)?;
        let attributes =
            self.attributes.iter().map(|(name, value)| (Cow::Borrowed(name.as_ref()), text(value))).collect();
        Ok(Node::Object(Object::new(vec![
            (Cow::Borrowed("id"), Node::String(self.id.clone())),
            (Cow::Borrowed("type"), text(self.event_type)),
            (Cow::Borrowed("timestamp"), Node::String(self.timestamp.clone())),
            (Cow::Borrowed("source"), self.source.map_or(Node::Null, text)),
            (Cow::Borrowed("attributes"), Node::Object(Object::new(attributes))),
            (Cow::Borrowed("data"), data),
        ])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_envelope() {
        let attributes = [("x-a".into(), "1".into())];
        let document = Document::new("evt_1", "a.b", "2026-01-01T00:00:00.000Z", None, &attributes, r#"{"n":1.0}"#);
        assert_eq!(
            document.root().unwrap().to_string(),
            r#"{"id":"evt_1","type":"a.b","timestamp":"2026-01-01T00:00:00.000Z","source":null,"attributes":{"x-a":"1"},"data":{"n":1.0}}"#
        );
        assert!(Document::new("", "", "", Some("s"), &[], "{").root().is_err());
    }
}
