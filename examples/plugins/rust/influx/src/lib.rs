//! InfluxDB: a point for every event, in the line protocol.
//!
//! **What is promised.** Nothing from an event can become a second line, another tag or another field: names and values
//! are escaped as the protocol asks, and line breaks in tags, which it cannot express, become spaces. A repeated
//! request does no harm: a point with the same series and time replaces the one before.
//!
//! **What is not.** Two events of one millisecond with the same tags are one point. Give them a tag that differs.
//!
//! The subscription's URL says where to: `https://HOST/api/v2/write?org=ORG&bucket=BUCKET&precision=ms`.

mod line;

use std::collections::BTreeMap;

use hookmill_plugin::prelude::*;

/// What a point is made of. Texts are templates.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The measurement: `orders`, or `{{ type }}`.
    #[schemars(length(min = 1))]
    measurement: String,
    /// What points are grouped by; one that comes out empty is left out.
    #[serde(default)]
    tags: BTreeMap<String, String>,
    /// What is measured, at least one. A template that is one expression keeps its type: `{{ data.amount }}` is a number.
    #[schemars(length(min = 1))]
    fields: BTreeMap<String, String>,
    /// An API token that may write to the bucket.
    token: Secret,
}

/// The connector.
#[derive(Debug)]
pub struct Influx;

impl Connector for Influx {
    type Config = Config;

    const MANIFEST: Manifest = Manifest::connector("influx", env!("CARGO_PKG_VERSION"))
        .title("InfluxDB")
        .description(
            "Writes a point for every event. The subscription's URL is that of the bucket: \
             https://HOST/api/v2/write?org=ORG&bucket=BUCKET&precision=ms",
        )
        .interprets(Interprets::Errors)
        .on_unknown(OnUnknown::Retry);

    fn render(event: Event, config: &Config) -> Result<Outcome, Fault> {
        let templates = Templates::new(&event, Escape::NONE)?;
        let mut point = line::Point::new(&templates.text("measurement", &config.measurement)?)?;
        for (name, template) in &config.tags {
            point.tag(name, &templates.text(&format!("tags.{name}"), template)?);
        }
        for (name, template) in &config.fields {
            point.field(name, &templates.json(&format!("fields.{name}"), template)?)?;
        }
        let mut request = match point.at(&event.timestamp)? {
            Some(line) => Request::json(line),
            None => return Ok(Outcome::dropped("none of the fields has a value in this event")),
        };
        request.content_type = "text/plain; charset=utf-8".to_owned();
        Ok(request.header("authorization", format!("Token {}", config.token)).into())
    }

    fn interpret(response: &Response, _: &Config) -> Verdict {
        match response.status {
            400 | 413 | 422 => Verdict::Rejected(format!(
                "InfluxDB does not accept the point; has a field changed its type? ({})",
                response.status
            )),
            401 | 403 => Verdict::Rejected(format!(
                "the token may not write to this bucket ({}); enter another",
                response.status
            )),
            404 => Verdict::Rejected("there is no such organisation or bucket; correct the URL (404)".to_owned()),
            429 | 503 => response.retry(Scope::Host),
            _ => response.default_verdict(),
        }
    }
}

hookmill_plugin::connector!(Influx);

#[cfg(test)]
mod tests {
    use super::*;
    use hookmill_plugin::testing;

    #[test]
    fn golden() {
        testing::connector::<Influx>("golden");
        testing::manifest::<Config>(&Influx::MANIFEST);
    }
}
