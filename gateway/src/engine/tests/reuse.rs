//! Instances that are kept: what they may remember, and whose they are.

use std::sync::Arc;

use super::guests::{ECHO, Guest};
use super::{config, event, install, tenant};
use crate::domain::{Decision, Kind, PluginEvent, SubscriptionId};
use crate::engine::{Caller, Engine, EngineConfig, Plugin, Ran, Reuse};

const REUSE: Reuse = Reuse { instances: 4, per_tenant: 4, memory: 64 << 20, calls: 100 };

fn engine(reuse: Reuse) -> Engine {
    Engine::new(EngineConfig { reuse, ..config() }).unwrap()
}

/// What makes a guest count as slow to start.
const SLOW: &str = "(memory 64) (table 2000 funcref)";

/// A transform that counts its calls, logs a line of so many characters, and does `then`.
fn counting(then: &str) -> Guest {
    let body = format!(
        "(global.set $calls (i32.add (global.get $calls) (i32.const 1)))
        (call $log (i32.const 1) (i32.const 0) (global.get $calls)) {then} {ECHO}"
    );
    Guest::transform(&body).with("(global $calls (mut i32) (i32.const 0))")
}

fn caller(of: u8, subscription: u8) -> Caller {
    Caller { tenant: tenant(of), subscription: Some(SubscriptionId::from_bytes([subscription; 16])), reuses: true }
}

/// How many calls the instance has had, this one included.
async fn calls(engine: &Engine, plugin: &Arc<Plugin>, caller: impl Into<Caller>, config: &str) -> usize {
    let ran: Ran<Decision> = engine.transform(plugin, caller, &event(), config).await;
    assert_eq!(ran.result, Ok(Decision::Keep(vec![event()])));
    ran.log[0].message.len()
}

#[tokio::test]
async fn an_instance_is_kept_for_one_subscription_and_config() {
    let engine = engine(REUSE);
    let plugin = install(&engine, &counting("").with(SLOW)).await;
    for (of, subscription, config, expected) in [
        (1, 1, "{}", 1),
        (1, 1, "{}", 2),
        (1, 2, "{}", 1),
        (2, 1, "{}", 1),
        (1, 1, r#"{"other":1}"#, 1),
        (1, 1, "{}", 3),
        (2, 1, "{}", 2),
    ] {
        let calls = calls(&engine, &plugin, caller(of, subscription), config).await;
        assert_eq!(calls, expected, "tenant {of}, subscription {subscription}, {config}");
    }
    assert_eq!(calls(&engine, &plugin, tenant(1), "{}").await, 1, "a preview has a fresh one");
    let other = install(&engine, &counting("nop").with(SLOW)).await;
    assert_eq!(calls(&engine, &other, caller(1, 1), "{}").await, 1, "and so has another plugin");
}

#[tokio::test]
async fn nothing_sees_another_event_unless_its_tenant_and_the_operator_let_it() {
    let quick = counting("");
    let slow = counting("").with(SLOW);
    let reusing = caller(1, 1);
    for (reuse, guest, caller, what) in [
        (Reuse::NONE, &slow, reusing, "switched off"),
        (REUSE, &quick, reusing, "quick to start"),
        (REUSE, &slow, Caller { reuses: false, ..reusing }, "not wanted"),
    ] {
        let engine = engine(reuse);
        let plugin = install(&engine, guest).await;
        for _ in 0..3 {
            assert_eq!(calls(&engine, &plugin, caller, "{}").await, 1, "{what}");
        }
    }
    // Each half of what makes a guest slow to start is not enough.
    for half in ["(memory 64)", "(table 2000 funcref)"] {
        let engine = engine(REUSE);
        let plugin = install(&engine, &counting("").with(half)).await;
        calls(&engine, &plugin, caller(1, 1), "{}").await;
        assert_eq!(calls(&engine, &plugin, caller(1, 1), "{}").await, 1, "{half}");
    }
}

/// A guest that breaks on its third call: what it went through is no event's fault.
#[tokio::test]
async fn a_fault_of_a_kept_instance_is_not_believed() {
    let engine = engine(REUSE);
    let third = "(if (i32.eq (global.get $calls) (i32.const 3)) (then unreachable))";
    let plugin = install(&engine, &counting(third).with(SLOW)).await;
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push(calls(&engine, &plugin, caller(1, 1), "{}").await);
    }
    assert_eq!(seen, [1, 2, 1, 2, 1]);
    let always = install(&engine, &counting("unreachable").with(SLOW)).await;
    for _ in 0..2 {
        let ran = engine.transform(&always, caller(1, 1), &event(), "{}").await;
        assert_eq!(ran.log[0].message.len(), 1, "a fresh one that faults is not kept");
        assert!(ran.result.is_err());
    }
}

