//! Products that post requests of their own kind.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hookmill_tests::{Gateway, Receiver, Setup, Tenant, hmac_hex, unix_time};
use jiff::Timestamp;
use serde_json::{Value, json};

/// As GitHub signs: HMAC over the raw bytes in a header, the event's type in another.
#[tokio::test]
async fn signed_as_github_does() {
    let gateway = Gateway::start().await;
    let endpoint = Receiver::start().await;
    let tenant = gateway.tenant("acme").await;
    let source = tenant
        .api
        .post(
            "/v1/sources",
            json!({
                "name": "github", "secret": "It's a Secret to Everybody",
                "verification": {"scheme": "hmac", "header": "x-hub-signature-256", "value": "sha256={signature}"},
                "extract": {"type": ["github", "header:x-github-event", "$.action?"], "id": "header:x-github-delivery"},
                "keep_headers": ["x-github-event"],
            }),
        )
        .await
        .json(201);
    assert_eq!(source["secrets_set"], json!(["#/secret"]));
    assert!(!source.to_string().contains("Everybody"), "{source}");
    tenant.subscribe(json!({"url": endpoint.url("/"), "events": ["github.*"], "source_ids": [source["id"]], "forward_headers": ["x-github-event"]})).await;
    let url = source["url"].as_str().unwrap();
    let post = async |body: &str, signature: &str, id: &str| {
        let headers = [
            ("content-type", "application/json"),
            ("x-hub-signature-256", signature),
            ("x-github-event", "issues"),
            ("x-github-delivery", id),
        ];
        gateway.public().send("POST", url, &headers, body.to_owned()).await
    };
    let body = "{\n  \"action\": \"opened\",\n  \"n\": 1.0, \"e\": \"\\u00e9\"\n}";
    let sign = |body: &str| format!("sha256={}", hmac_hex("It's a Secret to Everybody", &[body.as_bytes()]));
    let receipt = post(body, &sign(body), "d1").await.json(202);
    assert_eq!(post(body, &sign(body), "d1").await.json(200)["duplicate"], true);
    let request = endpoint.first("/").await;
    assert_eq!(request.json()["type"], "github.issues.opened");
    assert_eq!(request.json()["id"], "d1");
    assert!(request.text().ends_with(&format!("\"data\":{body}}}")), "{}", request.text());
    assert_eq!(request.header("x-github-event"), "issues");
    let event = tenant.api.get(&format!("/v1/events/{}", receipt["id"].as_str().unwrap())).await.json(200);
    assert_eq!((&event["source_id"], &event["source"]), (&source["id"], &json!("github")));

    // Published by GitHub as a test vector: secret, body and signature.
    let vector = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    assert_eq!(sign("Hello, World!"), vector, "the check itself");
    for (body, signature, id) in [
        (body, "", "d2"),
        (body, "sha256=00", "d3"),
        (body, sign("other").as_str(), "d4"),
        (&body.replace("1.0", "1.1"), sign(body).as_str(), "d5"),
    ] {
        post(body, signature, id).await.problem(401, "bad-signature");
    }
    post("{", &sign("{"), "d6").await.problem(400, "unparsable");
    let path = format!("/v1/sources/{}", source["id"].as_str().unwrap());
    tenant.api.patch(&path, json!({"enabled": false})).await.is(200);
    post(body, &sign(body), "d7").await.problem(404, "not-found");
    tenant.api.patch(&path, json!({"enabled": true})).await.is(200);
    post(body, &sign(body), "d7").await.is(202);
    assert_eq!(tenant.api.get("/v1/events").await.json(200)["data"].as_array().unwrap().len(), 2);
}

