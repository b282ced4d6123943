//! `hookmill subscriptions use`: which version of a plugin a subscription runs, and which it tries beside it.
//!
//! Configs go back as the texts that came. Their secrets did not come, and what a change omits is kept.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::cli::print;
use crate::cli::remote::{Remote, find_subscription, plain, segment, text};
use crate::domain::plugin_name;

#[derive(Args, Debug)]
pub(super) struct Use {
    /// Its id, uid or name
    subscription: String,
    /// `NAME@1.2.0` stays, `NAME` is the latest there is and stays; `NAME@latest` and `NAME@^1` follow
    #[arg(value_name = "PLUGIN[@VERSION]")]
    plugin: String,
    /// Try it beside what is used: it gets so many of a hundred events, always the same ones
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=100), conflicts_with = "shadow")]
    percent: Option<u8>,
    /// Try it beside what is used: it runs after each delivery, and what it makes is compared and never sent
    #[arg(long)]
    shadow: bool,
}

/// What a subscription runs, in order.
#[derive(Debug, Deserialize)]
struct Steps {
    transforms: Vec<Step>,
    connector: Option<Step>,
}

/// The fields of a step.
type Step = BTreeMap<String, Box<RawValue>>;

/// What is tried beside a step. What is not said is `null`, which in a change takes away what there was.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Candidate {
    plugin: String,
    config: Option<Box<RawValue>>,
    percent: Option<u8>,
    shadow: bool,
}

impl Use {
    pub(super) async fn run(self, remote: &Remote, json: bool) -> anyhow::Result<()> {
        let id = find_subscription(remote, &self.subscription).await?;
        let path = format!("/v1/subscriptions/{id}");
        let read = remote.get(&path).await?;
        // Not over what somebody else changes meanwhile: the steps go back as they were read.
        let changed = remote.patch(&path, self.patch(Steps::read(&read.text)?)?, read.tag.as_deref()).await?.text;
        if json {
            print(&changed);
            return Ok(());
        }
        for step in Steps::read(&changed)?.called(plugin_name(&self.plugin))? {
            let mut line = format!("{id} uses {}", now(remote, &step.plugin).await?);
            if let Some(tried) = step.candidate {
                let plugin = now(remote, &tried.plugin).await?;
                line.push_str(&match tried.percent {
                    Some(percent) => format!("; {plugin} gets {percent} % of its events"),
                    None => format!("; {plugin} runs in its shadow"),
                });
            }
            print(&plain(&line));
        }
        Ok(())
    }

    /// The change of every step that has the plugin's name.
    fn patch(&self, mut steps: Steps) -> anyhow::Result<String> {
        let name = plugin_name(&self.plugin);
        if steps.called(name)?.is_empty() {
            let used: Vec<String> = steps.all()?.into_iter().map(|step| step.plugin).collect();
            match used.is_empty() {
                true => bail!("it has no step `{name}`, nor any other; `subscriptions update` gives it one"),
                false => bail!("it has no step `{name}`; it has {}", used.join(", ")),
            }
        }
        let mut patch = BTreeMap::new();
        if let Some(connector) = &mut steps.connector
            && plugin_name(&field(connector, "name")?) == name
        {
            self.apply(connector, "name")?;
            // Of an object what is omitted stays.
            connector.remove("config");
            patch.insert("connector", to_raw_value(&*connector)?);
        }
        let mut is_changed = false;
        for transform in &mut steps.transforms {
            if plugin_name(&field(transform, "plugin")?) == name {
                self.apply(transform, "plugin")?;
                is_changed = true;
            }
        }
        // A list is replaced as a whole.
        if is_changed {
            patch.insert("transforms", to_raw_value(&steps.transforms)?);
        }
        Ok(serde_json::to_string(&patch)?)
    }

    fn apply(&self, step: &mut Step, named: &str) -> anyhow::Result<()> {
        let candidate = if self.shadow || self.percent.is_some() {
            // Another share, or another version, of what has a config of its own goes on with that.
            let before = candidate(step)?.filter(|before| plugin_name(&before.plugin) == plugin_name(&self.plugin));
            let config = before.and_then(|before| before.config);
            let Self { plugin, percent, shadow, .. } = self;
            to_raw_value(&Candidate { plugin: plugin.clone(), config, percent: *percent, shadow: *shadow })?
        } else {
            step.insert(named.to_owned(), to_raw_value(&self.plugin)?);
            RawValue::NULL.to_owned()
        };
        step.insert("candidate".to_owned(), candidate);
        Ok(())
    }
}

/// What is told of a step.
struct Used {
    plugin: String,
    candidate: Option<Candidate>,
}

