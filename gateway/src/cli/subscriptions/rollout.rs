//! `hookmill subscriptions rollout`: how what is tried fares beside what is used.

use std::collections::BTreeMap;

use anyhow::Context;
use serde::Deserialize;

use crate::cli::patch::{Operation, patch_lines};
use crate::cli::print;
use crate::cli::remote::{Remote, find_subscription, plain};

/// What the gateway tells.
#[derive(Debug, Deserialize)]
struct Rollout {
    steps: Vec<Tried>,
}

/// A step and its candidate.
#[derive(Debug, Deserialize)]
struct Tried {
    pointer: String,
    /// Which share of the events the candidate gets; none in the shadow.
    percent: Option<u8>,
    since: Option<String>,
    current: Side,
    candidate: Side,
    cpu_ratio: Option<f64>,
    compared: u64,
    agreed: u64,
    differed: u64,
    dropped: u64,
    waiting: u64,
    samples: Vec<Sample>,
}

/// One of the two.
#[derive(Debug, Deserialize)]
struct Side {
    plugin: String,
    calls: u64,
    faults: BTreeMap<String, u64>,
    cpu_us_average: u64,
    cpu_us_most: u64,
    peak_memory_bytes: u64,
}

/// A difference.
#[derive(Debug, Deserialize)]
struct Sample {
    event_id: String,
    delivery_id: String,
    at: String,
    patch: Vec<Operation>,
    truncated: bool,
}

/// Prints how the candidates of a subscription fare.
pub(super) async fn rollout(remote: &Remote, word: &str, json: bool) -> anyhow::Result<()> {
    let id = find_subscription(remote, word).await?;
    let answer = remote.get(&format!("/v1/subscriptions/{id}/rollout")).await?;
    if json {
        print(&answer.text);
        return Ok(());
    }
    let Rollout { steps } =
        serde_json::from_str(&answer.text).context("the gateway answered with something that is no rollout")?;
    match steps.is_empty() {
        true => print(&format!("{id} tries nothing; `hookmill subscriptions use … --shadow` lets it try a version")),
        false => steps.iter().flat_map(Tried::lines).for_each(|line| print(&plain(&line))),
    }
    Ok(())
}

impl Tried {
    fn lines(&self) -> Vec<String> {
        let Self { pointer, current, candidate, .. } = self;
        let how = match self.percent {
            Some(percent) => format!("gets {percent} % of the events of"),
            None => "runs in the shadow of".to_owned(),
        };
        let since = self.since.as_ref().map_or("nothing has run yet".to_owned(), |since| format!("since {since}"));
        let mut lines = vec![format!("{pointer}: {} {how} {}; {since}", candidate.plugin, current.plugin)];
        if self.percent.is_none() {
            lines.push(self.comparisons());
        }
        lines.push(current.line());
        let ratio = self.cpu_ratio.map(|ratio| format!(", {ratio:.2} times the time")).unwrap_or_default();
        lines.push(candidate.line() + &ratio);
        lines.extend(self.samples.iter().flat_map(Sample::lines));
        lines
    }

    fn comparisons(&self) -> String {
        let &Self { compared, agreed, differed, dropped, waiting, .. } = self;
        // Rounded down: where one differs, it is not all of them.
        let share = (agreed * 1000).checked_div(compared);
        let share = share.map(|of| format!(" ({}.{} %)", of / 10, of % 10)).unwrap_or_default();
        let mut line = format!("  {compared} compared: {agreed} the same{share}, {differed} otherwise");
        for (count, what) in [(dropped, "given up"), (waiting, "waiting")] {
            if count > 0 {
                line.push_str(&format!("; {count} {what}"));
            }
        }
        line
    }
}

impl Side {
    fn line(&self) -> String {
        let calls = match self.calls {
            0 => return format!("  {}: no call", self.plugin),
            1 => "1 call".to_owned(),
            many => format!("{many} calls"),
        };
        let kinds: Vec<String> = self.faults.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let faults = if kinds.is_empty() { "no faults".to_owned() } else { format!("faults: {}", kinds.join(", ")) };
        format!(
            "  {}: {calls}, {faults}; {} µs for one, at most {} µs and {} KiB",
            self.plugin,
            self.cpu_us_average,
            self.cpu_us_most,
            self.peak_memory_bytes / 1024
        )
    }
}

impl Sample {
    fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("  {} in {} at {}:", self.event_id, self.delivery_id, self.at)];
        lines.extend(patch_lines(&self.patch, self.truncated));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollout_in_words() {
        let side = |plugin: &str, calls: u64, faults: &str| {
            format!(
                r#"{{"plugin":"{plugin}","digest":"sha256:00","calls":{calls},"faults":{faults},"cpu_us":9,
                    "cpu_us_average":40,"cpu_us_most":80,"peak_memory_bytes":2048}}"#
            )
        };
        let shadow = format!(
            r##"{{"pointer":"#/transforms/0","percent":null,"shadow":true,"since":"T","current":{},"candidate":{},
                "cpu_ratio":1.5,"compared":2001,"agreed":2000,"differed":1,"agreement":0.9995,"dropped":3,"waiting":0,
                "samples":[{{"event_id":"evt_1","delivery_id":"dlv_1","at":"T","truncated":true,"patch":[
                    {{"op":"remove","path":"/event"}},{{"op":"add","path":"/drop","value":1.10}}]}}]}}"##,
            side("a@1.0.0", 1, "{}"),
            side("a@1.1.0", 2001, r#"{"time":2,"trap":1}"#)
        );
        let tried: Tried = serde_json::from_str(&shadow).unwrap();
        let wanted = [
            "#/transforms/0: a@1.1.0 runs in the shadow of a@1.0.0; since T",
            "  2001 compared: 2000 the same (99.9 %), 1 otherwise; 3 given up",
            "  a@1.0.0: 1 call, no faults; 40 µs for one, at most 80 µs and 2 KiB",
            "  a@1.1.0: 2001 calls, faults: 2 time, 1 trap; 40 µs for one, at most 80 µs and 2 KiB, \
             1.50 times the time",
            "  evt_1 in dlv_1 at T:",
            "    remove /event",
            "    add /drop: 1.10",
            "    and more",
        ];
        assert_eq!(tried.lines(), wanted);
        let share = format!(
            r##"{{"pointer":"#/connector","percent":10,"shadow":false,"since":null,"current":{},"candidate":{},
                "cpu_ratio":null,"compared":0,"agreed":0,"differed":0,"agreement":null,"dropped":0,"waiting":0,
                "samples":[]}}"##,
            side("c@1.0.0", 0, "{}"),
            side("c@1.1.0", 0, "{}")
        );
        let tried: Tried = serde_json::from_str(&share).unwrap();
        let wanted = [
            "#/connector: c@1.1.0 gets 10 % of the events of c@1.0.0; nothing has run yet",
            "  c@1.0.0: no call",
            "  c@1.1.0: no call",
        ];
        assert_eq!(tried.lines(), wanted);
    }
}
