//! Calls that end well, and outputs that break the contract.

use super::guests::{ECHO, Guest};
use super::*;
use crate::domain::{
    Fault, LogLine, PluginPayload, PluginRequest, PluginResponse, PluginVerdict, Rendered, RetryScope, Verdicts,
};

/// A request at 256 of method, no URL, headers, a text body and a content type; each text a (place, length).
fn request(method: (u32, u32), headers: (u32, u32)) -> String {
    let words = [
        (256, method.0),
        (260, method.1),
        (276, headers.0),
        (280, headers.1),
        (284, 0),
        (288, 520),
        (292, 5),
        (296, 530),
        (300, 10),
    ];
    let stores: String =
        words.iter().map(|(at, word)| format!("(i32.store (i32.const {at}) (i32.const {word}))")).collect();
    format!("{stores} (call $keep (i32.const 1))")
}

const TEXTS: &str = r#"(data (i32.const 512) "POST\00\00\00\00hello") (data (i32.const 530) "text/plain")
    (data (i32.const 544) "TRACE") (data (i32.const 552) "x-a") (data (i32.const 556) "b\0ac")"#;
const DELIVERED: &str = "(i32.const 640)";

async fn render(guest: Guest) -> Ran<Rendered> {
    let engine = engine();
    let plugin = install(&engine, &guest).await;
    engine.render(&plugin, tenant(1), &[event()], "{}").await
}

fn bad<T: std::fmt::Debug>(result: &Result<T, Fault>, says: &str) {
    let fault = result.as_ref().unwrap_err();
    assert_eq!(fault.kind, FaultKind::BadOutput, "{fault}");
    assert!(fault.message.contains(says), "{fault}");
}

#[tokio::test]
async fn a_transform_gives_back_an_event() {
    let engine = engine();
    for bytes in [Guest::transform(ECHO).module(), Guest::transform(ECHO).component()] {
        let plugin = engine.install(&bytes).await.unwrap();
        assert_eq!(plugin.manifest(), &guests::manifest(crate::domain::Kind::Transform));
        assert_eq!(plugin.size(), bytes.len() as u64);
        let ran = run(&engine, &plugin).await;
        assert_eq!(ran.result, Ok(Decision::Keep(vec![event()])));
        assert_eq!((ran.log, ran.peak_memory), (vec![], 48 << 16));
        assert!(ran.cpu > Duration::ZERO);
    }
}

#[tokio::test]
async fn guests_of_distinct_code_leave_an_event_as_it_is() {
    let engine = engine();
    for number in [0, 999] {
        let plugin = engine.install(&crate::engine::fixtures::distinct(number)).await.unwrap();
        assert_eq!(plugin.manifest().name, format!("distinct-{number}"));
        assert_eq!(run(&engine, &plugin).await.result, Ok(Decision::Keep(vec![event()])));
    }
}