impl Steps {
    fn read(subscription: &str) -> anyhow::Result<Self> {
        serde_json::from_str(subscription).context("the gateway answered with something that is no subscription")
    }

    fn all(&self) -> anyhow::Result<Vec<Used>> {
        let transforms = self.transforms.iter().map(|step| (step, "plugin"));
        let steps = transforms.chain(self.connector.iter().map(|step| (step, "name")));
        steps.map(|(step, named)| Ok(Used { plugin: field(step, named)?, candidate: candidate(step)? })).collect()
    }

    fn called(&self, name: &str) -> anyhow::Result<Vec<Used>> {
        let mut all = self.all()?;
        all.retain(|step| plugin_name(&step.plugin) == name);
        Ok(all)
    }
}

fn field(step: &Step, named: &str) -> anyhow::Result<String> {
    let value = step.get(named).with_context(|| format!("a step has no `{named}`"))?;
    Ok(serde_json::from_str(value.get())?)
}

fn candidate(step: &Step) -> anyhow::Result<Option<Candidate>> {
    match step.get("candidate") {
        Some(candidate) => Ok(serde_json::from_str(candidate.get())?),
        None => Ok(None),
    }
}

/// A reference, and the version that it means now where it does not say so itself.
async fn now(remote: &Remote, reference: &str) -> anyhow::Result<String> {
    let (name, version) = reference.split_once('@').unwrap_or((reference, "latest"));
    let found = remote.get(&format!("/v1/plugins/{}/{}", segment(name), segment(version))).await?.json();
    Ok(match text(&found, "version") {
        same if same == version => reference.to_owned(),
        other => format!("{reference}, which is {other} now"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn patch(plugin: &str, percent: Option<u8>, shadow: bool, steps: &Value) -> Result<Value, String> {
        let wanted = Use { subscription: String::new(), plugin: plugin.to_owned(), percent, shadow };
        let steps = Steps::read(&steps.to_string()).unwrap();
        wanted.patch(steps).map(|patch| serde_json::from_str(&patch).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_version_in_the_place_of_another() {
        let tried = json!({ "plugin": "b@1.1.0", "percent": 5, "config": { "k": 1.0 } });
        let steps = json!({
            "id": "sub_1",
            "transforms": [
                { "plugin": "a@1.0.0", "config": {} },
                { "plugin": "b@1.0.0", "config": { "n": 1.0 }, "candidate": tried },
            ],
            "connector": { "name": "c@1.0.0", "config": { "text": "x" } },
        });
        let a = json!({ "plugin": "a@1.0.0", "config": {} });
        let b = |plugin: &str, other: Value| json!({ "plugin": plugin, "config": { "n": 1.0 }, "candidate": other });
        let pinned = json!({ "transforms": [a, b("b@1.1.0", Value::Null)] });
        assert_eq!(patch("b@1.1.0", None, false, &steps), Ok(pinned));
        let tries = json!({ "plugin": "b@^1", "percent": null, "shadow": true, "config": { "k": 1.0 } });
        assert_eq!(patch("b@^1", None, true, &steps), Ok(json!({ "transforms": [a, b("b@1.0.0", tries)] })));
        let pinned = json!({ "connector": { "name": "c", "candidate": null } });
        assert_eq!(patch("c", None, false, &steps), Ok(pinned));
        let tries = json!({ "plugin": "c@2.0.0", "percent": 10, "shadow": false, "config": null });
        let tried = json!({ "connector": { "name": "c@1.0.0", "candidate": tries } });
        assert_eq!(patch("c@2.0.0", Some(10), false, &steps), Ok(tried));
    }

    #[test]
    fn a_step_that_is_not_there() {
        let steps = json!({ "transforms": [{ "plugin": "a@1.0.0" }], "connector": { "name": "c@latest" } });
        let refused = patch("b@1.0.0", None, false, &steps).unwrap_err();
        assert_eq!(refused, "it has no step `b`; it has a@1.0.0, c@latest");
        let refused = patch("b", None, true, &json!({ "transforms": [], "connector": null })).unwrap_err();
        assert!(refused.contains("nor any other"), "{refused}");
    }

    #[test]
    fn configs_stay_the_texts_that_they_are() {
        let steps = r#"{"transforms":[{"plugin":"a@1.0.0","config":{"n": 1.10}}],"connector":null}"#;
        let wanted = Use { subscription: String::new(), plugin: "a".to_owned(), percent: None, shadow: false };
        let patch = wanted.patch(Steps::read(steps).unwrap()).unwrap();
        assert_eq!(patch, r#"{"transforms":[{"candidate":null,"config":{"n": 1.10},"plugin":"a"}]}"#);
    }
}
