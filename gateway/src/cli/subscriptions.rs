//! `hookmill subscriptions`: who gets what.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::deliveries::attempt_lines;
use super::patience::Patience;
use super::remote::{Reach, Remote, every, find_subscription, plain, segment, table, text};
use super::{block_on, events, print};

/// Who gets what.
#[derive(Args, Debug)]
pub(super) struct Subscriptions {
    #[command(subcommand)]
    command: SubscriptionsCommand,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Subcommand, Debug)]
enum SubscriptionsCommand {
    /// All of them; with --json a page of 200
    List {
        /// Only those that are so: `active`, `paused` or `disabled`
        #[arg(long, value_name = "STATE")]
        state: Option<String>,
        /// With --json: go on where a page ended, at its `next`
        #[arg(long, value_name = "CURSOR")]
        cursor: Option<String>,
    },
    /// One with all its settings, but its secrets
    Show {
        /// Its id, uid or name
        subscription: String,
    },
    /// Make one, of a JSON file or of flags, or of both; the answer shows its secret
    Create(Create),
    /// Remove one; what is still owed to it is cancelled
    Delete {
        /// Its id, uid or name
        subscription: String,
    },
    /// Hold its deliveries
    Pause {
        /// Its id, uid or name
        subscription: String,
    },
    /// Send again, what was held too
    Resume {
        /// Its id, uid or name
        subscription: String,
    },
    /// Send it an event now, whatever its filter says: one of its types, unless one is given
    Test {
        /// Its id, uid or name
        subscription: String,
        /// The newest event of this type, or a made-up one
        #[arg(long = "type", value_name = "TYPE", conflicts_with_all = ["event", "data"])]
        event_type: Option<String>,
        /// This stored event (evt_…)
        #[arg(long, value_name = "ID", conflicts_with = "data")]
        event: Option<String>,
        /// This event: JSON with `type` and `data`
        #[arg(long, value_name = "JSON")]
        data: Option<String>,
    },
}

#[derive(Args, Debug)]
struct Create {
    /// A file with the settings as the API takes them; `-` is standard input
    file: Option<PathBuf>,
    /// Where deliveries go
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Which events: a type, or a pattern such as `order.*`; may be repeated
    #[arg(long = "event", value_name = "PATTERN")]
    events: Vec<String>,
    /// Your own id for it
    #[arg(long, value_name = "UID")]
    uid: Option<String>,
    /// A name for people
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// A transform with its config: `NAME` or `NAME={"key": …}`; may be repeated, and runs in this order
    #[arg(long = "transform", value_name = "PLUGIN")]
    transforms: Vec<String>,
    /// The connector with its config: `NAME={"key": …}`
    #[arg(long, value_name = "PLUGIN")]
    connector: Option<String>,
}

impl Subscriptions {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let remote = self.reach.remote()?;
        let json = self.reach.json;
        block_on(async {
            let _patience = Patience::spin("asking the gateway");
            match self.command {
                SubscriptionsCommand::List { state, cursor } => list(&remote, state, cursor, json).await,
                SubscriptionsCommand::Show { subscription } => {
                    let id = find_subscription(&remote, &subscription).await?;
                    let answer = remote.get(&format!("/v1/subscriptions/{id}")).await?;
                    let pretty = serde_json::to_string_pretty(&answer.json())?;
                    print(if json { &answer.text } else { &pretty });
                    Ok(())
                }
                SubscriptionsCommand::Create(create) => create.run(&remote, json).await,
                SubscriptionsCommand::Delete { subscription } => {
                    let id = find_subscription(&remote, &subscription).await?;
                    remote.delete(&format!("/v1/subscriptions/{id}")).await?;
                    print(&if json { json!({ "deleted": id }).to_string() } else { format!("{id} is removed") });
                    Ok(())
                }
                SubscriptionsCommand::Pause { subscription } => turn(&remote, &subscription, "pause", json).await,
                SubscriptionsCommand::Resume { subscription } => turn(&remote, &subscription, "resume", json).await,
                SubscriptionsCommand::Test { subscription, event_type, event, data } => {
                    let id = find_subscription(&remote, &subscription).await?;
                    let body = match (event_type, event, data) {
                        (Some(event_type), ..) => json!({ "type": event_type }).to_string(),
                        (_, Some(event), _) => json!({ "event_id": event }).to_string(),
                        (.., Some(data)) => format!("{{\"event\":{data}}}"),
                        _ => "{}".to_owned(),
                    };
                    test(&remote, &id, body, json).await
                }
            }
        })
    }
}

