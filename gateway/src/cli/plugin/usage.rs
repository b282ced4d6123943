//! `hookmill plugin usage`: what plugins have used on a gateway.

use clap::Args;
use serde_json::Value;

use crate::cli::patience::Patience;
use crate::cli::remote::{Reach, table, text};
use crate::cli::{block_on, print};

#[derive(Args, Debug)]
pub(super) struct Usage {
    #[command(flatten)]
    reach: Reach,
}

impl Usage {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let remote = self.reach.remote()?;
        let answer = block_on(async {
            let _patience = Patience::spin("asking the gateway");
            remote.get("/v1/usage").await
        })?;
        if self.reach.json {
            print(&answer.text);
            return Ok(());
        }
        let usage = answer.json();
        let rows = rows(&usage);
        match rows.is_empty() {
            true => print("no plugin has been called since the gateway started"),
            false => print(&table(["PLUGIN", "CALLS", "FAULTS", "TIME", "FOR ONE", "AT MOST", "MEMORY"], &rows)),
        }
        match text(&usage, "cpu_per_minute") {
            "" => print("they may use as much processor time as there is"),
            most => print(&format!("together they may use {most} of processor time a minute")),
        }
        Ok(())
    }
}

fn rows(usage: &Value) -> Vec<[String; 7]> {
    let row = |one: &Value| {
        let number = |field: &str| one.get(field).and_then(Value::as_u64).unwrap_or(0);
        let time = |field: &str| format!("{} µs", number(field));
        let faults = one.get("faults").and_then(Value::as_object).into_iter().flatten();
        let faults: Vec<String> = faults.map(|(kind, count)| format!("{count} {kind}")).collect();
        [
            text(one, "plugin").to_owned(),
            number("calls").to_string(),
            if faults.is_empty() { "none".to_owned() } else { faults.join(", ") },
            time("cpu_us"),
            time("cpu_us_average"),
            time("cpu_us_most"),
            format!("{} KiB", number("peak_memory_bytes") / 1024),
        ]
    };
    usage.get("plugins").and_then(Value::as_array).into_iter().flatten().map(row).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_row_for_each() {
        let usage = json!({ "cpu_per_minute": "20s", "plugins": [
            { "plugin": "a@1.0.0", "digest": "sha256:00", "calls": 2, "faults": {}, "cpu_us": 50, "cpu_us_average": 25,
              "cpu_us_most": 40, "peak_memory_bytes": 2048 },
            { "plugin": "b@1.0.0", "digest": "sha256:01", "calls": 3, "faults": { "time": 2, "trap": 1 }, "cpu_us": 9,
              "cpu_us_average": 3, "cpu_us_most": 4, "peak_memory_bytes": 1023 },
        ]});
        let wanted = [
            ["a@1.0.0", "2", "none", "50 µs", "25 µs", "40 µs", "2 KiB"],
            ["b@1.0.0", "3", "2 time, 1 trap", "9 µs", "3 µs", "4 µs", "0 KiB"],
        ];
        assert_eq!(rows(&usage), wanted.map(|row| row.map(str::to_owned)));
        assert!(rows(&json!({ "plugins": [] })).is_empty());
    }
}