/// What is not JSON is kept inside JSON; a form becomes an object.
#[tokio::test]
async fn forms_texts_and_bytes() {
    let gateway = Gateway::start().await;
    let tenant = gateway.tenant("acme").await;
    let source = tenant.api.post("/v1/sources", json!({"name": "anything"})).await.json(201);
    let rows: [(&str, &[u8], Value); 5] = [
        ("application/x-www-form-urlencoded", b"a=1&b=x+y&a=%C3%A9", json!({"a": ["1", "é"], "b": "x y"})),
        (
            "text/plain; charset=utf-8",
            "hello \"é\"".as_bytes(),
            json!({"raw": "hello \"é\"", "content_type": "text/plain"}),
        ),
        ("application/xml", b"<a/>", json!({"raw": "<a/>", "content_type": "application/xml"})),
        (
            "application/octet-stream",
            &[0, 255],
            json!({"raw_base64": "AP8=", "content_type": "application/octet-stream"}),
        ),
        ("application/vnd.shop+json", b"[1.0]", json!([1.0])),
    ];
    for (content_type, body, data) in rows {
        let url = source["url"].as_str().unwrap();
        let receipt =
            gateway.public().send("POST", url, &[("content-type", content_type)], body.to_vec()).await.json(202);
        let event = tenant.api.get(&format!("/v1/events/{}", receipt["id"].as_str().unwrap())).await.json(200);
        assert_eq!(event["data"], data, "{content_type}");
    }
    gateway.public().send("POST", "/in/src_00000000000000000000000000000000", &[], "x").await.is(404);
}

/// Makes a source; gives it and its URL.
async fn source(tenant: &Tenant, spec: Value) -> (Value, String) {
    let made = tenant.api.post("/v1/sources", spec).await.json(201);
    let url = made["url"].as_str().unwrap().to_owned();
    (made, url)
}

fn at(source: &Value, rest: &str) -> String {
    format!("/v1/sources/{}{rest}", source["id"].as_str().unwrap())
}

/// Three shapes that no profile has: SHA-1 in base64 over body and URL, a type in a header beside a challenge by GET, and
/// an HTTP date.
#[tokio::test]
async fn shapes_that_are_not_shipped() {
    let gateway = Gateway::start().await;
    let tenant = gateway.tenant("acme").await;
    let public = gateway.public();
    let trello = json!({
        "name": "board", "secret": "k", "extract": {"type": "$.action.type", "id": "$.action.id"},
        "verification": {"scheme": "hmac", "header": "x-trello-webhook", "algorithm": "sha1", "encoding": "base64",
            "content": "{body}{url}"},
    });
    let (_, url) = source(&tenant, trello).await;
    let body = r#"{"action": {"id": "a1", "type": "updateCard"}}"#;
    let sign = |url: &str| {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, b"k");
        STANDARD.encode(ring::hmac::sign(&key, format!("{body}{url}").as_bytes()))
    };
    let json_body = ("content-type", "application/json");
    let with_query = format!("{url}?b=1&a=%20");
    for (to, signature, status) in [
        (&url, sign(&url), 202),
        (&url, sign(&with_query), 401),
        (&with_query, sign(&url), 401),
        (&with_query, sign(&with_query), 200),
    ] {
        public.send("POST", to, &[json_body, ("x-trello-webhook", &signature)], body).await.is(status);
    }

    let challenge = json!({
        "name": "page", "secret": "k", "verify_token": "t0ken", "extract": {"type": "header:x-topic"},
        "verification": {"scheme": "hmac", "header": "x-hub-signature-256", "value": "sha256={signature}"},
        "handshake": {"method": "GET", "when": {"query:hub.mode": "subscribe"}, "token": "query:hub.verify_token",
            "answer": {"text": "query:hub.challenge"}},
    });
    let (made, url) = source(&tenant, challenge).await;
    assert_eq!(made["secrets_set"], json!(["#/secret", "#/verify_token"]));
    assert!(!made.to_string().contains("t0ken"), "{made}");
    let asked = public.get(&format!("{url}?hub.mode=subscribe&hub.verify_token=t0ken&hub.challenge=a%3Cb")).await;
    asked.is(200);
    assert_eq!((asked.text.as_str(), asked.header("content-type")), ("a<b", "text/plain; charset=utf-8"));
    public
        .get(&format!("{url}?hub.mode=subscribe&hub.verify_token=k&hub.challenge=1"))
        .await
        .problem(401, "bad-signature");
    public.get(&format!("{url}?hub.mode=subscribe&hub.challenge=1")).await.problem(401, "bad-signature");
    public.get(&format!("{url}?hub.mode=subscribe&hub.verify_token=t0ken")).await.problem(400, "unparsable");
    public.get(&url).await.problem(405, "method-not-allowed");
    let signature = format!("sha256={}", hmac_hex("k", &[b"{}"]));
    let headers = [json_body, ("x-hub-signature-256", signature.as_str()), ("x-topic", "feed.changed")];
    let receipt = public.send("POST", &url, &headers, "{}").await.json(202);
    let event = tenant.api.get(&format!("/v1/events/{}", receipt["id"].as_str().unwrap())).await.json(200);
    assert_eq!(event["type"], "feed.changed");

    let metronome = json!({
        "name": "metronome", "secret": "k",
        "verification": {"scheme": "hmac", "header": "metronome-webhook-signature", "content": "{timestamp}\n{body}",
            "timestamp": {"header": "x-metronome-date", "fallbacks": ["date"], "format": "http_date"}},
    });
    let (_, url) = source(&tenant, metronome).await;
    for (off, header, status) in
        [(0, "x-metronome-date", 202), (0, "date", 202), (-302, "date", 401), (302, "x-metronome-date", 401)]
    {
        let now = i64::try_from(unix_time()).unwrap() + off;
        let date = Timestamp::from_second(now).unwrap().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let signature = hmac_hex("k", &[date.as_bytes(), b"\n{}"]);
        let headers = [json_body, ("metronome-webhook-signature", signature.as_str()), (header, date.as_str())];
        public.send("POST", &url, &headers, "{}").await.is(status);
    }
}

