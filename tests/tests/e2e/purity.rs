//! A plugin is a function of its event and its config: it can't see the time, a random number, the machine, another
//! event, another tenant or a secret. Guests in four languages look for all of that, each thing in a call of its own.
//!
//! What they find must be the same at any time, in any gateway, for any event, or they must be refused every time. The
//! guests are in `tests/guests`; those in WebAssembly itself look at what a compiler would hide: memory, tables, globals
//! and the bits of numbers that are none.

use std::time::{Duration, Instant};

use hookmill_tests::{Gateway, Guest, Receiver, Setup, Tenant, eventually};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::languages::built;

const LANGUAGES: [&str; 3] = ["rust", "js", "python"];

/// Everything that a guest looks for in its own language. What it makes of `memory` and `secret` is looked at by itself.
fn questions(language: &str) -> &'static [&'static str] {
    match language {
        "rust" => &[
            "time",
            "timer",
            "a sleep",
            "random",
            "a map",
            "a set",
            "address",
            "environment",
            "variables",
            "arguments",
            "process",
            "files",
            "folders",
            "network",
            "thread",
            "cores",
            "memory",
        ],
        "js" => &[
            "time",
            "date",
            "zone",
            "timer",
            "a wait",
            "begun",
            "random",
            "crypto",
            "uuid",
            "sorting",
            "environment",
            "arguments",
            "globals",
            "module",
            "files",
            "folders",
            "network",
            "stack",
            "memory",
        ],
        _ => &[
            "time",
            "nanoseconds",
            "timer",
            "counter",
            "processor",
            "date",
            "zone",
            "a wait",
            "a sleep",
            "begun",
            "random",
            "a seed",
            "the system's random",
            "entropy",
            "uuid 1",
            "uuid 4",
            "hash",
            "a set",
            "address",
            "environment",
            "arguments",
            "process",
            "files",
            "folders",
            "a temporary file",
            "thread",
            "memory",
        ],
    }
}

/// A gateway whose operator has put up the guests in all three languages. One starts at a time: the first compiles
/// Python, which takes ten seconds, for all.
async fn nosy(setup: Setup) -> Gateway {
    static STARTING: Mutex<()> = Mutex::const_new(());
    let _one = STARTING.lock().await;
    let folder = built().await;
    let files: Vec<_> = LANGUAGES.iter().map(|language| folder.join(format!("nosy-{language}.wasm"))).collect();
    setup.env("HOOKMILL_PLUGINS__FILES", json!(files).to_string()).start().await
}

/// What a guest in Rust makes of where its event lies.
const SEEDED: [&str; 4] = ["random", "a map", "a set", "address"];

/// Everything that a run comes to but for what it cost.
async fn run(tenant: &Tenant, plugin: &str, event: &Value, config: Value) -> Value {
    let body = json!({"event": event, "config": config});
    let mut ran = tenant.api.post(&format!("/v1/plugins/{plugin}/run"), body).await.json(200);
    ran.as_object_mut().expect("a run is an object").remove("cpu_us").expect("it says what it cost");
    ran
}

/// What was found, or how it was refused.
fn found(ran: &Value) -> &Value {
    if ran["fault"].is_null() { &ran["output"]["keep"]["data"] } else { &ran["fault"] }
}

