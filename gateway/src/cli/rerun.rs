//! `hookmill deliveries run`: a past delivery made again by another version of a plugin, beside what was sent.

use anyhow::{Context, bail};
use clap::Args;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::deliveries::{log_lines, request_lines};
use super::patch::{Operation, patch_lines};
use super::print;
use super::remote::{Remote, missing_delivery, plain, segment};

#[derive(Args, Debug)]
pub(super) struct Rerun {
    /// Its id (dlv_…)
    id: String,
    /// What takes the place of the version that ran then
    #[arg(long, value_name = "PLUGIN[@VERSION]")]
    plugin: String,
    /// The config, in place of the one that there was
    #[arg(long, value_name = "JSON")]
    config: Option<String>,
}

/// What the gateway tells.
#[derive(Debug, Deserialize)]
struct Made {
    plugin: String,
    steps: Vec<Step>,
    /// What would be sent.
    request: Option<Value>,
    /// Why nothing would be.
    problem: Option<String>,
    /// What was sent.
    sent: Option<IgnoredAny>,
    same: Option<bool>,
    patch: Vec<Operation>,
    truncated: bool,
}

/// One plugin's part. What it made may be nested deeper than anything here reads.
#[derive(Debug, Deserialize)]
struct Step {
    plugin: String,
    cpu_us: u64,
    log: Value,
    fault: Option<String>,
}

impl Rerun {
    pub(super) async fn run(&self, remote: &Remote, json: bool) -> anyhow::Result<()> {
        let path = format!("/v1/deliveries/{}/run", segment(&self.id));
        let answer = match remote.post(&path, self.body()?).await {
            Ok(answer) => answer,
            Err(error) => return Err(missing_delivery(remote, &self.id, error).await),
        };
        let made: Made =
            serde_json::from_str(&answer.text).context("the gateway answered with something that is no delivery")?;
        if json {
            print(&answer.text);
        } else {
            made.lines(&self.id).iter().for_each(|line| print(&plain(line)));
        }
        match made.steps.iter().find(|step| step.fault.is_some()) {
            Some(step) => bail!("{} faulted", step.plugin),
            None => Ok(()),
        }
    }

    fn body(&self) -> anyhow::Result<String> {
        let config = match &self.config {
            Some(text) => {
                let config: &RawValue = serde_json::from_str(text).context("--config is not JSON")?;
                format!(",\"config\":{}", config.get())
            }
            None => String::new(),
        };
        Ok(format!("{{\"plugin\":{}{config}}}", Value::from(self.plugin.as_str())))
    }
}

impl Made {
    fn lines(&self, id: &str) -> Vec<String> {
        let mut lines = vec![format!("{id} made again by {}; nothing is sent", self.plugin)];
        for Step { plugin, cpu_us, log, .. } in &self.steps {
            lines.push(format!("  {plugin} ran for {cpu_us} µs"));
            lines.extend(log_lines(&json!({ "log": log })));
        }
        lines.extend(self.request.iter().flat_map(request_lines));
        lines.extend(self.problem.iter().map(|problem| format!("  nothing would be sent: {problem}")));
        let beside = match (self.request.is_some(), self.sent.is_some()) {
            (true, true) if self.same == Some(true) => "the same as what was sent",
            (true, true) => "otherwise than what was sent:",
            (true, false) => "nothing was sent then",
            (false, true) => "something was sent then",
            (false, false) => "nor was anything sent then",
        };
        lines.push(format!("  {beside}"));
        if beside.ends_with(':') {
            lines.extend(patch_lines(&self.patch, self.truncated));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_stays_as_it_is_written() {
        let asked = |config: Option<&str>| {
            let (id, plugin) = ("dlv_1".to_owned(), "a@1.0.0".to_owned());
            Rerun { id, plugin, config: config.map(str::to_owned) }.body()
        };
        assert_eq!(asked(None).unwrap(), r#"{"plugin":"a@1.0.0"}"#);
        assert_eq!(asked(Some(r#" {"n": 1.0}"#)).unwrap(), r#"{"plugin":"a@1.0.0","config":{"n": 1.0}}"#);
        assert!(asked(Some("{")).is_err());
    }

    #[test]
    fn what_is_made_in_words() {
        let request = json!({"method": "POST", "url": "http://x/", "headers": {"a": "b"}, "body": "{}"});
        let step = json!({"plugin": "a@1.1.0", "digest": "sha256:00", "output": {"n": 2}, "fault": null, "cpu_us": 12,
            "log": [{"level": "info", "message": "hi"}]});
        let patch = json!([{"op": "replace", "path": "/body/n", "value": 2}]);
        let head = ["dlv_1 made again by a@1.1.0; nothing is sent", "  a@1.1.0 ran for 12 µs", "    info: hi"];
        let would = ["  > POST http://x/", "  > a: b", "  >", "  > {}"];
        let null = Value::Null;
        for (of, problem, sent, same, rest) in [
            (&request, &null, &request, json!(true), vec!["  the same as what was sent"]),
            (
                &request,
                &null,
                &request,
                json!(false),
                vec!["  otherwise than what was sent:", "    replace /body/n: 2"],
            ),
            (&request, &null, &null, json!(null), vec!["  nothing was sent then"]),
            (
                &null,
                &json!("too small"),
                &request,
                json!(false),
                vec!["  nothing would be sent: too small", "  something was sent then"],
            ),
            (
                &null,
                &json!("too small"),
                &null,
                json!(true),
                vec!["  nothing would be sent: too small", "  nor was anything sent then"],
            ),
        ] {
            let made = json!({"plugin": "a@1.1.0", "digest": "sha256:00", "steps": [step], "request": of,
                "problem": problem, "sent": sent, "same": same, "patch": patch, "truncated": false, "cpu_us": 12});
            let made: Made = serde_json::from_str(&made.to_string()).unwrap();
            let shown = if of.is_null() { &would[..0] } else { &would[..] };
            assert_eq!(made.lines("dlv_1"), [&head[..], shown, &rest[..]].concat());
        }
    }
}
