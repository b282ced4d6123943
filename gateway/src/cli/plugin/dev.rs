//! `hookmill plugin dev`: from a saved file to what it does to real events.
//!
//! The folder is looked at again and again; what has changed is built, held against the golden files and, where a
//! subscription is named, run over its last events: in this process, beside the version that the subscription uses,
//! which is run on the gateway. Nothing is uploaded and nothing is sent. Secrets of configs can't be read, so both
//! versions get the same placeholders.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail, ensure};
use clap::Args;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::toolchain;
use crate::cli::difference::differences;
use crate::cli::golden::{self, Loaded, run_body};
use crate::cli::patience::Patience;
use crate::cli::remote::{Reach, Remote, find_subscription, plain, segment, text};
use crate::cli::{block_on, eprint_line, print, withheld};
use crate::domain::plugin_name;

/// How often the folder is looked at.
const LOOK: Duration = Duration::from_millis(300);

/// What the tools write themselves.
const NOT_SOURCES: [&str; 8] =
    ["target", "node_modules", ".venv", ".git", "__pycache__", "types", "plugin.wasm", "Cargo.lock"];

#[derive(Args, Debug)]
pub(super) struct Dev {
    /// The plugin's folder
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Run over the last events of this subscription (id, uid or name) that uses the plugin
    #[arg(long, value_name = "SUBSCRIPTION")]
    subscription: Option<String>,
    /// Over how many events
    #[arg(long, value_name = "COUNT", default_value_t = 5, requires = "subscription")]
    events: u8,
    /// Do it once instead of again and again
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    reach: Reach,
}

impl Dev {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let remote = self.subscription.as_ref().map(|_| self.reach.remote()).transpose()?;
        block_on(async {
            let (mut last, mut told) = (None, Vec::new());
            loop {
                // Before the build, so that what is changed meanwhile is built next.
                let now = sources(&self.folder);
                if last.as_ref() != Some(&now) {
                    let done = self.round(remote.as_ref(), &mut told).await;
                    if self.once {
                        return done;
                    }
                    if let Err(error) = done {
                        eprint_line(&format!("{error:#}"));
                    }
                    eprint_line(&format!("waiting for a change in {}; Ctrl-C ends this", self.folder.display()));
                    last = Some(now);
                }
                tokio::time::sleep(LOOK).await;
            }
        })
    }

    /// Does it once. `told` are the placeholders that were told of before.
    async fn round(&self, remote: Option<&Remote>, told: &mut Vec<String>) -> anyhow::Result<()> {
        let module = toolchain::build(&self.folder).await?;
        let loaded = {
            let _patience = Patience::spin("compiling");
            Loaded::read(&module).await?
        };
        let folder = self.folder.join("golden");
        let mut differ = 0;
        if folder.is_dir() {
            let report = loaded.golden(&folder).await?;
            differ = report.failures.len();
            if self.reach.json {
                let failures = &report.failures;
                print(&json!({ "golden": { "passed": report.passed, "failures": failures } }).to_string());
            } else {
                report.failures.iter().for_each(|failure| print(failure));
                print(&format!("{}: {} golden files passed, {differ} differ", report.plugin, report.passed));
            }
        }
        if let (Some(remote), Some(subscription)) = (remote, &self.subscription) {
            self.compare(remote, subscription, &loaded, told).await?;
        }
        // Last, since what comes of real events shows why.
        ensure!(differ == 0, "golden files differ");
        Ok(())
    }

    /// Shows what the new module does otherwise than the one that the subscription uses.
    async fn compare(
        &self,
        remote: &Remote,
        word: &str,
        loaded: &Loaded,
        told: &mut Vec<String>,
    ) -> anyhow::Result<()> {
        let id = find_subscription(remote, word).await?;
        let subscription = remote.get(&format!("/v1/subscriptions/{id}")).await?;
        let chain = Chain::read(&subscription.text, &loaded.manifest().name)?;
        if !chain.placeholders.is_empty() && chain.placeholders != *told {
            eprint_line(&withheld::notice(&chain.placeholders));
            told.clone_from(&chain.placeholders);
        }
        let path = format!("/v1/deliveries?subscription_id={id}&limit={}", self.events);
        let deliveries = remote.get(&path).await?.json();
        let deliveries = deliveries.get("data").and_then(Value::as_array).cloned().unwrap_or_default();
        if deliveries.is_empty() {
            eprint_line(&format!("{id} has had no event yet; `hookmill events send` posts one"));
        }
        for delivery in &deliveries {
            let event_id = text(delivery, "event_id");
            let stored = remote.get(&format!("/v1/events/{event_id}")).await?;
            let patience = Patience::spin("comparing");
            let compared = self.compare_one(remote, &chain, loaded, &stored.text).await;
            drop(patience);
            match compared {
                Ok(lines) if self.reach.json => {
                    print(&json!({ "event_id": event_id, "differences": lines }).to_string());
                }
                Ok(lines) if lines.is_empty() => print(&format!("{event_id}: the same as {}", chain.current)),
                Ok(lines) => {
                    print(&format!("{event_id}: otherwise than {}", chain.current));
                    lines.iter().for_each(|line| print(&plain(&format!("  {line}"))));
                }
                Err(error) => print(&plain(&format!("{event_id}: not compared: {error:#}"))),
            }
        }
        Ok(())
    }

    async fn compare_one(
        &self,
        remote: &Remote,
        chain: &Chain,
        loaded: &Loaded,
        stored: &str,
    ) -> anyhow::Result<Vec<String>> {
        let mut event = event_of(stored)?;
        for (plugin, config) in &chain.before {
            let came = on_gateway(remote, plugin, run_body(&event, config)).await?;
            let kept: BTreeMap<&str, &RawValue> = serde_json::from_str(&came)?;
            let Some(kept) = kept.get("keep") else { bail!("{plugin} before it gives {came}") };
            event = kept.get().to_owned();
        }
        let body = run_body(&event, &chain.config);
        let after = loaded.run(&body).await;
        let before = on_gateway(remote, &chain.current, body).await?;
        let after = after.with_context(|| format!("{} as it is here", loaded.manifest().reference()))?;
        Ok(differences(&before, &came_of(&after)?))
    }
}