/// Slack signs its question, Discord probes with bad signatures, Zoom wants proof of the secret. None is an event.
#[tokio::test]
async fn questions_are_answered_and_are_no_events() {
    let gateway = Gateway::start().await;
    let tenant = gateway.tenant("acme").await;
    let public = gateway.public();
    let signed = json!({"scheme": "hmac", "header": "x-s"});
    let slack = json!({
        "name": "slack", "secret": "k", "verification": signed,
        "handshake": {"when": {"$.type": "url_verification"}, "answer": {"text": "$.challenge"}},
    });
    let zoom = json!({
        "name": "zoom", "secret": "k", "verification": signed,
        "handshake": [{"when": {"$.event": "endpoint.url_validation"}, "answer": {"json": {
            "plainToken": "$.payload.plainToken", "encryptedToken": {"hmac": "$.payload.plainToken"}}}}],
    });
    let discord = json!({
        "name": "discord", "secret": "k", "verification": signed,
        "handshake": {"when": {"$.type": 1}, "answer": {"json": {"type": 1}}},
    });
    let ping = json!({"name": "ping", "handshake": {"when": {"$.type": 0}, "answer": {"status_code": 204}}});
    for (spec, body, status, content_type, answer) in [
        (
            slack.clone(),
            json!({"type": "url_verification", "challenge": "3eZb"}),
            200,
            "text/plain; charset=utf-8",
            "3eZb".to_owned(),
        ),
        (
            zoom,
            json!({"event": "endpoint.url_validation", "payload": {"plainToken": "qgg8"}}),
            200,
            "application/json",
            json!({"plainToken": "qgg8", "encryptedToken": hmac_hex("k", &[b"qgg8"])}).to_string(),
        ),
        (discord, json!({"type": 1}), 200, "application/json", "{\"type\":1}".to_owned()),
        (ping, json!({"type": 0}), 204, "", String::new()),
    ] {
        let (made, url) = source(&tenant, spec).await;
        let body = body.to_string();
        let signature = hmac_hex("k", &[body.as_bytes()]);
        let headers = [("content-type", "application/json"), ("x-s", signature.as_str())];
        let answered = public.send("POST", &url, &headers, body.clone()).await;
        answered.is(status);
        assert_eq!((answered.header("content-type"), answered.text.as_str()), (content_type, answer.as_str()));
        if !made["verification"].is_null() {
            let wrong = [("content-type", "application/json"), ("x-s", "00")];
            public.send("POST", &url, &wrong, body.clone()).await.problem(401, "bad-signature");
            public
                .send("POST", &url, &[("content-type", "application/json")], body)
                .await
                .problem(401, "bad-signature");
        }
    }
    assert_eq!(tenant.api.get("/v1/events").await.json(200)["data"], json!([]));
    // Whoever may choose what is signed can have any request signed.
    let open = json!({"name": "open", "secret": "k",
        "handshake": {"when": {"$.a": 1}, "answer": {"json": {"b": {"hmac": "$.b"}}}}});
    assert_eq!(tenant.api.post("/v1/sources", open).await.problem(422, "invalid"), ["#/handshake/answer/json"]);
    let mut unverified = slack;
    unverified["handshake"]["verified"] = json!(false);
    let (_, url) = source(&tenant, unverified).await;
    let ask = "{\"type\":\"url_verification\",\"challenge\":\"c\"}";
    public.send("POST", &url, &[("content-type", "application/json")], ask).await.is(200);
    public.send("POST", &url, &[("content-type", "application/json")], "{}").await.problem(401, "bad-signature");
}

