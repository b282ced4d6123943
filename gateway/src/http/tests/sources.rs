//! What sources refuse, and what they say of it.

use std::io::Write as _;
use std::time::Duration;

use axum::body::Body;
use flate2::Compression;
use flate2::write::GzEncoder;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use super::world::{MAX_BODY, Tenant, World, text};

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
