//! `hookmill events`: posting events, and watching what comes in.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::Value;
use serde_json::value::RawValue;

use super::patience::Patience;
use super::remote::{Reach, Remote, Told, plain, segment, text};
use super::{block_on, eprint_line, print};
use crate::filter::EventPattern;

/// How long is waited before a stream that broke off is opened again.
const AGAIN: Duration = Duration::from_secs(1);

/// Post events, and watch what comes in.
#[derive(Args, Debug)]
pub(super) struct Events {
    #[command(subcommand)]
    command: EventsCommand,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Subcommand, Debug)]
enum EventsCommand {
    /// Post an event, or several: a JSON object, an array, JSON lines, or CloudEvents
    Send(Send),
    /// Watch what comes in, or with --deliveries what becomes of it; ends with Ctrl-C
    Tail(Tail),
}

#[derive(Args, Debug)]
struct Send {
    /// A file with the event; standard input unless given, or if it is `-`
    #[arg(conflicts_with = "data")]
    file: Option<PathBuf>,
    /// The event itself, in place of a file
    #[arg(long, value_name = "JSON")]
    data: Option<String>,
    /// Make an event of this type; what is given is then its data
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// With --type: your own id for it; a second event with the same id is a duplicate
    #[arg(long, value_name = "ID", requires = "event_type")]
    id: Option<String>,
}

#[derive(Args, Debug)]
struct Tail {
    /// Only types that fit, such as `order.*`; may be repeated
    #[arg(long = "type", value_name = "PATTERN")]
    types: Vec<String>,
    /// Watch attempts to deliver instead
    #[arg(long)]
    deliveries: bool,
    /// Show the data of each event, too
    #[arg(long, conflicts_with = "deliveries")]
    data: bool,
    /// End after so many
    #[arg(long, value_name = "COUNT")]
    limit: Option<u64>,
}

impl Events {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let remote = self.reach.remote()?;
        let json = self.reach.json;
        match self.command {
            EventsCommand::Send(send) => send.run(&remote, json),
            EventsCommand::Tail(tail) => tail.run(&remote, json),
        }
    }
}

impl Send {
    fn run(self, remote: &Remote, json: bool) -> anyhow::Result<()> {
        let text = match self.data {
            Some(data) => data,
            None => read(self.file.as_deref())?,
        };
        let (content_type, body) = match &self.event_type {
            Some(event_type) => ("application/json", made(event_type, self.id.as_deref(), &text)?),
            None => (content_type(&text)?, text),
        };
        let answer = block_on(async {
            let _patience = Patience::spin("sending");
            remote.call(Method::POST, "/v1/events", content_type, Bytes::from(body)).await
        })?;
        let receipt = answer.json();
        if json {
            print(&answer.text);
        } else {
            match receipt.get("data").and_then(Value::as_array) {
                Some(all) => {
                    all.iter().enumerate().for_each(|(at, one)| print(&format!("{at}: {}", receipt_line(one))))
                }
                None => print(&receipt_line(&receipt)),
            }
        }
        let rejected = receipt.get("rejected").and_then(Value::as_u64).unwrap_or(0);
        ensure!(rejected == 0, "{rejected} were not taken");
        Ok(())
    }
}

/// What a file or standard input holds.
pub(super) fn read(file: Option<&Path>) -> anyhow::Result<String> {
    match file.filter(|file| file.as_os_str() != "-") {
        Some(file) => std::fs::read_to_string(file).with_context(|| format!("can't read {}", file.display())),
        None => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("standard input could not be read")?;
            Ok(text)
        }
    }
}

/// An event around its data, which stays the text that it is.
fn made(event_type: &str, id: Option<&str>, data: &str) -> anyhow::Result<String> {
    let data: &RawValue = serde_json::from_str(data).context("the data is not JSON")?;
    let id = id.map(|id| format!("\"id\":{},", Value::from(id))).unwrap_or_default();
    Ok(format!("{{{id}\"type\":{},\"data\":{}}}", Value::from(event_type), data.get()))
}

/// As what a text is posted.
fn content_type(text: &str) -> anyhow::Result<&'static str> {
    let is_cloud = |value: &Value| value.get("specversion").is_some();
    let whole = match serde_json::from_str::<Value>(text) {
        Ok(Value::Array(all)) if all.first().is_some_and(is_cloud) => return Ok("application/cloudevents-batch+json"),
        Ok(one) if is_cloud(&one) => return Ok("application/cloudevents+json"),
        Ok(Value::Array(_) | Value::Object(_)) => return Ok("application/json"),
        Ok(_) => bail!("that is no event: give an object with `type` and `data`, or --type with the data"),
        Err(error) => error,
    };
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let first_is_whole = lines.next().is_some_and(|line| serde_json::from_str::<&RawValue>(line).is_ok());
    // What of the later lines is wrong, the gateway says line by line.
    if first_is_whole { Ok("application/x-ndjson") } else { Err(whole).context("the event is not JSON") }
}

