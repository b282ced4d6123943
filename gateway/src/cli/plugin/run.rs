//! `hookmill plugin run`: what a plugin makes of an event. Here it is asked as on a gateway, and answers the same.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::Args;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{MODULE, is_built};
use crate::cli::deliveries::log_lines;
use crate::cli::events::read;
use crate::cli::golden::{Loaded, run_body};
use crate::cli::patience::Patience;
use crate::cli::remote::{Reach, missing_plugin, plain, segment};
use crate::cli::{block_on, print};

#[derive(Args, Debug)]
pub(super) struct Run {
    /// A file with an event, or with `event` and `config` as golden files have them; `-` is standard input
    event: PathBuf,
    /// The component or core module (.wasm)
    #[arg(long, value_name = "FILE", default_value = MODULE)]
    module: PathBuf,
    /// The config, in place of the file's
    #[arg(long, value_name = "JSON")]
    config: Option<String>,
    /// Run it on the gateway: the profile's, or this one's
    #[arg(long, value_name = "URL", num_args = 0..=1, require_equals = true)]
    server: Option<Option<String>>,
    /// With --server: `name` or `name@version`; the module's own unless given
    #[arg(long, value_name = "PLUGIN", requires = "server")]
    plugin: Option<String>,
    /// With --server: the key
    #[arg(long, value_name = "KEY", requires = "server")]
    key: Option<String>,
    /// With --server: a saved server and key
    #[arg(long, value_name = "NAME", requires = "server")]
    profile: Option<String>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// An event, and with what it is run.
#[derive(Debug)]
struct Case {
    event: Box<RawValue>,
    config: Box<RawValue>,
}

impl Case {
    fn read(text: &str, config: Option<&str>) -> anyhow::Result<Self> {
        let fields: BTreeMap<&str, &RawValue> = serde_json::from_str(text).context("the event is no JSON object")?;
        let (event, own) = match fields.get("event") {
            Some(event) => ((*event).to_owned(), fields.get("config").map(|config| (*config).to_owned())),
            None => (serde_json::from_str(text)?, None),
        };
        let config = match (config, own) {
            (Some(config), _) => serde_json::from_str(config).context("--config is not JSON")?,
            (None, Some(own)) => own,
            (None, None) => RawValue::from_string("{}".to_owned())?,
        };
        Ok(Self { event, config })
    }
}

impl Run {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let case = Case::read(&read(Some(&self.event))?, self.config.as_deref())?;
        let body = run_body(case.event.get(), case.config.get());
        let answer = block_on(async {
            match &self.server {
                None => self.load().await?.run(&body).await,
                Some(server) => self.there(body, server.clone()).await,
            }
        })?;
        self.show(&answer)
    }

    async fn load(&self) -> anyhow::Result<Loaded> {
        is_built(&self.module)?;
        let _patience = Patience::spin("compiling");
        Loaded::read(&self.module).await
    }

    async fn there(&self, body: String, server: Option<String>) -> anyhow::Result<String> {
        let reach = Reach { server, key: self.key.clone(), profile: self.profile.clone(), json: self.json };
        let remote = reach.remote()?;
        let name = match &self.plugin {
            Some(name) => name.clone(),
            None => self.load().await?.manifest().reference(),
        };
        let answer = {
            let _patience = Patience::spin("running on the gateway");
            remote.post(&format!("/v1/plugins/{}/run", segment(&name)), body).await
        };
        match answer {
            Ok(answer) => Ok(answer.text),
            Err(error) => Err(missing_plugin(&remote, &name, error).await),
        }
    }

    fn show(&self, answer: &str) -> anyhow::Result<()> {
        // As the texts that they are: what came stays as it is written, and may be nested as deep as an event may.
        let fields: BTreeMap<&str, &RawValue> = serde_json::from_str(answer)?;
        let faulted = fields.get("fault").is_some_and(|fault| fault.get() != "null");
        if self.json {
            print(answer);
        } else {
            let part = if faulted { "fault" } else { "output" };
            print(&plain(fields.get(part).map_or("null", |came| came.get())));
            let read =
                |field: &str| fields.get(field).and_then(|field| serde_json::from_str::<Value>(field.get()).ok());
            log_lines(&json!({ "log": read("log") })).iter().for_each(|line| print(&plain(line)));
            let number = |field: &str| read(field).and_then(|number| number.as_u64()).unwrap_or(0);
            let plugin = read("plugin").unwrap_or_default();
            let plugin = plugin.as_str().unwrap_or_default();
            print(&format!("{plugin}: {} µs, {} KiB", number("cpu_us"), number("memory_bytes") / 1024));
        }
        ensure!(!faulted, "the plugin faulted");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_or_a_golden_file() {
        for (text, config, wanted) in [
            (r#"{"type":"a","data":1.0}"#, None, (r#"{"type":"a","data":1.0}"#, "{}")),
            (r#"{"type":"a"}"#, Some("{\"b\":1.0}"), (r#"{"type":"a"}"#, "{\"b\":1.0}")),
            (
                r#"{"name":"x","event":{"type":"a"},"config":{"c":2.0},"expect":{}}"#,
                None,
                (r#"{"type":"a"}"#, r#"{"c":2.0}"#),
            ),
            (r#"{"event":{},"config":{"c":2}}"#, Some("{}"), ("{}", "{}")),
        ] {
            let case = Case::read(text, config).unwrap();
            assert_eq!((case.event.get(), case.config.get()), wanted);
        }
        assert!(Case::read("[]", None).is_err());
        assert!(Case::read("{}", Some("{")).is_err());
    }
}