/// One request with several events is one each, all in one commit, and a repetition is none.
#[tokio::test]
async fn a_list_is_several_events() {
    let gateway = Gateway::start().await;
    let endpoint = Receiver::start().await;
    let tenant = gateway.tenant("acme").await;
    let spec = json!({
        "name": "sendgrid",
        "extract": {"each": "$", "id": "$.sg_event_id", "type": ["mail", "$.event"], "time": "$.timestamp?"},
    });
    let (_, url) = source(&tenant, spec).await;
    tenant.subscribe(json!({"url": endpoint.url("/"), "events": ["mail.*"], "envelope": "none"})).await;
    let json_body = [("content-type", "application/json")];
    let body = "[ {\"event\":\"open\",\"sg_event_id\":\"1\",\"n\": 1.0,\"timestamp\":1767225600}, \
        {\"event\":\"click\",\"sg_event_id\":\"2\"} ]";
    let receipt = gateway.public().send("POST", &url, &json_body, body).await.json(202);
    assert_eq!((&receipt["accepted"], &receipt["rejected"]), (&json!(2), &json!(0)));
    assert_eq!(receipt["data"][1]["external_id"], "2");
    endpoint.wait("/", 2).await;
    let sent: Vec<String> = endpoint.at("/").iter().map(|request| request.text().to_owned()).collect();
    assert!(sent.iter().any(|text| text.contains("\"n\": 1.0,\"timestamp\"")), "{sent:?}");
    let again = gateway.public().send("POST", &url, &json_body, body).await.json(202);
    assert!(again["data"].as_array().unwrap().iter().all(|one| one["duplicate"] == true), "{again}");
    assert_eq!(gateway.public().send("POST", &url, &json_body, "[]").await.json(202)["accepted"], 0);
    for (body, pointer) in
        [("{\"event\":\"open\"}", "#/each"), ("[{\"event\":\"a\",\"sg_event_id\":\"3\"},{}]", "#/1/type")]
    {
        let refused = gateway.public().send("POST", &url, &json_body, body).await;
        assert_eq!(refused.problem(400, "unparsable"), [pointer], "{body}");
    }
    assert_eq!(tenant.api.get("/v1/events").await.json(200)["data"].as_array().unwrap().len(), 2, "all or none");
}

/// The same key within the window is one delivery: at once, one after the other, with other content, after a restart;
/// and another one when the window is over.
#[tokio::test]
async fn the_same_request_is_one_delivery() {
    let mut gateway = Setup::new().with_clock().start().await;
    let endpoint = Receiver::start().await;
    let mut tenant = gateway.tenant("acme").await;
    let spec = json!({
        "name": "unibo", "dedupe_window": "1h",
        "extract": {"type": "$.event_type", "dedupe": ["$.event_type", "$.request_id"]},
    });
    let (_, url) = source(&tenant, spec).await;
    tenant.subscribe(json!({"url": endpoint.url("/"), "events": ["*"]})).await;
    let path = url.split_once("/in/").map(|(_, rest)| format!("/in/{rest}")).unwrap();
    let headers = [("content-type", "application/json")];
    let body = |n: u32| format!("{{\"event_type\":\"PAYOUT\",\"request_id\":\"r1\",\"n\":{n}}}");
    let public = gateway.public();
    let posts = (0..20).map(|_| public.send("POST", &path, &headers, body(1)));
    let replies = futures_util::future::join_all(posts).await;
    assert_eq!(replies.iter().filter(|reply| reply.status == 202).count(), 1);
    assert!(replies.iter().all(|reply| [200, 202].contains(&reply.status)));
    endpoint.wait("/", 1).await;
    gateway.kill9().await;
    gateway.restart().await;
    tenant = gateway.again(&tenant);
    let again = gateway.public().send("POST", &path, &headers, body(2)).await.json(200);
    assert_eq!(again["duplicate"], true);
    // What does not say what makes it the same is never a duplicate.
    for _ in 0..2 {
        let opt_in = "{\"event_type\":\"PLAYER_OPTED_IN\"}";
        gateway.public().send("POST", &path, &headers, opt_in).await.is(202);
    }
    endpoint.wait("/", 3).await;
    // Each process has a clock of its own, which begins at the machine's time.
    gateway.clock().await.advance("1h1m").await;
    gateway.public().send("POST", &path, &headers, body(3)).await.is(202);
    endpoint.wait("/", 4).await;
    assert_eq!(tenant.api.get("/v1/events").await.json(200)["data"].as_array().unwrap().len(), 4);
}

