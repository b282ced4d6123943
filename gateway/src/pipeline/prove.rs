//! Profiles, proved: what each says is read by the readers of what clients say, and its samples as requests are.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde_json::{Map, Value};

use super::{Pipeline, Posted};
use crate::domain::{FieldError, SourceSpec, SubscriptionSpec};
use crate::profiles::{Profile, Proven, Sample};
use crate::registry::{self, Inlet};

impl Pipeline {
    /// The check of a profile that [`crate::profiles`] asks for. Of each sample the source half must read the type,
    /// the id and the time that stand beside it, and data with something in it.
    ///
    /// # Errors
    /// Every mistake; its place is a pointer into the profile's file.
    pub fn prove(profile: &Profile) -> Result<Proven, Vec<FieldError>> {
        let mut errors = Vec::new();
        if let Some(half) = &profile.delivery {
            match read::<SubscriptionSpec>(&half.fields, ("events", Value::from(vec!["*"]))) {
                Ok(spec) => errors.extend(below("/delivery", registry::check_defaults(&spec))),
                Err(detail) => errors.push(FieldError::new("/delivery", detail)),
            }
        }
        let inlet = profile.source.as_ref().and_then(|half| {
            let spec = read::<SourceSpec>(&half.fields, ("name", Value::from(profile.name.as_str())))
                .map_err(|detail| vec![FieldError::new("", detail)]);
            spec.and_then(|spec| Inlet::reading(&spec)).map_err(|found| errors.extend(below("/source", found))).ok()
        });
        if !errors.is_empty() {
            return Err(errors);
        }
        let mut proven = Vec::with_capacity(profile.events.len());
        for (at, entry) in profile.events.iter().enumerate() {
            let mut all = Vec::with_capacity(entry.samples.len());
            for (index, sample) in entry.samples.iter().enumerate() {
                let place = format!("/events/{at}/samples/{index}");
                let data = match &inlet {
                    Some(inlet) => sample_data(inlet, sample),
                    None => Ok(sample.body.trim().into()),
                };
                match data.and_then(|data: Box<str>| check_data(&data, entry.schema.as_ref()).map(|()| data)) {
                    Ok(data) => all.push(data),
                    Err(found) => errors.extend(below(&place, found)),
                }
            }
            proven.push(all);
        }
        if errors.is_empty() { Ok(proven) } else { Err(errors) }
    }
}

fn read<T: serde::de::DeserializeOwned>(fields: &Map<String, Value>, given: (&str, Value)) -> Result<T, String> {
    let mut whole = fields.clone();
    whole.insert(given.0.to_owned(), given.1);
    serde_json::from_value(Value::Object(whole)).map_err(|error| error.to_string())
}

fn below(at: &str, errors: Vec<FieldError>) -> impl Iterator<Item = FieldError> {
    errors.into_iter().map(move |error| FieldError::new(format!("{at}{}", error.pointer), error.detail))
}

/// What the source half reads from a sample as data, if the rest is what the sample says.
fn sample_data(inlet: &Inlet, sample: &Sample) -> Result<Box<str>, Vec<FieldError>> {
    let wrong = |place: &str, detail: String| vec![FieldError::new(place, detail)];
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in &sample.headers {
        let place = format!("/headers/{name}");
        let name = HeaderName::try_from(name.as_str()).map_err(|_| wrong(&place, "not a header name".to_owned()))?;
        let value = HeaderValue::try_from(value).map_err(|_| wrong(&place, "not a header value".to_owned()))?;
        headers.insert(name, value);
    }
    let body = Bytes::copy_from_slice(sample.body.as_bytes());
    let posted = Posted::read(&headers, sample.query.as_deref().unwrap_or_default(), &body);
    let events = posted.and_then(|posted| Pipeline::from_source(inlet, &posted)).map_err(|error| {
        let said: Vec<String> = error.errors.iter().map(|error| error.detail.clone()).collect();
        wrong("", if said.is_empty() { error.detail } else { said.join("; ") })
    })?;
    let [event] = events.as_slice() else {
        return Err(wrong("/body", format!("the source half reads {} events; a sample is one", events.len())));
    };
    let mut errors = Vec::new();
    let mut compare = |place: &str, wanted: String, found: String| {
        if wanted != found {
            errors.push(FieldError::new(place, format!("the source half reads {found} and not {wanted}")));
        }
    };
    compare("/type", format!("`{}`", sample.event_type), format!("`{}`", event.event_type));
    let text = |text: Option<&str>| text.map_or_else(|| "none".to_owned(), |text| format!("`{text}`"));
    compare("/id", text(sample.id.as_deref()), text(event.external_id.as_deref()));
    let time = |time: Option<jiff::Timestamp>| text(time.map(|time| time.to_string()).as_deref());
    compare("/time", time(sample.time), time(event.timestamp));
    if errors.is_empty() { Ok(event.data.clone()) } else { Err(errors) }
}

fn check_data(data: &str, schema: Option<&Value>) -> Result<(), Vec<FieldError>> {
    let value: Value = serde_json::from_str(data)
        .map_err(|error| vec![FieldError::new("/body", format!("what is read from it is not JSON: {error}"))])?;
    let is_empty = match &value {
        Value::Object(members) => members.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Null => true,
        _ => false,
    };
    if is_empty {
        return Err(vec![FieldError::new("/body", "there is nothing in it; a sample shows what really comes")]);
    }
    let errors = schema.map(|schema| registry::check_schema(schema, &value, "")).unwrap_or_default();
    let told = |error: FieldError| {
        FieldError::new("/body", format!("does not fit the schema at `{}`: {}", error.pointer, error.detail))
    };
    if errors.is_empty() { Ok(()) } else { Err(errors.into_iter().map(told).collect()) }
}
