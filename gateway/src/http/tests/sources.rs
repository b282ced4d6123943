//! What sources refuse, and what they say of it.

use std::io::Write as _;
use std::time::Duration;

use axum::body::Body;
use flate2::Compression;
use flate2::write::GzEncoder;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use super::world::{MAX_BODY, OPERATOR, Tenant, World, text};
use crate::domain::{SourceId, SourceRefusals};
use crate::store::Record;

fn signed(body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(b"secret").unwrap();
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

impl World {
    /// Makes a source; gives its id and the path of its URL.
    async fn source(&self, tenant: &Tenant, wanted: Value) -> (String, String) {
        let made = self.post("/v1/sources", &tenant.editor, wanted).await.expect(201);
        let id = text(&made, "/id");
        let path = format!("/in/{id}");
        (id, path)
    }

    async fn last_refusal(&self, tenant: &Tenant, source: &str) -> Value {
        let refusals = self.get(&format!("/v1/sources/{source}/refusals"), &tenant.viewer).await.expect(200);
        // What is refused alike within a second is one entry.
        self.clock.advance(Duration::from_secs(2));
        refusals["data"][0].clone()
    }
}

#[tokio::test]
async fn a_refusal_says_what_is_wrong_first() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let (id, path) = world.source(&tenant, json!({"name": "shop", "extract": {"type": "$.type"}})).await;
    for (body, says) in
        [(r#"{"type":"a b"}"#, "an event type is 1 to 200 characters"), ("{}", "`extract.type` finds nothing")]
    {
        let problem = world.raw("POST", &path, "", &[], body).await.problem(400, "unparsable");
        let refusal = world.last_refusal(&tenant, &id).await;
        assert!(text(&refusal, "/detail").contains(says), "{refusal}");
        assert_eq!(problem["detail"], refusal["detail"]);
    }
}

#[tokio::test]
async fn a_limit_above_the_gateways_is_refused() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let (id, _) = world.source(&tenant, json!({"name": "shop", "max_body": MAX_BODY})).await;
    let larger = json!({"name": "shop", "max_body": MAX_BODY + 1});
    let refused = [
        world.post("/v1/sources", &tenant.editor, larger.clone()).await,
        world.patch(&format!("/v1/sources/{id}"), &tenant.editor, larger).await,
    ];
    for answer in refused {
        let problem = answer.problem(422, "invalid");
        assert_eq!(problem["errors"][0]["pointer"], "#/max_body");
        assert!(text(&problem, "/errors/0/detail").contains("at most 16384 bytes"), "{problem}");
    }
    world.patch(&format!("/v1/sources/{id}"), &tenant.editor, json!({"max_body": 1})).await.expect(200);
}

/// The signature is over what came over the wire, and the time is in what it unpacks to.
#[tokio::test]
async fn a_time_in_a_packed_body() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let verification = json!({"scheme": "hmac", "header": "x-s", "timestamp": {"body": "$.at", "format": "rfc3339"}});
    let wanted =
        json!({"name": "shop", "secret": "secret", "verification": verification, "extract": {"type": "$.type"}});
    let (id, path) = world.source(&tenant, wanted).await;
    let body = |at: &str| format!(r#"{{"type":"a","at":"{at}"}}"#);
    let (good, stale) = (gzip(&body("2026-01-01T00:00:00Z")), gzip(&body("2025-12-31T23:00:00Z")));
    let mut torn = good.clone();
    torn.truncate(20);
    let (plain, timeless) = (body("2026-01-01T00:00:00Z"), gzip(r#"{"type":"a"}"#));
    let rows: [(&str, &[u8], bool, u16, &str); 8] = [
        ("gzip", &good, true, 202, ""),
        ("identity", plain.as_bytes(), true, 202, ""),
        ("gzip", &good, false, 401, "no signature matched"),
        ("gzip", &stale, true, 401, "stale by 36"),
        ("gzip", &timeless, true, 401, "the body at `$.at` has no timestamp"),
        ("gzip", &torn, true, 400, "not what its Content-Encoding says"),
        ("br", &good, true, 415, "gzip or deflate"),
        ("identity", &good, true, 401, "has no timestamp"),
    ];
    for (coding, bytes, is_signed, status, says) in rows {
        let signature = if is_signed { signed(bytes) } else { signed(b"other") };
        let headers = [("content-type", "application/json"), ("content-encoding", coding), ("x-s", &*signature)];
        let answer = world.raw("POST", &path, "", &headers, Body::from(bytes.to_vec())).await;
        let said = answer.expect(status);
        if status != 202 {
            assert!(text(&said, "/detail").contains(says), "{coding} {says}: {said}");
            assert_eq!(world.last_refusal(&tenant, &id).await["status_code"], status);
        }
    }
    // A trial says the same.
    let encoded = |bytes: &[u8]| {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(bytes)
    };
    for (bytes, verified) in [(&good, true), (&stale, false)] {
        let trial = json!({
            "headers": {"content-type": "application/json", "content-encoding": "gzip", "x-s": signed(bytes)},
            "body_base64": encoded(bytes),
        });
        let tried = world.post(&format!("/v1/sources/{id}/try"), &tenant.editor, trial).await.expect(200);
        assert_eq!(tried["verified"], json!(verified), "{tried}");
    }
}

/// Of a form its parameters are signed, and those are in what it unpacks to.
#[tokio::test]
async fn a_packed_form_whose_parameters_are_signed() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let verification = json!({"scheme": "hmac", "header": "x-s", "content": "{form}"});
    let wanted = json!({"name": "calls", "secret": "secret", "verification": verification, "extract": {"type": "$.a"}});
    let (id, path) = world.source(&tenant, wanted).await;
    let (right, wrong) = (signed(b"axbz"), signed(b"axby"));
    let plain = "b=z&a=x".as_bytes();
    let good = gzip("b=z&a=x");
    let torn = &good[..good.len() - 3];
    let bomb = gzip(&format!("a=x&b={}", "z".repeat(1 << 20)));
    assert!(bomb.len() < MAX_BODY);
    let rows: [(&str, &[u8], &str, u16, &str); 9] = [
        ("gzip", &good, &right, 202, ""),
        ("identity", plain, &right, 202, ""),
        ("gzip", &good, &wrong, 401, "no signature matched"),
        ("identity", &good, &right, 401, "no signature matched"),
        ("gzip", torn, &right, 400, "not what its Content-Encoding says"),
        ("br", &good, &right, 415, "gzip or deflate"),
        ("gzip", &bomb, &right, 413, "unpacks to more than"),
        // Nothing is unpacked for whoever has no signature to show.
        ("gzip", torn, "nonsense", 401, "x-s"),
        ("gzip", &bomb, "", 401, "x-s"),
    ];
    let form = "application/x-www-form-urlencoded";
    for (coding, bytes, signature, status, says) in rows {
        let headers = [("content-type", form), ("content-encoding", coding), ("x-s", signature)];
        let answer = world.raw("POST", &path, "", &headers, Body::from(bytes.to_vec())).await;
        let said = answer.expect(status);
        if status == 202 {
            let event = world.get(&format!("/v1/events/{}", text(&said, "/id")), &tenant.viewer).await.expect(200);
            assert_eq!((&event["type"], &event["data"]), (&json!("x"), &json!({"b": "z", "a": "x"})), "{coding}");
        } else {
            assert!(text(&said, "/detail").contains(says), "{coding} {says}: {said}");
            assert_eq!(world.last_refusal(&tenant, &id).await["status_code"], status);
        }
        // A trial says the same.
        let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes);
        let headers = json!({"content-type": form, "content-encoding": coding, "x-s": signature});
        let trial = json!({"headers": headers, "body_base64": encoded});
        let tried = world.post(&format!("/v1/sources/{id}/try"), &tenant.editor, trial).await.expect(200);
        assert_eq!(tried["verified"], json!(status == 202), "{coding}: {tried}");
        let problem = &tried["problem"];
        assert!(if status == 202 { problem.is_null() } else { problem["status"] == status }, "{coding}: {tried}");
    }
}

/// What was refused is written down now and then, and never what belongs to a source that is gone.
#[tokio::test]
async fn refusals_are_written_down() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let spec = |name: &str| json!({"name": name, "extract": {"type": "$.type"}});
    let (kept, kept_path) = world.source(&tenant, spec("kept")).await;
    let (gone, gone_path) = world.source(&tenant, spec("gone")).await;
    let source: SourceId = kept.parse().unwrap();
    let written = async || -> Vec<SourceRefusals> {
        let records = world.store.configuration().await.unwrap();
        let found = records.into_iter().filter_map(|record| match record {
            Record::Refusals(of) => Some(of),
            _ => None,
        });
        found.collect()
    };
    let refuse = async |path: &str| {
        world.raw("POST", path, "", &[], "{}").await.problem(400, "unparsable");
        world.clock.advance(Duration::from_secs(2));
    };
    world.control.keep_refusals(Vec::new());
    // The writer begins to wait, by the time of now.
    tokio::task::yield_now().await;
    for _ in 0..3 {
        refuse(&kept_path).await;
        refuse(&gone_path).await;
    }
    assert_eq!(written().await, [], "a refusal alone writes nothing");
    world.clock.advance(Duration::from_secs(30));
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    let both = written().await;
    assert_eq!(both.len(), 2);
    assert!(both.iter().all(|of| of.refused.len() == 3 && of.refused[0].reason == "unparsable"));
    world.call("DELETE", &format!("/v1/sources/{gone}"), &tenant.editor, None).await.expect(204);
    let left = written().await;
    assert_eq!((left.len(), left[0].source_id), (1, source));

    // Another start finds them, and what was left of a source that is gone is removed.
    let stray = SourceRefusals { source_id: gone.parse().unwrap(), ..left[0].clone() };
    world.store.configure(vec![Record::Refusals(stray)], Vec::new()).await.unwrap();
    assert_eq!(written().await.len(), 2);
    let again = world.another_control();
    again.keep_refusals(world.store.configuration().await.unwrap());
    let found = again.refusals().of(source);
    assert_eq!((found.len(), &found), (3, &world.control.refusals().of(source)));
    again.write_refusals().await;
    assert_eq!(written().await, left);

    world.call("DELETE", &format!("/v1/tenants/{}", tenant.id), OPERATOR, None).await.expect(204);
    assert_eq!(written().await, []);
    assert_eq!(world.control.refusals().of(source), []);
}
