//! The bench, in its quick forms: that it runs and that nothing is lost. How fast anything is, no test says.

use hookmill_tests::binary;
use serde_json::Value;
use tokio::process::Command;

/// Runs it; gives its figures.
async fn figures(arguments: &[&str]) -> Value {
    let output = Command::new(binary()).arg("bench").args(arguments).arg("--json").output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {said}"))
}

#[tokio::test]
async fn a_load_is_delivered() {
    let found = figures(&["--events", "500", "--warmup", "100ms", "--connections", "8"]).await;
    assert!(found["acknowledged"].as_u64() >= Some(500), "{found}");
    assert_eq!(found["lost"], 0, "{found}");
}

#[tokio::test]
async fn a_queue_that_was_left_is_delivered() {
    let found = figures(&["--pending", "2000"]).await;
    assert_eq!((&found["delivered"], &found["lost"]), (&Value::from(2000), &Value::from(0)), "{found}");
}

#[tokio::test]
async fn an_attack_costs_nobody_an_event() {
    let found = figures(&["--against", "throttle", "--duration", "1s", "--rate", "100"]).await;
    let endured = &found["attacks"][0];
    assert_eq!(endured["lost"], 0, "{found}");
    assert!(!endured["faults"].as_object().unwrap().is_empty(), "every fault has a name: {found}");
}

#[tokio::test]
async fn an_attack_by_plugins_costs_nobody_an_event() {
    let found = figures(&["--against", "plugins", "--duration", "2s", "--rate", "100"]).await;
    let endured = &found["attacks"][0];
    assert_eq!(endured["lost"], 0, "{found}");
    let faults = endured["faults"].as_object().unwrap();
    for kind in ["trap", "time", "memory", "stack", "log_too_large", "output_too_large"] {
        assert!(faults.contains_key(&format!("plugin_fault ({kind})")), "{kind}: {found}");
    }
    // Whether an upload is answered in so short a time is the machine's to say: `harm` has a row for each.
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