#[tokio::test]
async fn a_transform_drops_reports_and_logs() {
    let engine = engine();
    let drop = "(i32.store8 (i32.const 132) (i32.const 1)) (i32.store (i32.const 136) (i32.const 512))
        (i32.store (i32.const 140) (i32.const 4)) (call $log (i32.const 2) (i32.const 512) (i32.const 3)) (i32.const 128)";
    let plugin = install(&engine, &Guest::transform(drop).with(r#"(data (i32.const 512) "dull")"#)).await;
    let ran = run(&engine, &plugin).await;
    assert_eq!(ran.result, Ok(Decision::Drop("dull".into())));
    assert_eq!(ran.log, [LogLine { level: "warn".into(), message: "dul".into() }]);

    let report = "(i32.store8 (i32.const 128) (i32.const 1)) (i32.store (i32.const 132) (i32.const 512))
        (i32.store (i32.const 136) (i32.const 4)) (i32.store8 (i32.const 140) (i32.const 1)) (i32.const 128)";
    let plugin = install(&engine, &Guest::transform(report).with(r#"(data (i32.const 512) "oops")"#)).await;
    let fault = Fault { kind: FaultKind::Reported, message: "oops".into(), retryable: true };
    assert_eq!(run(&engine, &plugin).await.result, Err(fault));
}

#[tokio::test]
async fn a_connector_renders_and_interprets() {
    let engine = engine();
    let retry = "(i32.store8 (i32.const 648) (i32.const 1)) (i32.store8 (i32.const 656) (i32.const 1))
        (i64.store (i32.const 664) (i64.const 1500)) (i32.store8 (i32.const 672) (i32.const 1)) (i32.const 640)";
    let plugin = install(&engine, &Guest::connector(&request((512, 4), (0, 0)), retry).with(TEXTS)).await;
    assert_eq!(plugin.manifest().hosts, ["slack.com"]);
    let ran = engine.render(&plugin, tenant(1), &[event()], "{}").await;
    let wanted = PluginRequest {
        method: "POST".into(),
        url: None,
        headers: vec![],
        body: PluginPayload::Text("hello".into()),
        content_type: "text/plain".into(),
    };
    assert_eq!(ran.result, Ok(Rendered::Send(vec![wanted])));

    let response = PluginResponse { status: 429, headers: vec![], body: "slow down".into(), truncated: false };
    let verdict = PluginVerdict::Retry { after: Some(Duration::from_millis(1500)), scope: RetryScope::Host };
    let ran = engine.interpret(&plugin, tenant(1), &response, "{}", 1).await;
    assert_eq!(ran.result, Ok(Verdicts::All(verdict)));

    // The wrong function for its kind is our own mistake, not the plugin's.
    let ran = run(&engine, &plugin).await;
    assert_eq!(ran.result.unwrap_err().kind, FaultKind::Engine);
}

#[tokio::test]
async fn one_verdict_for_each_event() {
    let engine = engine();
    let each = "(i32.store8 (i32.const 640) (i32.const 1)) (i32.store (i32.const 648) (i32.const 704))
        (i32.store (i32.const 652) (i32.const 2)) (i32.const 640)";
    let plugin = install(&engine, &Guest::connector(&request((512, 4), (0, 0)), each).with(TEXTS)).await;
    let response = PluginResponse { status: 200, headers: vec![], body: String::new(), truncated: false };
    let two = engine.interpret(&plugin, tenant(1), &response, "{}", 2).await.result;
    assert_eq!(two, Ok(Verdicts::Each(vec![PluginVerdict::Delivered, PluginVerdict::Delivered])));
    bad(&engine.interpret(&plugin, tenant(1), &response, "{}", 3).await.result, "2 verdicts for 3 events");
}

#[tokio::test]
async fn an_instance_remembers_nothing() {
    let engine = engine();
    // The event's source is a letter more each time, both in a global and in memory: B, if nothing was kept.
    let count = format!(
        "(global.set $seen (i32.add (global.get $seen) (i32.const 1)))
         (i32.store8 (i32.const 512) (i32.add (i32.load8_u (i32.const 512)) (global.get $seen)))
         (local.set 4 (i32.const 512)) (local.set 5 (i32.const 1)) {ECHO}"
    );
    let fields = r#"(global $seen (mut i32) (i32.const 0)) (data (i32.const 512) "A")"#;
    let plugin = install(&engine, &Guest::transform(&count).with(fields)).await;
    for _ in 0..10 {
        let wanted = PluginEvent { source: "B".into(), ..event() };
        assert_eq!(run(&engine, &plugin).await.result, Ok(Decision::Keep(vec![wanted])));
    }
}

#[tokio::test]
async fn what_breaks_the_contract_is_a_fault() {
    // Text at 512 takes the place of a field of the event.
    let replace = |field: u32, length: u32| {
        format!("(local.set {} (i32.const 512)) (local.set {} (i32.const {length})) {ECHO}", field * 2, field * 2 + 1)
    };
    let count = |count: u32| format!("{ECHO} drop (call $keep (i32.const {count}))");
    let twice = "(call $echo (i32.const 304) (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4)
        (local.get 5) (local.get 6) (local.get 7) (local.get 8) (local.get 9) (local.get 10) (local.get 11))";
    let cases = [
        (replace(0, 3), "changed the event's id"),
        (replace(1, 3), "type is not one"),
        (replace(1, 0), "type is not one"),
        (
            format!(
                "(i64.store (i32.const 512) (i64.const 0x6c6c696d6b6f6f68)) (i32.store (i32.const 520) (i32.const 0x2e)) {}",
                replace(1, 9)
            ),
            "the gateway's own",
        ),
        (replace(3, 3), "timestamp"),
        (replace(4, 3), "not JSON"),
        (
            format!(
                "(memory.fill (i32.const 4096) (i32.const 91) (i32.const 129))
                 (memory.fill (i32.const 4225) (i32.const 93) (i32.const 129))
                 (local.set 8 (i32.const 4096)) (local.set 9 (i32.const 258)) {ECHO}"
            ),
            "deeper than 128 levels",
        ),
        (format!("{twice} {}", count(2)), "2 events"),
        (count(0), "0 events"),
        ("(i32.const -4)".into(), "can't be read"),
        (format!("(local.set 8 (i32.const -8)) {ECHO}"), "can't be read"),
        (format!("(i32.store8 (i32.const 512) (i32.const 255)) {}", replace(2, 1)), "can't be read"),
        ("(call $log (i32.const 9) (i32.const 0) (i32.const 0)) (i32.const 0)".into(), "what it logged can't be read"),
    ];
    let engine = engine();
    for (body, says) in cases {
        let guest = Guest::transform(&body).with(r#"(data (i32.const 512) "{] ")"#);
        bad(&check(&engine, &guest, FaultKind::BadOutput).await.result, says);
    }
}

#[tokio::test]
async fn a_request_that_breaks_the_contract_is_a_fault() {
    let header = |place: u32, length: u32| {
        let words = [(700, 552), (704, 3), (708, place), (712, length)];
        words.map(|(at, word)| format!("(i32.store (i32.const {at}) (i32.const {word}))")).concat()
    };
    let cases = [
        (request((544, 5), (0, 0)), "\"TRACE\"; it must be one of GET"),
        (request((512, 4), (2048, 65)), "65 headers"),
        (format!("{} {}", header(556, 3), request((512, 4), (700, 1))), "x-a has a control character"),
        (
            format!("{} (i32.store (i32.const 700) (i32.const 556)) {}", header(512, 4), request((512, 4), (700, 1))),
            "not one",
        ),
        (request((512, 4), (0, 0)).replace("(i32.const 530)", "(i32.const 556)"), "content type"),
        ("(call $keep (i32.const 0))".into(), "0 requests"),
    ];
    for (body, says) in cases {
        let ran = render(Guest::connector(&body, DELIVERED).with(TEXTS)).await;
        bad(&ran.result, says);
    }
}

#[tokio::test]
async fn an_unchanged_event_goes_through_whatever_it_holds() {
    let engine = engine();
    let plugin = install(&engine, &Guest::transform(ECHO)).await;
    let odd = PluginEvent { timestamp: "?".into(), attributes: vec![], source: "ü\0".into(), ..event() };
    let ran = engine.transform(&plugin, tenant(1), &odd, "").await;
    assert_eq!(ran.result, Ok(Decision::Keep(vec![odd])));
}