/// The signature is over what came over the wire; what is inside is read; a bomb is refused.
#[tokio::test]
async fn packed_bodies() {
    let gateway = Gateway::start().await;
    let tenant = gateway.tenant("acme").await;
    let spec = json!({
        "name": "packed", "secret": "k", "verification": {"scheme": "hmac", "header": "x-s"}, "max_body": 200_000,
    });
    let (_, url) = source(&tenant, spec).await;
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let post = async |coding: &str, body: Vec<u8>| {
        let signature = hmac_hex("k", &[&body]);
        let headers = [("content-type", "application/json"), ("content-encoding", coding), ("x-s", signature.as_str())];
        gateway.public().send("POST", &url, &headers, body).await
    };
    let receipt = post("gzip", gzip(b"{\"a\": 1.0}")).await.json(202);
    let event = tenant.api.get(&format!("/v1/events/{}", receipt["id"].as_str().unwrap())).await;
    assert!(event.text.contains("{\"a\": 1.0}"), "{}", event.text);
    post("identity", b"{}".to_vec()).await.is(202);
    for (coding, body, status, id) in [
        ("gzip", b"{}".to_vec(), 400, "unparsable"),
        ("gzip", gzip(b"{"), 400, "unparsable"),
        ("br", b"{}".to_vec(), 415, "unsupported-content-encoding"),
        ("gzip", gzip(&vec![b' '; 100_000]), 413, "body-too-large"),
        ("gzip", gzip(&vec![b' '; 10 << 20]), 413, "body-too-large"),
        ("identity", vec![b' '; 200_001], 413, "body-too-large"),
    ] {
        post(coding, body).await.problem(status, id);
    }
    let plain = hmac_hex("k", &[b"{}"]);
    let headers = [("content-type", "application/json"), ("content-encoding", "gzip"), ("x-s", plain.as_str())];
    gateway.public().send("POST", &url, &headers, gzip(b"{}")).await.problem(401, "bad-signature");
    let twice = json!({"name": "s", "max_body": 0, "dedupe_window": "0s", "rate_limit": {"per": "1ms", "max": 1}});
    let wrong = tenant.api.post("/v1/sources", twice).await.problem(422, "invalid");
    assert_eq!(wrong, ["#/dedupe_window", "#/rate_limit", "#/max_body"]);
}

