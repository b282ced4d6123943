//! Envelopes: JSON written around the event's data, which is passed on as the text it came as.

use serde_json::Value;

use crate::domain::Event;

/// What an envelope is written around.
pub(super) struct View<'a> {
    pub(super) event: &'a Event,
    pub(super) event_type: &'a str,
    pub(super) timestamp: &'a str,
    pub(super) data: &'a str,
}

/// `{id,type,timestamp,data}`.
pub(super) fn standard(view: &View<'_>) -> String {
    let mut out = String::with_capacity(view.data.len() + 160);
    out.push_str("{\"id\":");
    push_id(&mut out, view.event);
    out.push_str(",\"type\":");
    push_text(&mut out, view.event_type);
    out.push_str(",\"timestamp\":");
    push_text(&mut out, view.timestamp);
    out.push_str(",\"data\":");
    out.push_str(view.data);
    out.push('}');
    out
}

/// CloudEvents 1.0, structured mode (cloudevents/spec, `json-format.md`). `source` is required there: where the
/// event names none, it is the gateway's own URN.
pub(super) fn cloudevents(view: &View<'_>) -> String {
    let mut out = String::with_capacity(view.data.len() + 256);
    out.push_str("{\"specversion\":\"1.0\",\"id\":");
    push_id(&mut out, view.event);
    out.push_str(",\"source\":");
    push_text(&mut out, view.event.source.as_deref().filter(|source| !source.is_empty()).unwrap_or("urn:hookmill"));
    out.push_str(",\"type\":");
    push_text(&mut out, view.event_type);
    out.push_str(",\"time\":");
    push_text(&mut out, view.timestamp);
    for (name, value) in &view.event.attributes {
        if is_extension(name) {
            out.push(',');
            push_text(&mut out, name);
            out.push(':');
            push_text(&mut out, value);
        }
    }
    out.push_str(",\"datacontenttype\":\"application/json\",\"data\":");
    out.push_str(view.data);
    out.push('}');
    out
}

/// Extension names are lower-case letters and digits, at most 20 of them, and no core attribute's.
fn is_extension(name: &str) -> bool {
    const CORE: [&str; 9] =
        ["specversion", "id", "source", "type", "time", "datacontenttype", "dataschema", "subject", "data"];
    let fits = !name.is_empty()
        && name.len() <= 20
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    fits && (!CORE.contains(&name) || matches!(name, "subject" | "dataschema"))
}

fn push_id(out: &mut String, event: &Event) {
    match &event.external_id {
        Some(id) => push_text(out, id),
        None => {
            use std::fmt::Write;
            // Writing to a String can't fail.
            let _ = write!(out, "\"{}\"", event.id);
        }
    }
}

fn push_text(out: &mut String, text: &str) {
    let plain = text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\');
    if plain {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&Value::from(text).to_string());
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::domain::{EventId, EventType, TenantId};

    pub(crate) fn event(data: &str) -> Event {
        let now = "2025-01-25T14:30:00Z".parse().unwrap();
        Event {
            id: EventId::new(now),
            tenant_id: TenantId::new(now),
            external_id: Some("evt \"1\"".into()),
            event_type: EventType::parse("a.b").unwrap(),
            source_id: None,
            source: None,
            timestamp: now,
            received_at: now,
            data: data.into(),
            attributes: vec![("subject".into(), "s".into()), ("x-header".into(), "h".into())],
        }
    }

    #[test]
    fn data_is_passed_on_byte_by_byte() {
        let data = "{ \"b\": 1.0, \"a\": 12345678901234567890123, \"b\": 1e2 }";
        let event = event(data);
        let view = View { event: &event, event_type: "a.b", timestamp: "t", data };
        assert_eq!(
            standard(&view),
            format!("{{\"id\":\"evt \\\"1\\\"\",\"type\":\"a.b\",\"timestamp\":\"t\",\"data\":{data}}}")
        );
        let cloud = cloudevents(&view);
        assert!(cloud.ends_with(&format!(",\"data\":{data}}}")));
        let read: Value = serde_json::from_str(&cloud).unwrap();
        assert_eq!(read["specversion"], "1.0");
        assert_eq!(read["source"], "urn:hookmill");
        assert_eq!(read["subject"], "s");
        assert!(read.get("x-header").is_none());
    }
}