#[tokio::test]
async fn an_instance_is_dropped_after_so_many_calls() {
    let engine = engine(Reuse { calls: 2, ..REUSE });
    let plugin = install(&engine, &counting("").with(SLOW)).await;
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push(calls(&engine, &plugin, caller(1, 1), "{}").await);
    }
    assert_eq!(seen, [1, 2, 1, 2, 1]);
}

/// Each call has the whole of its log, though the instance has used some before.
#[tokio::test]
async fn limits_are_a_calls_own() {
    let engine = engine(REUSE);
    let plugin =
        install(&engine, &counting("(call $log (i32.const 1) (i32.const 2000000) (i32.const 10000))").with(SLOW)).await;
    for expected in 1..=3 {
        assert_eq!(calls(&engine, &plugin, caller(1, 1), "{}").await, expected);
    }
}

/// As many at once as there are places and more: those that find none start fresh, and all end well.
#[tokio::test(flavor = "multi_thread")]
async fn more_at_once_than_places() {
    let engine = engine(Reuse { instances: 2, per_tenant: 1, ..REUSE });
    let plugin = install(&engine, &counting("").with(SLOW)).await;
    let work: Vec<_> = (0..60_u8)
        .map(|number| {
            let (engine, plugin) = (engine.clone(), plugin.clone());
            tokio::spawn(async move { calls(&engine, &plugin, caller(number % 3, number % 5), "{}").await })
        })
        .collect();
    for call in work {
        assert!(call.await.unwrap() >= 1);
    }
}

/// What comes with the gateway is kept without anybody's word.
#[tokio::test]
async fn our_own_are_kept() {
    let engine = engine(Reuse::NONE);
    let plugin = engine.install_own(&counting("").module()).await.unwrap();
    for (of, subscription, expected) in [(1, 1, 1), (1, 1, 2), (1, 2, 1), (2, 1, 1), (1, 1, 3)] {
        let caller = Caller { reuses: false, ..caller(of, subscription) };
        assert_eq!(calls(&engine, &plugin, caller, "{}").await, expected);
    }
}

/// A kept preset gives what a fresh one gives, whatever it was given before, and takes no more memory with time.
#[tokio::test]
async fn a_preset_remembers_nothing() {
    const CALLS: usize = 300;
    let engine = engine(Reuse::NONE);
    let long = format!(r#"{{"name":"{}","total":1}}"#, "x".repeat(20_000));
    let data = [r#"{"name":"Ada","total":2}"#, "7", &long, r#"{"total":[1,{"name":null}]}"#];
    let events = data.map(|data| PluginEvent { data: data.to_owned(), ..event() });
    let text = "{% for n in [1, 2] %}{{ data.name }}{% endfor %} {{ data.total }}";
    let body = r#"{"name":"{{ data.name }}","total":{{ data.total | json }}}"#;
    for (name, config) in [
        ("slack", serde_json::json!({ "text": text })),
        ("http", serde_json::json!({ "url": "https://example.com/a", "body": body })),
        ("zapier", serde_json::json!({})),
        ("google-sheets", {
            let columns = [serde_json::json!({ "header": "a", "value": text })];
            serde_json::json!({ "spreadsheet_id": "1", "range": "A!A:F", "service_account": "s", "columns": columns })
        }),
        ("redact", serde_json::json!({ "paths": ["$.data.name"] })),
        ("fields", serde_json::json!({ "drop": ["$..total"] })),
    ] {
        let file = format!("{}/../plugins/dist/{name}.wasm", env!("CARGO_MANIFEST_DIR"));
        let plugin = engine.install_own(&std::fs::read(file).unwrap()).await.unwrap();
        let config = config.to_string();
        let mut most = 0;
        for call in 0..CALLS {
            let event = &events[call % events.len()];
            let [fresh, kept] = [tenant(1).into(), caller(1, 1)].map(async |by: Caller| {
                if plugin.manifest().kind == Kind::Transform {
                    let ran = engine.transform(&plugin, by, event, &config).await;
                    (ran.result.map(|made| format!("{made:?}")), ran.log, ran.peak_memory)
                } else {
                    let ran = engine.render(&plugin, by, std::slice::from_ref(event), &config).await;
                    (ran.result.map(|made| format!("{made:?}")), ran.log, ran.peak_memory)
                }
            });
            let (fresh, kept) = (fresh.await, kept.await);
            assert_eq!((&fresh.0, &fresh.1), (&kept.0, &kept.1), "{name}, call {call}");
            assert!(fresh.0.is_ok() || call % events.len() > 0, "{name}: {fresh:?}");
            most = most.max(fresh.2);
            assert!(kept.2 <= most, "{name}, call {call}: {} bytes, where a fresh one has {most}", kept.2);
        }
    }
}