/// Both secrets count for the overlap, then the new one alone; what a stranger posts does not count against the rate.
#[tokio::test]
async fn secrets_rotate_and_rates_hold() {
    let mut gateway = Setup::new().with_clock().start().await;
    let clock = gateway.clock().await;
    let mut tenant = gateway.tenant("acme").await;
    let spec = json!({
        "name": "shop", "secret": "old", "verification": {"scheme": "hmac", "header": "x-s"},
        "rate_limit": {"per": "1m", "max": 2}, "response": {"status_code": 200, "body": "[accepted]"},
    });
    let (made, url) = source(&tenant, spec).await;
    let path = url.split_once("/in/").map(|(_, rest)| format!("/in/{rest}")).unwrap();
    let post = async |gateway: &Gateway, secret: &str| {
        let signature = hmac_hex(secret, &[b"{}"]);
        let headers = [("content-type", "application/json"), ("x-s", signature.as_str())];
        gateway.public().send("POST", &path, &headers, "{}").await
    };
    for _ in 0..3 {
        post(&gateway, "wrong").await.problem(401, "bad-signature");
    }
    for _ in 0..2 {
        let taken = post(&gateway, "old").await;
        taken.is(200);
        assert_eq!((taken.text.as_str(), taken.header("content-type")), ("[accepted]", "text/plain; charset=utf-8"));
    }
    let limited = post(&gateway, "old").await;
    limited.problem(429, "rate-limited");
    assert_eq!(limited.header("retry-after"), "60");
    clock.advance("1m").await;
    post(&gateway, "old").await.is(200);

    let rotated = tenant.api.post(&at(&made, "/rotate-secret"), json!({"overlap": "1h"})).await.json(200);
    let new = rotated["secret"].as_str().unwrap().to_owned();
    assert!(rotated["next_secret_from"].is_string());
    tenant.api.poke(&at(&made, "/rotate-secret")).await.problem(409, "conflict");
    post(&gateway, &new).await.is(200);
    clock.advance("1m").await;
    gateway.restart().await;
    tenant = gateway.again(&tenant);
    for secret in ["old", &new] {
        post(&gateway, secret).await.is(200);
    }
    let read = tenant.api.get(&at(&made, "")).await;
    assert!(!read.text.contains(&new), "{}", read.text);
    // Each process has a clock of its own, which begins at the machine's time.
    let clock = gateway.clock().await;
    clock.advance("1h3m").await;
    post(&gateway, "old").await.problem(401, "bad-signature");
    post(&gateway, &new).await.is(200);

    let given = json!({"secret": "third", "overlap": "1h"});
    assert_eq!(tenant.api.post(&at(&made, "/rotate-secret"), given).await.json(200)["secret"], "third");
    tenant.api.poke(&at(&made, "/rotate-secret/finish")).await.is(200);
    clock.advance("1m").await;
    post(&gateway, &new).await.problem(401, "bad-signature");
    post(&gateway, "third").await.is(200);
    tenant.api.poke(&at(&made, "/rotate-secret/finish")).await.problem(409, "conflict");
}

/// GitLab sends a token or a signature, and has one secret for it.
#[tokio::test]
async fn any_of_several_proofs_will_do() {
    let gateway = Gateway::start().await;
    let tenant = gateway.tenant("acme").await;
    let both = json!([
        {"scheme": "shared", "in": "header", "name": "x-gitlab-token"},
        {"scheme": "standard", "header_prefixes": ["svix"]},
    ]);
    let (made, url) = source(&tenant, json!({"name": "gitlab", "secret": "token", "verification": both})).await;
    assert_eq!(made["verification"], both);
    let post = async |headers: &[(&str, &str)]| gateway.public().send("POST", &url, headers, "7").await;
    post(&[("x-gitlab-token", "token")]).await.is(202);
    post(&[("x-gitlab-token", "other")]).await.problem(401, "bad-signature");
    post(&[]).await.problem(401, "bad-signature");
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    tenant.api.patch(&at(&made, ""), json!({"secret": secret})).await.is(200);
    let now = unix_time().to_string();
    let key = STANDARD.decode(secret.trim_start_matches("whsec_")).unwrap();
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key);
    let signature = STANDARD.encode(ring::hmac::sign(&key, format!("m1.{now}.7").as_bytes()));
    for prefix in ["webhook", "svix"] {
        let [id, time, value] = ["id", "timestamp", "signature"].map(|name| format!("{prefix}-{name}"));
        post(&[(&id, "m1"), (&time, &now), (&value, &format!("v1,{signature}"))]).await.is(202);
        post(&[(&id, "m2"), (&time, &now), (&value, &format!("v1,{signature}"))]).await.problem(401, "bad-signature");
    }
    for (verification, pointers) in [
        (json!([{"scheme": "standard"}, {"scheme": "hmac"}]), vec!["#/verification/1/header"]),
        (json!({"scheme": "hmac", "header": "x-s", "timestamp": {"at": 1}}), vec!["#/verification/timestamp/at"]),
        (json!({"scheme": "asymmetric", "algorithm": "ed25519", "header": "x-s"}), vec!["#/secret"]),
    ] {
        let spec = json!({"name": "s", "secret": "k", "verification": verification});
        assert_eq!(tenant.api.post("/v1/sources", spec).await.problem(422, "invalid"), pointers, "{verification}");
    }
}