/// What a subscription runs up to the plugin that is being worked on. Configs are JSON texts.
#[derive(Debug, PartialEq, Eq)]
struct Chain {
    before: Vec<(String, String)>,
    current: String,
    config: String,
    /// Where a placeholder stands in one of these configs.
    placeholders: Vec<String>,
}

impl Chain {
    fn read(subscription: &str, name: &str) -> anyhow::Result<Self> {
        let mut subscription: Value = serde_json::from_str(subscription)?;
        let mut placeholders = withheld::put_placeholders(&mut subscription, true);
        let transforms = subscription.get("transforms").and_then(Value::as_array).into_iter().flatten();
        let transforms = transforms.enumerate().map(|(at, step)| (format!("#/transforms/{at}/config/"), step));
        let connector = subscription.get("connector").filter(|connector| !connector.is_null());
        let connector = connector.map(|step| ("#/connector/config/".to_owned(), step));
        let (mut steps, mut places) = (Vec::new(), Vec::new());
        for (place, step) in transforms.chain(connector) {
            let plugin = step.get("plugin").or_else(|| step.get("name")).and_then(Value::as_str);
            let config = step.get("config").map_or_else(|| "{}".to_owned(), Value::to_string);
            steps.push((plugin.context("a step has no plugin")?.to_owned(), config));
            places.push(place);
        }
        let is_it = |plugin: &str| plugin_name(plugin) == name;
        let Some(at) = steps.iter().position(|(plugin, _)| is_it(plugin)) else {
            let used: Vec<&str> = steps.iter().map(|(plugin, _)| plugin.as_str()).collect();
            let used = if used.is_empty() { "no plugin".to_owned() } else { used.join(", ") };
            bail!("the subscription does not use `{name}`: it uses {used}; push a first version and add it");
        };
        steps.truncate(at + 1);
        places.truncate(at + 1);
        placeholders.retain(|one| places.iter().any(|place| one.starts_with(place.as_str())));
        let (current, config) = steps.pop().context("there is one")?;
        Ok(Self { before: steps, current, config, placeholders })
    }
}

/// A stored event in the form that a plugin is run with.
fn event_of(stored: &str) -> anyhow::Result<String> {
    let fields: BTreeMap<&str, &RawValue> = serde_json::from_str(stored)?;
    let wanted = ["id", "type", "source", "timestamp", "data", "attributes"];
    let kept = wanted.iter().filter_map(|name| Some((*name, fields.get(name)?.get())));
    // Data may be `null`; anything else that is, is not there.
    let kept = kept.filter(|(name, value)| *name == "data" || *value != "null");
    let members: Vec<String> = kept.map(|(name, value)| format!("\"{name}\":{value}")).collect();
    Ok(format!("{{{}}}", members.join(",")))
}

/// What a plugin on the gateway makes of a [`run_body`], in the form of golden files.
async fn on_gateway(remote: &Remote, plugin: &str, body: String) -> anyhow::Result<String> {
    let answer = remote.post(&format!("/v1/plugins/{}/run", segment(plugin)), body).await?;
    came_of(&answer.text)
}

