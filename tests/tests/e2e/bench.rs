//! The bench, in its quick forms: that it runs, that nothing is lost, and that what goes wrong has a name. How fast
//! anything is, no test says.

use std::process::Output;

use hookmill_tests::binary;
use serde_json::{Map, Value};
use tokio::process::Command;

/// Plugins that are taken, and the fault that each ends in.
const FAULTS: [(&str, &str); 27] = [
    ("looping", "time"),
    ("only-fills", "time"),
    ("loop-in-realloc", "time"),
    ("loop-afterwards", "time"),
    ("loop-in-interpret", "time"),
    ("one-gulp", "memory"),
    ("two-memories", "memory"),
    ("table", "memory"),
    ("recursion", "stack"),
    ("in-turns", "stack"),
    ("deep-realloc", "stack"),
    ("deep-afterwards", "stack"),
    ("a-byte-too-much", "output_too_large"),
    ("hundreds-of-thousands", "output_too_large"),
    ("no-utf-8", "bad_output"),
    ("a-lone-surrogate", "bad_output"),
    ("beyond-the-end", "bad_output"),
    ("traps", "trap"),
    ("traps-in-realloc", "trap"),
    ("traps-afterwards", "trap"),
    ("traps-in-render", "trap"),
    ("traps-in-interpret", "trap"),
    ("logs-in-realloc", "trap"),
    ("logs-afterwards", "trap"),
    ("calls-itself", "trap"),
    ("flood", "log_too_large"),
    ("flood-of-nothing", "log_too_large"),
];

/// Plugins that are refused, and as what.
const REFUSALS: [(&str, &str); 17] = [
    ("wasi", "plugin-imports"),
    ("more-imports", "plugin-imports"),
    ("a-large-memory", "plugin-too-much"),
    ("a-large-table", "plugin-too-much"),
    ("far-apart", "plugin-uncompilable"),
    ("costly", "plugin-describe"),
    ("endless-start", "plugin-describe"),
    ("endless", "plugin-describe"),
    ("bottomless", "plugin-describe"),
    ("talkative", "plugin-describe"),
    ("nowhere", "plugin-describe"),
    ("capitals", "plugin-manifest"),
    ("a-later-contract", "plugin-contract"),
    ("a-bare-module", "plugin-exports"),
    ("a-bare-component", "plugin-exports"),
    ("a-claim", "plugin-unreadable"),
    ("a-million-types", "plugin-unreadable"),
];

async fn bench(arguments: &[&str]) -> Output {
    Command::new(binary()).arg("bench").args(arguments).arg("--json").output().await.unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn figures_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(output)))
}

/// Runs it; gives its figures.
async fn figures(arguments: &[&str]) -> Value {
    let output = bench(arguments).await;
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    figures_of(&output)
}

/// Attacks once, for a second; gives what that came to, by name.
async fn faults(attack: &str) -> Map<String, Value> {
    let load = ["--rate", "100", "--connections", "8"];
    let found = figures(&[&["--against", attack, "--duration", "1s", "--warmup", "200ms"][..], &load].concat()).await;
    let endured = &found["attacks"][0];
    assert_eq!(endured["lost"], 0, "{found}");
    let faults = endured["faults"].as_object().unwrap().clone();
    let unnamed = ["no outcome", "did not come to an end"];
    assert!(!faults.keys().any(|name| unnamed.iter().any(|word| name.contains(word))), "{found}");
    faults
}

/// Whether something came to this, by the beginning of its name.
fn named(faults: &Map<String, Value>, name: &str) -> bool {
    faults.keys().any(|found| found.starts_with(name))
}

#[tokio::test]
async fn a_load_is_delivered() {
    let found = figures(&["--events", "500", "--warmup", "100ms", "--connections", "8"]).await;
    assert!(found["acknowledged"].as_u64() >= Some(500), "{found}");
    assert_eq!(found["lost"], 0, "{found}");
}

#[tokio::test]
async fn a_load_through_a_connector_is_delivered() {
    let found = figures(&["--transform", "slack", "--rate", "540", "--duration", "1s", "--warmup", "200ms"]).await;
    assert!(found["delivered"].as_u64() > Some(0), "{found}");
    assert_eq!(found["lost"], 0, "{found}");
}

