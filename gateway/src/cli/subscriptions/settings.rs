//! `hookmill subscriptions create` and `update`: settings as a file and flags say them.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::Args;
use serde_json::{Map, Value, json};

use crate::cli::remote::{Remote, find_subscription, text};
use crate::cli::{events, print};

#[derive(Args, Debug)]
pub(super) struct Create {
    #[command(flatten)]
    settings: Settings,
}

#[derive(Args, Debug)]
pub(super) struct Update {
    /// Its id, uid or name
    subscription: String,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Args, Debug, Default)]
struct Settings {
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

impl Create {
    pub(super) async fn run(self, remote: &Remote, json: bool) -> anyhow::Result<()> {
        let settings = self.settings.read()?;
        let answer = remote.post("/v1/subscriptions", Value::from(settings).to_string()).await?;
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
}

impl Update {
    pub(super) async fn run(self, remote: &Remote, json: bool) -> anyhow::Result<()> {
        let changes = self.settings.read()?;
        ensure!(!changes.is_empty(), "say what to change, with flags or in a file; --help has the flags");
        let id = find_subscription(remote, &self.subscription).await?;
        let path = format!("/v1/subscriptions/{id}");
        let changed = remote.patch(&path, Value::from(changes).to_string(), None).await?;
        let said = format!("{id} is changed and {}", text(&changed.json(), "state"));
        print(if json { &changed.text } else { &said });
        Ok(())
    }
}

impl Settings {
    /// What the file says, and over it what the flags say.
    fn read(&self) -> anyhow::Result<Map<String, Value>> {
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
        Ok(settings)
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
        let settings = Settings {
            file: Some(file),
            events: vec!["order.*".to_owned()],
            uid: Some("u".to_owned()),
            transforms: vec!["a@^1".to_owned(), r#"b={"k":"="}"#.to_owned()],
            ..Settings::default()
        };
        assert_eq!(
            Value::from(settings.read().unwrap()),
            json!({
                "url": "http://a", "events": ["order.*"], "envelope": "none", "uid": "u",
                "transforms": [{"plugin": "a@^1", "config": {}}, {"plugin": "b", "config": {"k": "="}}],
            })
        );
        assert!(Settings::default().read().unwrap().is_empty(), "nothing is said unasked");
        assert!(step("plugin", "a=[]").is_err());
    }
}