/// Asked again, a second later, over another event, for another tenant, by another process: it is always the same.
#[tokio::test]
async fn the_same_at_any_time_and_place() {
    let (here, there) = tokio::join!(nosy(Setup::new()), nosy(Setup::new()));
    let (one, other, elsewhere) = (here.tenant("one").await, here.tenant("other").await, there.tenant("third").await);
    let event = json!({"id": "evt_1", "type": "a", "data": {"n": 1}});
    let another = json!({
        "id": "evt_2", "type": "b.c", "source": "shop", "timestamp": "2026-05-06T07:08:09Z", "data": [["x"], 2.50],
        "attributes": {"traceparent": "00-1"},
    });
    let began = Instant::now();
    let mut first = Vec::new();
    for language in LANGUAGES {
        for question in questions(language) {
            let plugin = format!("nosy-{language}");
            let ran = run(&one, &plugin, &event, json!({"ask": question})).await;
            println!("{language}, {question}: {}", found(&ran));
            first.push((plugin, question, ran));
        }
    }
    eventually("some seconds have passed", async || (began.elapsed() > Duration::from_millis(2_100)).then_some(()))
        .await;
    for (plugin, question, ran) in first {
        let ask = json!({"ask": question});
        assert_eq!(run(&one, &plugin, &event, ask.clone()).await, ran, "{plugin}, {question}: again");
        assert_eq!(run(&other, &plugin, &event, ask.clone()).await, ran, "{plugin}, {question}: another tenant");
        assert_eq!(run(&elsewhere, &plugin, &event, ask.clone()).await, ran, "{plugin}, {question}: another process");
        let over_another = run(&one, &plugin, &another, ask).await;
        match *question {
            "memory" => assert!(
                !over_another.to_string().contains("evt_1") && found(&ran).to_string().contains("evt_1"),
                "{plugin} sees another event: {over_another}"
            ),
            // Without an operating system Rust makes its seeds of addresses: another event lies at others.
            _ if plugin == "nosy-rust" && SEEDED.contains(question) => {}
            _ => assert_eq!(found(&over_another), found(&ran), "{plugin}, {question}: another event"),
        }
        nothing_of_this_machine(&plugin, &ran);
    }
}

/// Nothing of the machine's files, names and variables is in what was found.
fn nothing_of_this_machine(plugin: &str, ran: &Value) {
    let told = found(ran).to_string();
    let path = std::env::var("PATH").expect("a test has a path");
    for secret in ["root:", "/bin/sh", &path, "HOOKMILL_", hookmill_tests::OPERATOR_KEY] {
        assert!(!told.contains(secret), "{plugin} found {secret:?}: {told}");
    }
}

/// What a subscription's endpoint got, of each event: those that the plugin remembered.
async fn remembered(endpoint: &Receiver, path: &str, count: usize) -> Vec<String> {
    endpoint.wait(path, count).await.iter().map(|sent| sent.json()["answer"].to_string()).collect()
}

/// Subscriptions of this tenant to what it posts, one for each language and name.
async fn remembering(tenant: &Tenant, endpoint: &Receiver, names: &[&str], kept: bool) {
    for name in names {
        for language in LANGUAGES {
            let transforms = json!([{"plugin": format!("nosy-{language}"), "config": {"ask": "memory"}}]);
            let wanted = json!({
                "url": endpoint.url(&format!("/{name}/{language}")), "events": [name], "envelope": "none",
                "transforms": transforms, "reuse_instances": kept,
            });
            tenant.subscribe(wanted).await;
        }
    }
}

/// Posts an event with an id of one's own, and waits until all three plugins have had it.
async fn post(tenant: &Tenant, endpoint: &Receiver, name: &str, number: usize) {
    let event = json!({"id": format!("{name}-{number}"), "type": name, "data": {}});
    tenant.api.post("/v1/events", event).await.is(202);
    for language in LANGUAGES {
        endpoint.wait(&format!("/{name}/{language}"), number).await;
    }
}

/// In a gateway as it comes, a plugin remembers nothing: each event is its first.
#[tokio::test]
async fn no_other_event() {
    let gateway = nosy(Setup::new()).await;
    let (tenant, endpoint) = (gateway.tenant("acme").await, Receiver::start().await);
    remembering(&tenant, &endpoint, &["alone"], false).await;
    for number in 1..=3 {
        post(&tenant, &endpoint, "alone", number).await;
    }
    for language in LANGUAGES {
        let seen = remembered(&endpoint, &format!("/alone/{language}"), 3).await;
        for (number, seen) in (1..).zip(seen) {
            assert_eq!(seen.matches("alone-").count(), 1, "{language}: {seen}");
            assert!(seen.contains(&format!("alone-{number}")), "{language}: {seen}");
        }
    }
}

