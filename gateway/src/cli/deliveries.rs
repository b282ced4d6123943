//! `hookmill deliveries`: what became of events, and sending again. What would become of them is told by `rerun`.

use clap::{Args, Subcommand};
use serde_json::Value;
use url::form_urlencoded::Serializer;

use super::patience::Patience;
use super::remote::{Reach, Remote, find_subscription, missing_delivery, plain, segment, table, text};
use super::rerun::Rerun;
use super::{block_on, print};

/// What became of events, and sending again.
#[derive(Args, Debug)]
pub(super) struct Deliveries {
    #[command(subcommand)]
    command: DeliveriesCommand,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Subcommand, Debug)]
enum DeliveriesCommand {
    /// The newest deliveries first
    List(Wanted),
    /// A delivery with every attempt: what was sent, what came back, and why it goes on as it does
    Show {
        /// Its id (dlv_…)
        id: String,
    },
    /// Send again; the transforms run anew
    Retry {
        /// Their ids (dlv_…)
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Make one again with any version of a plugin that its subscription had, beside what was sent; nothing is sent
    Run(Rerun),
}

#[derive(Args, Debug)]
struct Wanted {
    /// Of this subscription: its id, uid or name
    #[arg(long, value_name = "SUBSCRIPTION")]
    subscription: Option<String>,
    /// Of this event (evt_…)
    #[arg(long, value_name = "ID")]
    event: Option<String>,
    /// Of events of this type
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// In this state
    #[arg(long, value_parser = ["pending", "delivered", "failed", "dropped", "held", "cancelled"])]
    status: Option<String>,
    /// Whose last answer had this status code
    #[arg(long, value_name = "CODE")]
    status_code: Option<u16>,
    /// Made at or after this time, such as 2026-11-21T12:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Made before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// At most so many, 1 to 200
    #[arg(long, value_name = "COUNT", default_value_t = 50)]
    limit: u16,
    /// Go on where a list before ended: its `next`
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
}

impl Deliveries {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let remote = self.reach.remote()?;
        let json = self.reach.json;
        block_on(async {
            let _patience = Patience::spin("asking the gateway");
            match &self.command {
                DeliveriesCommand::List(wanted) => list(&remote, wanted, json).await,
                DeliveriesCommand::Show { id } => show(&remote, id, json).await,
                DeliveriesCommand::Retry { ids } => retry(&remote, ids, json).await,
                DeliveriesCommand::Run(rerun) => rerun.run(&remote, json).await,
            }
        })
    }
}