/// The same, of what was answered.
fn came_of(run: &str) -> anyhow::Result<String> {
    let fields: BTreeMap<&str, &RawValue> = serde_json::from_str(run)?;
    let output = fields.get("output").map_or("null", |output| output.get());
    if output == "null" {
        let fault: Value =
            fields.get("fault").map(|fault| serde_json::from_str(fault.get())).transpose()?.unwrap_or_default();
        return Ok(json!({ "fault": text(&fault, "message") }).to_string());
    }
    let output_fields: BTreeMap<&str, &RawValue> = serde_json::from_str(output)?;
    let Some(send) = output_fields.get("send") else { return Ok(output.to_owned()) };
    // Golden files have a body that is JSON as JSON, the gateway has it as a text.
    let request: BTreeMap<&str, &RawValue> = serde_json::from_str(send.get())?;
    let members = request.iter().filter(|(name, _)| **name != "body_encoding").map(|(name, value)| {
        let body = serde_json::from_str::<String>(value.get()).ok().filter(|_| *name == "body");
        format!("\"{name}\":{}", body.map_or_else(|| value.get().to_owned(), |text| golden::body(&text)))
    });
    Ok(format!("{{\"send\":{{{}}}}}", members.collect::<Vec<_>>().join(",")))
}

/// Every source file with its time and size.
fn sources(folder: &Path) -> BTreeMap<PathBuf, (Option<SystemTime>, u64)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_name().to_str().is_some_and(|name| NOT_SOURCES.contains(&name)) {
                continue;
            }
            // Links are not followed: they may lead in a circle.
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => folders.push(path),
                Ok(metadata) => {
                    found.insert(path, (metadata.modified().ok(), metadata.len()));
                }
                Err(_) => {}
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_before_it() {
        let subscription = r#"{"id":"sub_1","transforms":[{"plugin":"redact@0.1.0","config":{"n":1.0}},
            {"plugin":"mine@1.0.0"}],"connector":{"name":"slack@0.1.0","config":{}}}"#;
        let chain = Chain::read(subscription, "mine").unwrap();
        let before = vec![("redact@0.1.0".to_owned(), r#"{"n":1.0}"#.to_owned())];
        let (current, config) = ("mine@1.0.0".to_owned(), "{}".to_owned());
        assert_eq!(chain, Chain { before, current, config, placeholders: Vec::new() });
        assert_eq!(Chain::read(subscription, "slack").unwrap().before.len(), 2);
        let error = Chain::read(subscription, "other").unwrap_err().to_string();
        assert!(error.contains("redact@0.1.0, mine@1.0.0, slack@0.1.0"), "{error}");
        let none = r#"{"transforms":[],"connector":null}"#;
        assert!(Chain::read(none, "other").unwrap_err().to_string().contains("no plugin"));
    }

    #[test]
    fn placeholders_are_told_of_as_far_as_it_runs() {
        let subscription = r##"{"transforms":[{"plugin":"a@1.0.0","config":{}},{"plugin":"b@1.0.0","config":{"n":1}}],
            "connector":{"name":"c@1.0.0","config":{}},"secrets_set":["#/auth/token","#/connector/config/token",
            "#/transforms/0/config/key","#/transforms/1/config/key"]}"##;
        let chain = Chain::read(subscription, "b").unwrap();
        assert_eq!(chain.placeholders, ["#/transforms/0/config/key", "#/transforms/1/config/key"]);
        assert_eq!(chain.before, [("a@1.0.0".to_owned(), r#"{"key":"hookmill-placeholder"}"#.to_owned())]);
        assert_eq!(chain.config, r#"{"n":1,"key":"hookmill-placeholder"}"#);
        assert_eq!(Chain::read(subscription, "c").unwrap().placeholders.len(), 3);
    }

    #[test]
    fn a_gateways_run_in_the_form_of_golden_files() {
        for (run, wanted) in [
            (r#"{"output":{"drop":"no"},"fault":null}"#, r#"{"drop":"no"}"#),
            (r#"{"output":{"keep":{"data":1.00}},"fault":null}"#, r#"{"keep":{"data":1.00}}"#),
            (r#"{"output":null,"fault":{"kind":"reported","message":"why"}}"#, r#"{"fault":"why"}"#),
            (r#"{"output":{"send":{"body":"{\"a\": 1.0}"}}}"#, r#"{"send":{"body":{"a": 1.0}}}"#),
            (r#"{"output":{"send":{"body":"hi","url":"body"}}}"#, r#"{"send":{"body":"hi","url":"body"}}"#),
        ] {
            assert_eq!(came_of(run).unwrap(), wanted);
        }
    }

    #[test]
    fn a_stored_event_for_a_plugin() {
        let stored = r#"{"id":"evt_1","external_id":"x","type":"a","source":null,"source_id":null,"timestamp":"T",
            "received_at":"R","deliveries":1,"attributes":{},"data":null}"#;
        assert_eq!(
            event_of(stored).unwrap(),
            r#"{"id":"evt_1","type":"a","timestamp":"T","data":null,"attributes":{}}"#
        );
    }

    #[test]
    fn what_tools_write_is_no_change() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let file = folder.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        write("src/lib.rs", "a");
        let before = sources(folder.path());
        ["target/x", "plugin.wasm", "Cargo.lock", "node_modules/y/z"].iter().for_each(|name| write(name, "x"));
        assert_eq!(sources(folder.path()), before);
        write("src/lib.rs", "ab");
        assert_ne!(sources(folder.path()), before);
    }
}