/// Where a tenant has instances kept, what is slow to start may remember events of its own subscription, and no others: not
/// of the same tenant, not of another.
#[tokio::test]
async fn no_other_subscription_and_no_other_tenant() {
    let gateway = nosy(Setup::new().env("HOOKMILL_PLUGINS__REUSE_PER_TENANT", "16")).await;
    let endpoint = Receiver::start().await;
    let (ours, theirs) = (gateway.tenant("ours").await, gateway.tenant("theirs").await);
    remembering(&ours, &endpoint, &["first", "second"], true).await;
    remembering(&theirs, &endpoint, &["third"], true).await;
    for number in 1..=4 {
        for (tenant, name) in [(&ours, "first"), (&theirs, "third"), (&ours, "second")] {
            post(tenant, &endpoint, name, number).await;
        }
    }
    let mut most = 0;
    for name in ["first", "second", "third"] {
        for language in LANGUAGES {
            for seen in remembered(&endpoint, &format!("/{name}/{language}"), 4).await {
                for other in ["first", "second", "third"].iter().filter(|other| **other != name) {
                    assert!(!seen.contains(other), "{name} in {language} sees {other}: {seen}");
                }
                let events = seen.matches(&format!("{name}-")).count();
                assert!(events == 1 || language == "python", "{language} is never kept: {seen}");
                most = most.max(events);
            }
        }
    }
    assert!(most > 1, "an instance was kept, so that there was something to see");
    let tried =
        run(&ours, "nosy-python", &json!({"id": "tried", "type": "a", "data": 1}), json!({"ask": "memory"})).await;
    assert_eq!(found(&tried)["answer"], json!(["tried"]), "a trial has an instance of its own");

    // A candidate's instances are kept as those of what it stands beside, or their times could not be compared.
    let memory = |language: &str| json!({"plugin": format!("nosy-{language}"), "config": {"ask": "memory"}});
    let mut step = memory("js");
    step["candidate"] = memory("python");
    step["candidate"]["shadow"] = json!(true);
    let wanted = json!({"url": endpoint.url("/beside"), "events": ["beside"], "envelope": "none", "transforms": [step],
            "reuse_instances": true});
    let made = ours.subscribe(wanted).await;
    let rollout = format!("/v1/subscriptions/{}/rollout", made["id"].as_str().unwrap());
    for number in 1..=3 {
        ours.api
            .post("/v1/events", json!({"id": format!("beside-{number}"), "type": "beside", "data": {}}))
            .await
            .is(202);
        let compared = async || {
            let step = ours.api.get(&rollout).await.json(200)["steps"][0].clone();
            (step["compared"] == number).then_some(step)
        };
        let step = eventually("it has been compared", compared).await;
        let samples = step["samples"].to_string();
        assert_eq!(samples.contains("beside-1"), number > 1, "{step}");
    }
}

/// A plugin that takes its secret apart has taken a placeholder apart: other letters, another length, and of each
/// subscription another.
#[tokio::test]
async fn no_secret() {
    const SECRETS: [&str; 2] = ["zyzzyva-1", "zyzzyva-2-which-is-a-much-longer-one-that-goes-on-and-on"];
    let gateway = nosy(Setup::new()).await;
    let (tenant, endpoint) = (gateway.tenant("acme").await, Receiver::start().await);
    let apart = |letters: &str| letters.chars().map(String::from).collect::<Vec<_>>().join(" ");
    for language in LANGUAGES {
        let plugin = format!("nosy-{language}");
        let mut seen = Vec::new();
        for (number, secret) in SECRETS.iter().enumerate() {
            let path = format!("/{language}/{number}");
            let config = json!({"ask": "secret", "token": secret});
            let wanted = json!({
                "url": endpoint.url(&path), "events": [format!("{language}.{number}")], "envelope": "none",
                "transforms": [{"plugin": plugin, "config": config}],
            });
            let made = tenant.subscribe(wanted).await;
            assert_eq!(made["transforms"][0]["config"], json!({"ask": "secret"}), "{language}: {made}");
            let receipt = tenant.post(&format!("{language}.{number}"), json!({})).await;
            let delivered = tenant.status(&receipt, "delivered").await;
            let sent = endpoint.first(&path).await;
            let log = delivered["attempts"][0]["plugins"][0]["log"].to_string();
            assert!(log.contains("hmsecret"), "{language} logged what it saw: {log}");
            let event = json!({"type": "a", "data": 1});
            let ran = run(&tenant, &plugin, &event, json!({"ask": "secret", "token": secret})).await;
            for told in [sent.text(), &delivered.to_string(), &ran.to_string()] {
                assert!(told.contains(&apart("hmsecret")), "{language} saw a placeholder: {told}");
                for part in ["zyzzyva", &apart("zyzzyva")] {
                    assert!(!told.contains(part), "{language} saw a secret: {told}");
                }
            }
            seen.push(sent.json()["answer"].clone());
        }
        assert_ne!(seen[0], seen[1], "{language}: each subscription has placeholders of its own");
        let length = |answer: &Value| answer.to_string().matches(' ').count();
        assert_eq!(length(&seen[0]), length(&seen[1]), "{language}: a placeholder says nothing of a secret's length");
    }
}