async fn list(remote: &Remote, wanted: &Wanted, json: bool) -> anyhow::Result<()> {
    let subscription = match &wanted.subscription {
        Some(word) => Some(find_subscription(remote, word).await?),
        None => None,
    };
    let code = wanted.status_code.map(|code| code.to_string());
    let limit = wanted.limit.to_string();
    let mut query = Serializer::new(String::new());
    for (name, value) in [
        ("limit", Some(&limit)),
        ("subscription_id", subscription.as_ref()),
        ("event_id", wanted.event.as_ref()),
        ("type", wanted.event_type.as_ref()),
        ("status", wanted.status.as_ref()),
        ("status_code", code.as_ref()),
        ("since", wanted.since.as_ref()),
        ("until", wanted.until.as_ref()),
        ("cursor", wanted.cursor.as_ref()),
    ] {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    let answer = remote.get(&format!("/v1/deliveries?{}", query.finish())).await?;
    if json {
        print(&answer.text);
        return Ok(());
    }
    let page = answer.json();
    let rows: Vec<[String; 6]> = page.get("data").and_then(Value::as_array).into_iter().flatten().map(row).collect();
    match rows.is_empty() {
        true => print("there is no such delivery"),
        false => print(&table(["DELIVERY", "MADE", "TYPE", "STATUS", "ATTEMPTS", "REASON"], &rows)),
    }
    if let Some(next) = page.get("next").and_then(Value::as_str) {
        print(&format!("there are more: --cursor {next}"));
    }
    Ok(())
}

fn row(one: &Value) -> [String; 6] {
    let attempts = one.get("attempt_count").and_then(Value::as_u64).unwrap_or(0).to_string();
    let field = |name| text(one, name).to_owned();
    [field("id"), field("created_at"), field("event_type"), field("status"), attempts, field("reason")]
}

async fn show(remote: &Remote, id: &str, json: bool) -> anyhow::Result<()> {
    let answer = match remote.get(&format!("/v1/deliveries/{}", segment(id))).await {
        Ok(answer) => answer,
        Err(error) => return Err(missing_delivery(remote, id, error).await),
    };
    if json {
        print(&answer.text)
    } else {
        print(&told(&answer.json()))
    }
    Ok(())
}

async fn retry(remote: &Remote, ids: &[String], json: bool) -> anyhow::Result<()> {
    for id in ids {
        match remote.poke(&format!("/v1/deliveries/{}/retry", segment(id))).await {
            Ok(answer) if json => print(&answer.text),
            Ok(answer) => print(&format!("{id} is due now ({})", text(&answer.json(), "status"))),
            Err(error) => return Err(missing_delivery(remote, id, error).await),
        }
    }
    Ok(())
}

/// A delivery in words.
pub(super) fn told(delivery: &Value) -> String {
    let mut lines = vec![format!(
        "{}: {} of event {} ({}) to {}",
        text(delivery, "id"),
        text(delivery, "status"),
        text(delivery, "event_id"),
        text(delivery, "event_type"),
        text(delivery, "subscription_id"),
    )];
    let reason = text(delivery, "reason");
    if !reason.is_empty() {
        lines.push(format!("  because {reason}"));
    }
    let due = text(delivery, "next_attempt_at");
    if !due.is_empty() {
        lines.push(format!("  next attempt at {due}"));
    }
    for attempt in delivery.get("attempts").and_then(Value::as_array).into_iter().flatten() {
        lines.extend(attempt_lines(attempt));
    }
    lines.iter().map(|line| plain(line)).collect::<Vec<_>>().join("\n")
}

/// An attempt in words.
pub(super) fn attempt_lines(attempt: &Value) -> Vec<String> {
    let number = |value: &Value, field: &str| value.get(field).cloned().unwrap_or_default();
    let mut lines = vec![format!(
        "attempt {} at {} ({}, {} ms): {}",
        number(attempt, "number"),
        text(attempt, "started_at"),
        text(attempt, "trigger"),
        number(attempt, "duration_ms"),
        text(attempt, "detail"),
    )];
    for run in attempt.get("plugins").and_then(Value::as_array).into_iter().flatten() {
        lines.push(format!("  {} ran for {} µs", text(run, "plugin"), number(run, "cpu_us")));
        lines.extend(log_lines(run));
    }
    if let Some(request) = attempt.get("request").filter(|request| !request.is_null()) {
        lines.extend(request_lines(request));
    }
    if let Some(response) = attempt.get("response").filter(|response| !response.is_null()) {
        lines.push(format!("  < {}", number(response, "status_code")));
        lines.extend(head_and_body(response, '<'));
    }
    let next = number(attempt, "next");
    lines.push(format!("  then {}: {}", text(&next, "action"), text(&next, "because")));
    lines
}

/// What a plugin has logged.
pub(super) fn log_lines(run: &Value) -> Vec<String> {
    let log = run.get("log").and_then(Value::as_array).into_iter().flatten();
    log.map(|line| format!("    {}: {}", text(line, "level"), text(line, "message"))).collect()
}

/// A request in words.
pub(super) fn request_lines(request: &Value) -> Vec<String> {
    let mut lines = vec![format!("  > {} {}", text(request, "method"), text(request, "url"))];
    lines.extend(head_and_body(request, '>'));
    lines
}

fn head_and_body(part: &Value, sign: char) -> Vec<String> {
    let headers = part.get("headers").and_then(Value::as_object).into_iter().flatten();
    let mut lines: Vec<String> =
        headers.map(|(name, value)| format!("  {sign} {name}: {}", value.as_str().unwrap_or_default())).collect();
    let body = text(part, "body");
    if !body.is_empty() {
        lines.push(format!("  {sign}"));
        lines.extend(body.lines().map(|line| format!("  {sign} {line}")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_delivery_in_words() {
        let delivery = json!({
            "id": "dlv_1", "status": "failed", "event_id": "evt_1", "event_type": "a", "subscription_id": "sub_1",
            "reason": "the endpoint answered 500", "next_attempt_at": null,
            "attempts": [{
                "number": 1, "started_at": "T", "trigger": "automatic", "duration_ms": 1.5, "detail": "answered 500",
                "plugins": [{"plugin": "fields@1.0.0", "cpu_us": 12, "log": [{"level": "info", "message": "hi"}]}],
                "request": {"method": "POST", "url": "http://x/", "headers": {"a": "b"}, "body": "{\n}"},
                "response": {"status_code": 500, "headers": {}, "body": "\u{1b}[2J"},
                "next": {"action": "give_up", "because": "no attempt is left"},
            }],
        });
        let wanted = "dlv_1: failed of event evt_1 (a) to sub_1\n  because the endpoint answered 500\n\
                      attempt 1 at T (automatic, 1.5 ms): answered 500\n  fields@1.0.0 ran for 12 µs\n    info: hi\n\
                      \x20 > POST http://x/\n  > a: b\n  >\n  > {\n  > }\n  < 500\n  <\n  < \u{fffd}[2J\n\
                      \x20 then give_up: no attempt is left";
        assert_eq!(told(&delivery), wanted);
    }
}