fn receipt_line(receipt: &Value) -> String {
    if let Some(problem) = receipt.get("problem") {
        return format!("not taken: {}", plain(&super::client::problem(problem)));
    }
    let owed = match receipt.get("deliveries").and_then(Value::as_u64).unwrap_or(0) {
        0 => "no subscription wants it".to_owned(),
        1 => "owed to 1 subscription".to_owned(),
        many => format!("owed to {many} subscriptions"),
    };
    let known = receipt.get("duplicate").and_then(Value::as_bool).unwrap_or(false);
    format!("{} {}", text(receipt, "id"), if known { "was taken before" } else { owed.as_str() })
}

impl Tail {
    fn run(self, remote: &Remote, json: bool) -> anyhow::Result<()> {
        let types: Vec<EventPattern> =
            self.types.iter().map(|one| EventPattern::parse(one)).collect::<Result<_, _>>().context("--type")?;
        block_on(async {
            let path = if self.deliveries { "/v1/stream?kind=deliveries" } else { "/v1/stream" };
            let mut last = None::<String>;
            let mut left = self.limit.unwrap_or(u64::MAX);
            // The first time it must work; later a gateway may be away for a while.
            let mut stream = Some(remote.stream(path, None).await?);
            eprint_line(&format!("watching {}; Ctrl-C ends this", remote.server()));
            while left > 0 {
                let Some(open) = &mut stream else {
                    tokio::time::sleep(AGAIN).await;
                    // Deliveries can't be gone on with: what was missed is in the lists.
                    let last = last.as_deref().filter(|_| !self.deliveries);
                    stream = remote.stream(path, last).await.ok();
                    continue;
                };
                let Some(told) = open.next().await else {
                    eprint_line("the stream broke off; trying again");
                    stream = None;
                    continue;
                };
                if told.name == "lost" {
                    eprint_line("some was missed here; the lists have it");
                    continue;
                }
                let news: Value = serde_json::from_str(&told.data).unwrap_or_default();
                last = Some(told.id.clone());
                let event_type = if self.deliveries { text(&news, "event_type") } else { text(&news, "type") };
                if !types.is_empty() && !types.iter().any(|one| one.matches(event_type)) {
                    continue;
                }
                self.show(remote, &told, &news, json).await?;
                left -= 1;
            }
            Ok(())
        })
    }

    async fn show(&self, remote: &Remote, told: &Told, news: &Value, json: bool) -> anyhow::Result<()> {
        if self.data {
            let whole = remote.get(&format!("/v1/events/{}", segment(text(news, "id")))).await?;
            if json {
                print(&whole.text);
            } else {
                print(&event_line(news));
                print(&plain(data_of(&whole.text).unwrap_or("null")));
            }
        } else if json {
            print(&told.data);
        } else if self.deliveries {
            print(&delivery_line(news));
        } else {
            print(&event_line(news));
        }
        Ok(())
    }
}

/// An event's data, as it came.
pub(super) fn data_of(event: &str) -> Option<&str> {
    let fields: std::collections::BTreeMap<&str, &RawValue> = serde_json::from_str(event).ok()?;
    fields.get("data").map(|data| data.get())
}

fn event_line(event: &Value) -> String {
    let owed = event.get("deliveries").and_then(Value::as_u64).unwrap_or(0);
    plain(&format!("{} {} {} -> {owed}", text(event, "received_at"), text(event, "id"), text(event, "type")))
}

fn delivery_line(news: &Value) -> String {
    let attempt = news.get("attempt").filter(|attempt| !attempt.is_null());
    let what = match attempt {
        Some(attempt) => {
            format!("attempt {}: {}", attempt.get("number").unwrap_or(&Value::Null), text(attempt, "detail"))
        }
        None => text(news, "reason").to_owned(),
    };
    let at = attempt.map_or_else(|| text(news, "created_at"), |attempt| text(attempt, "started_at"));
    plain(&format!("{at} {} {} {} {what}", text(news, "id"), text(news, "event_type"), text(news, "status")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_posted_as_what() {
        for (text, wanted) in [
            (r#"{"type":"a","data":1}"#, Some("application/json")),
            (r#" [{"type":"a"}] "#, Some("application/json")),
            ("{\"type\":\"a\"}\n{\"type\":\"b\"}\n", Some("application/x-ndjson")),
            ("{\"type\":\"a\"}\n\n{", Some("application/x-ndjson")),
            (r#"{"specversion":"1.0","type":"a"}"#, Some("application/cloudevents+json")),
            (r#"[{"specversion":"1.0"}]"#, Some("application/cloudevents-batch+json")),
            ("{\n\"type\": \"a\",\n}", None),
            ("", None),
            ("hello", None),
            ("7", None),
        ] {
            assert_eq!(content_type(text).ok(), wanted, "{text}");
        }
    }

    #[test]
    fn data_stays_as_it_is_written() {
        let event = made("order.paid", Some("a\"b"), " {\"n\": 50.00, \"id\": 12345678901234567890} ").unwrap();
        assert_eq!(event, r#"{"id":"a\"b","type":"order.paid","data":{"n": 50.00, "id": 12345678901234567890}}"#);
        assert_eq!(data_of(&event), Some(r#"{"n": 50.00, "id": 12345678901234567890}"#));
        assert!(made("a", None, "{").is_err());
    }
}