/// A guest that looks through seven mebibytes of memory, a table and a global for what an earlier call has left there,
/// says whether it found any, and leaves something in all three.
fn scavenger(name: &str) -> Vec<u8> {
    let look = "(drop (memory.grow (i32.const 80)))
        (local.set 12 (i32.const 1048576))
        (loop $next
            (local.set 13 (i32.or (local.get 13) (i64.ne (i64.load (local.get 12)) (i64.const 0))))
            (local.set 12 (i32.add (local.get 12) (i32.const 8)))
            (br_if $next (i32.lt_u (local.get 12) (i32.const 8388608))))";
    let all = format!(
        "(local.set 13 (i32.const 0)) {look}
        (local.set 13 (i32.or (local.get 13) (global.get $left)))
        (local.set 13 (i32.or (local.get 13) (i32.eqz (ref.is_null (table.get $t (i32.const 1))))))
        (memory.fill (i32.const 1048576) (i32.const 0x5a) (i32.const 7340032))
        (global.set $left (i32.const 1))
        (table.set $t (i32.const 1) (ref.func $f))
        (i32.store8 (i32.const 65537) (i32.add (i32.const 48) (local.get 13)))"
    );
    let fields = "(table $t 2 funcref) (global $left (mut i32) (i32.const 0)) (func $f) (elem declare func $f)";
    Guest::new(name, "1.0.0").makes("[9]").with(fields).doing(&all).build()
}

/// Two tenants take turns in the only instance there is, and neither finds anything of the other, or of itself.
#[tokio::test]
async fn nothing_is_left_in_an_instance() {
    let gateway = Setup::new().env("HOOKMILL_PLUGINS__INSTANCES", "1").start().await;
    let (ours, theirs) = (gateway.tenant("ours").await, gateway.tenant("theirs").await);
    ours.upload(scavenger("one")).await.is(201);
    theirs.upload(scavenger("other")).await.is(201);
    let event = json!({"type": "a", "data": 1});
    for _ in 0..5 {
        for (tenant, plugin) in [(&ours, "one"), (&ours, "one"), (&theirs, "other")] {
            let ran = run(tenant, plugin, &event, json!({})).await;
            assert_eq!(found(&ran), &json!([0]), "{ran}");
        }
    }
}

/// The bits of a number that is none are a machine's own, and could say which machine it is: they are always the same.
#[tokio::test]
async fn numbers_that_are_none_have_no_bits_of_their_own() {
    let gateway = Gateway::start().await;
    let tenant = gateway.tenant("acme").await;
    // Each is a number that is none, made where the compiler can't foresee it.
    let one = "(f64.convert_i32_u (i32.eqz (i32.load8_u (i32.const 900))))";
    let zero = format!("(f64.sub {one} {one})");
    let marked = format!("(f64.add (f64.reinterpret_i64 (i64.const 0x7ff8000000001234)) {one})");
    let cases = [
        format!("(f64.div {zero} {zero})"),
        format!("(f64.sqrt (f64.neg {one}))"),
        format!("(f64.sub (f64.div {one} {zero}) (f64.div {one} {zero}))"),
        format!("(f64.mul {zero} (f64.div {one} {zero}))"),
        format!("(f64.max {marked} {one})"),
        marked.clone(),
        format!("(f64.promote_f32 (f32.demote_f64 {marked}))"),
    ];
    for (number, case) in cases.iter().enumerate() {
        let differs = format!("(i64.ne (i64.reinterpret_f64 {case}) (i64.const 0x7ff8000000000000))");
        let says = format!("(i32.store8 (i32.const 65537) (i32.add (i32.const 48) {differs}))");
        let name = format!("none-{number}");
        tenant.upload(Guest::new(&name, "1.0.0").makes("[9]").doing(&says).build()).await.is(201);
        let ran = run(&tenant, &name, &json!({"type": "a", "data": 1}), json!({})).await;
        assert_eq!(found(&ran), &json!([0]), "{case}");
    }
}