/// Why nothing arrives, and what a request would yield.
#[tokio::test]
async fn refusals_and_trials() {
    let gateway = Gateway::start().await;
    let tenant = gateway.tenant("acme").await;
    let spec = json!({
        "name": "shop", "secret": "s3cret", "verification": {"scheme": "hmac", "header": "x-s",
            "content": "{timestamp}.{body}", "value": "t={timestamp},v1={signature}"},
        "extract": {"type": "$.type", "id": "$.id"},
        "handshake": {"when": {"$.type": "ping"}, "answer": {"text": "$.id"}},
    });
    let (made, url) = source(&tenant, spec).await;
    tenant.subscribe(json!({"url": "http://127.0.0.1:9/", "events": ["order.*"]})).await;
    let time = 1_767_225_600;
    let at_time = "2026-01-01T00:00:00Z";
    let sign = |body: &str| format!("t={time},v1={}", hmac_hex("s3cret", &[format!("{time}.{body}").as_bytes()]));
    let attempt = async |body: &str, signature: Option<String>, now: Option<&str>| {
        let mut headers = json!({"content-type": "application/json"});
        if let Some(signature) = signature {
            headers["x-s"] = json!([signature]);
        }
        let mut trial = json!({"headers": headers, "body": body});
        if let Some(now) = now {
            trial["at"] = json!(now);
        }
        tenant.api.post(&at(&made, "/try"), trial).await.json(200)
    };
    let order = "{\"type\":\"order.paid\",\"id\":\"7\", \"n\":1.0}";
    let yields = attempt(order, Some(sign(order)), Some(at_time)).await;
    assert_eq!(
        (&yields["verified"], &yields["rejection"], &yields["problem"]),
        (&json!(true), &Value::Null, &Value::Null)
    );
    let event = &yields["events"][0];
    assert_eq!((&event["type"], &event["id"], &event["dedupe"]), (&json!("order.paid"), &json!("7"), &json!("7")));
    assert_eq!(event["would_match"], 1);
    for (body, signature, now, reason, header, problem) in [
        (order, None, Some(at_time), "missing_header", json!("x-s"), "bad-signature"),
        (order, Some(sign(order)), None, "stale", Value::Null, "bad-signature"),
        (order, Some(sign("{}")), Some(at_time), "no_match", Value::Null, "bad-signature"),
        (order, Some("v1".to_owned()), Some(at_time), "malformed", json!("x-s"), "bad-signature"),
        ("{", Some(sign("{")), Some(at_time), "", Value::Null, "unparsable"),
        ("{}", Some(sign("{}")), Some(at_time), "", Value::Null, "unparsable"),
    ] {
        let yields = attempt(body, signature, now).await;
        assert_eq!(yields["rejection"]["reason"].as_str().unwrap_or_default(), reason, "{yields}");
        assert_eq!(yields["rejection"]["header"], header, "{yields}");
        assert_eq!(yields["problem"]["type"], format!("/problems/{problem}"), "{yields}");
        assert_eq!(yields["events"], json!([]));
    }
    let ping = "{\"type\":\"ping\",\"id\":\"hello\"}";
    let yields = attempt(ping, Some(sign(ping)), Some(at_time)).await;
    assert_eq!((&yields["handshake"]["body"], &yields["handshake"]["status_code"]), (&json!("hello"), &json!(200)));
    assert_eq!(tenant.api.get("/v1/events").await.json(200)["data"], json!([]), "nothing is stored");
    assert_eq!(tenant.api.get(&at(&made, "/refusals")).await.json(200), json!({"data": [], "next": null}));
    for (trial, pointer) in [
        (json!({"headers": {"a b": "x"}}), "#/headers/a b"),
        (json!({"headers": {"x": 1}}), "#/headers/x"),
        (json!({"body": "x", "body_base64": "eA=="}), "#/body_base64"),
        (json!({"body_base64": "?"}), "#/body_base64"),
        (json!({"url": "x"}), "#/url"),
    ] {
        let wrong = tenant.api.post(&at(&made, "/try"), trial).await.problem(422, "invalid");
        assert_eq!(wrong, [pointer.replace(' ', "%20")]);
    }

    let post = async |headers: &[(&str, &str)], body: &str| {
        gateway.public().send("POST", &url, headers, body.to_owned()).await
    };
    post(&[("content-type", "application/json")], order).await.is(401);
    post(&[("content-type", "text/plain"), ("x-s", &sign(order))], order).await.is(401);
    tenant.api.patch(&at(&made, ""), json!({"enabled": false})).await.is(200);
    post(&[], order).await.is(404);
    let refusals = tenant.api.get(&at(&made, "/refusals")).await;
    assert!(!refusals.text.contains("s3cret") && !refusals.text.contains("v1="), "{}", refusals.text);
    let refusals = refusals.json(200);
    let told: Vec<_> =
        refusals["data"].as_array().unwrap().iter().map(|one| (&one["status_code"], &one["header"])).collect();
    assert_eq!(told, [(&json!(404), &Value::Null), (&json!(401), &Value::Null), (&json!(401), &json!("x-s"))]);
    let last = &refusals["data"][1];
    assert_eq!((&last["reason"], &last["content_type"]), (&json!("bad-signature"), &json!("text/plain")));
    assert_eq!((&last["body_size"], &last["remote_address"]), (&json!(order.len()), &json!("127.0.0.1")));
    assert!(last["detail"].as_str().unwrap().contains("stale"), "{last}");
    assert!(refusals["data"][0]["detail"].as_str().unwrap().contains("disabled"), "{refusals}");
    let other = gateway.tenant("other").await;
    other.api.get(&at(&made, "/refusals")).await.problem(404, "not-found");
}