async fn list(remote: &Remote, state: Option<String>, cursor: Option<String>, json: bool) -> anyhow::Result<()> {
    let query =
        |name, value: Option<String>| value.map(|value| format!("&{name}={}", segment(&value))).unwrap_or_default();
    let path = format!("/v1/subscriptions?limit=200{}", query("state", state));
    if json {
        print(&remote.get(&format!("{path}{}", query("cursor", cursor))).await?.text);
        return Ok(());
    }
    let all = every(remote, &path).await?;
    let rows: Vec<[String; 5]> = all
        .iter()
        .map(|one| {
            let events: Vec<&str> =
                one.get("events").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
            let named = [text(one, "uid"), text(one, "name")].into_iter().find(|name| !name.is_empty());
            [text(one, "id"), named.unwrap_or_default(), text(one, "state"), &events.join(" "), text(one, "url")]
                .map(str::to_owned)
        })
        .collect();
    match rows.is_empty() {
        true => print("there is none; `hookmill subscriptions create` makes one"),
        false => print(&table(["SUBSCRIPTION", "UID OR NAME", "STATE", "EVENTS", "URL"], &rows)),
    }
    Ok(())
}

async fn turn(remote: &Remote, word: &str, to: &str, json: bool) -> anyhow::Result<()> {
    let id = find_subscription(remote, word).await?;
    let answer = remote.poke(&format!("/v1/subscriptions/{id}/{to}")).await?;
    let said = format!("{id} is {}", text(&answer.json(), "state"));
    print(if json { &answer.text } else { &said });
    Ok(())
}

async fn test(remote: &Remote, id: &str, body: String, json: bool) -> anyhow::Result<()> {
    let answer = remote.post(&format!("/v1/subscriptions/{id}/test"), body).await?;
    let tested = answer.json();
    let attempt = tested.get("attempt").cloned().unwrap_or_default();
    if json {
        print(&answer.text);
    } else {
        attempt_lines(&attempt).iter().for_each(|line| print(&plain(line)));
    }
    anyhow::ensure!(text(&attempt, "outcome") == "delivered", "the test was not delivered");
    Ok(())
}

impl Create {
    async fn run(self, remote: &Remote, json: bool) -> anyhow::Result<()> {
        let answer = remote.post("/v1/subscriptions", self.settings()?).await?;
        if json {
            print(&answer.text);
            return Ok(());
        }
        let made = answer.json();
        print(&format!("{} is made and {}", text(&made, "id"), text(&made, "state")));
        let secret = text(&made, "secret");
        if !secret.is_empty() {
            print(&format!("its requests are signed with the secret {secret}"));
        }
        Ok(())
    }

    /// What the file says, and over it what the flags say.
    fn settings(&self) -> anyhow::Result<String> {
        let mut settings: Map<String, Value> = match &self.file {
            Some(file) => {
                serde_json::from_str(&events::read(Some(file))?).context("the settings are no JSON object")?
            }
            None => Map::new(),
        };
        for (field, value) in [("url", &self.url), ("uid", &self.uid), ("name", &self.name)] {
            if let Some(value) = value {
                settings.insert(field.to_owned(), Value::from(value.as_str()));
            }
        }
        if !self.events.is_empty() {
            settings.insert("events".to_owned(), Value::from(self.events.clone()));
        }
        if !self.transforms.is_empty() {
            let transforms =
                self.transforms.iter().map(|one| step("plugin", one)).collect::<anyhow::Result<Vec<_>>>()?;
            settings.insert("transforms".to_owned(), Value::from(transforms));
        }
        if let Some(connector) = &self.connector {
            settings.insert("connector".to_owned(), step("name", connector)?);
        }
        Ok(Value::from(settings).to_string())
    }
}

/// `NAME` or `NAME={…}`.
fn step(field: &str, text: &str) -> anyhow::Result<Value> {
    let (name, config) = text.split_once('=').unwrap_or((text, "{}"));
    let config: Map<String, Value> =
        serde_json::from_str(config).with_context(|| format!("the config of `{name}` is no JSON object"))?;
    Ok(json!({ field: name, "config": config }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_come_over_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("s.json");
        std::fs::write(&file, r#"{"url":"http://a","events":["x"],"envelope":"none"}"#).unwrap();
        let create = Create {
            file: Some(file),
            url: None,
            events: vec!["order.*".to_owned()],
            uid: Some("u".to_owned()),
            name: None,
            transforms: vec!["a@^1".to_owned(), r#"b={"k":"="}"#.to_owned()],
            connector: None,
        };
        let settings: Value = serde_json::from_str(&create.settings().unwrap()).unwrap();
        assert_eq!(
            settings,
            json!({
                "url": "http://a", "events": ["order.*"], "envelope": "none", "uid": "u",
                "transforms": [{"plugin": "a@^1", "config": {}}, {"plugin": "b", "config": {"k": "="}}],
            })
        );
        assert!(step("plugin", "a=[]").is_err());
    }
}
