//! Products that post requests of their own kind.

use hookmill_tests::{Gateway, Receiver, hmac_hex};
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