/// Whoever looks after a restart finds what was refused before it.
#[tokio::test]
async fn refusals_outlive_the_process() {
    let mut gateway = Gateway::start().await;
    let tenant = gateway.tenant("acme").await;
    let spec = json!({"name": "shop", "secret": "s3cret", "verification": {"scheme": "hmac", "header": "x-s"}});
    let (made, url) = source(&tenant, spec).await;
    gateway.public().send("POST", &url, &[("x-s", "00")], "{}".to_owned()).await.is(401);
    gateway.public().send("GET", &url, &[], "").await.is(405);
    let before = tenant.api.get(&at(&made, "/refusals")).await.json(200);
    assert_eq!(before["data"].as_array().unwrap().len(), 2);
    gateway.terminate().await;
    gateway.restart().await;
    let tenant = gateway.again(&tenant);
    assert_eq!(tenant.api.get(&at(&made, "/refusals")).await.json(200), before);
}

/// What is wrong in different ways is told apart, however fast it comes.
#[tokio::test]
async fn each_mistake_is_told() {
    let gateway = Setup::new().with_clock().start().await;
    let clock = gateway.clock().await;
    let tenant = gateway.tenant("acme").await;
    let spec = json!({
        "name": "shop", "secret": "k", "verification": {"scheme": "hmac", "header": "x-s",
            "content": "{timestamp}.{body}", "value": "t={timestamp},v1={signature}"},
    });
    let (made, url) = source(&tenant, spec).await;
    let now = clock.now().await.as_second();
    let sign = |time: i64| format!("t={time},v1={}", hmac_hex("k", &[format!("{time}.{{}}").as_bytes()]));
    for signature in [sign(now - 1_000), sign(now + 1_000), sign(now - 2_000), "v1".to_owned()] {
        gateway.public().send("POST", &url, &[("x-s", signature.as_str())], "{}").await.problem(401, "bad-signature");
    }
    let refusals = tenant.api.get(&at(&made, "/refusals")).await.json(200);
    let told: Vec<(u64, &str)> = refusals["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["count"].as_u64().unwrap(), one["detail"].as_str().unwrap()))
        .collect();
    assert_eq!(told.len(), 3, "{told:?}");
    for ((count, detail), (wanted, words)) in
        told.iter().zip([(1, "does not have the form"), (2, "stale by 2000 s"), (1, "from the future by 1000 s")])
    {
        assert!(*count == wanted && detail.contains(words), "{told:?}");
    }
}