#[tokio::test]
async fn half_of_what_can_be_had_is_forwarded_bare() {
    let found = figures(&["--bare", "--rate", "half", "--duration", "1s", "--warmup", "200ms"]).await;
    assert!(found["delivered"].as_u64() > Some(0), "{found}");
    assert_eq!(found["lost"], 0, "{found}");
    assert!(found["load"].as_str().unwrap().contains("events/s (half of the "), "{found}");
}

#[tokio::test]
async fn a_run_that_comes_to_nothing_fails() {
    let output = bench(&["--bare", "--events", "0", "--warmup", "0s"]).await;
    assert!(!output.status.success());
    assert_eq!(said(&output).lines().next_back(), Some("hookmill: nothing was acknowledged"));
    assert_eq!(figures_of(&output)["acknowledged"], 0, "the figures are shown all the same");
}

#[tokio::test]
async fn a_queue_that_was_left_is_delivered() {
    let found = figures(&["--pending", "2000"]).await;
    assert_eq!((&found["delivered"], &found["lost"]), (&Value::from(2000), &Value::from(0)), "{found}");
}

/// Whether so short a run finds everything flat is the machine's to say; if it does not, that is why it fails.
#[tokio::test]
async fn a_soak_is_judged() {
    let output = bench(&["--soak", "6s", "--rate", "200", "--connections", "8"]).await;
    let found = figures_of(&output);
    assert_eq!(found["lost"], 0, "{found}");
    let readings = found["readings"].as_array().unwrap();
    let at: Vec<_> = readings.iter().map(|reading| reading["at_s"].as_u64().unwrap()).collect();
    assert_eq!(at, [2, 4, 6], "{found}");
    for reading in readings {
        assert!(reading["event_to_delivery_ms"]["p99"].as_f64() > Some(0.0), "{found}");
    }
    let verdict = found["verdict"].as_array().unwrap();
    assert_eq!(verdict.len(), 4, "{found}");
    let flat = verdict.iter().all(|verdict| verdict["flat"] == true);
    let last = said(&output).lines().next_back().unwrap_or_default().to_owned();
    assert_eq!(output.status.success(), flat, "{found}: {last}");
    assert!(flat || last.starts_with("hookmill: not everything is flat: "), "{last}");
}

#[tokio::test]
async fn an_attack_costs_nobody_an_event() {
    let faults = faults("throttle").await;
    assert!(named(&faults, "throttled (429)"), "{faults:?}");
}

#[tokio::test]
async fn an_attack_by_silence_and_a_loop_costs_nobody_an_event() {
    let faults = faults("silent").await;
    for name in ["unknown (timeout)", "plugin_fault (time)", "`looping` run: time"] {
        assert!(named(&faults, name), "{name}: {faults:?}");
    }
}

#[tokio::test]
async fn an_attack_by_clients_that_dawdle_costs_nobody_an_event() {
    let faults = faults("loris").await;
    for client in ["silent client", "half a preface", "slow head", "unended body"] {
        assert!(named(&faults, &format!("{client}: let go, ")), "{client}: {faults:?}");
        assert!(!named(&faults, &format!("{client}: never let go")), "{client}: {faults:?}");
    }
}

#[tokio::test]
async fn an_attack_by_ten_thousand_subscriptions_costs_nobody_an_event() {
    let faults = faults("fan-out").await;
    for name in ["posted: 202", "delivered"] {
        assert!(named(&faults, name), "{name}: {faults:?}");
    }
}

#[tokio::test]
async fn an_attack_by_plugins_costs_nobody_an_event() {
    let faults = faults("plugins").await;
    for (name, kind) in FAULTS {
        assert!(named(&faults, &format!("`{name}` run: {kind}")), "{name}: {faults:?}");
    }
    for (name, problem) in REFUSALS {
        assert!(named(&faults, &format!("`{name}` uploaded: {problem}")), "{name}: {faults:?}");
    }
    for kind in ["trap", "time", "memory", "stack", "log_too_large", "output_too_large", "bad_output"] {
        assert!(named(&faults, &format!("plugin_fault ({kind})")), "{kind}: {faults:?}");
    }
}

#[tokio::test]
async fn many_plugins_are_run() {
    let found = figures(&["--plugins", "20"]).await;
    assert_eq!(found["plugins"], 20, "{found}");
    assert!(found["uploaded_bytes"].as_u64() > Some(100_000), "{found}");
    for runs in ["first_ms", "cold_ms", "hot_ms"] {
        assert!(found[runs]["p50"].as_f64() > Some(0.0), "{runs}: {found}");
    }
}
