//! Unibo (`004_ccd48d884de4755f.txt`).

use hookmill_tests::{Answer, Receiver, Setup, eventually};
use serde_json::{Value, json};

use super::{answers, forged, walk};

/// The document's examples, byte for byte, by their event types.
const EXAMPLES: [(&str, &str); 8] = [
    (
        "PRIZE_PAYOUT_CREATED",
        "{\n\"campaign_id\": \"campaign-123\",\n\"request_id\": \"550e8400-e29b-41d4-a716-446655440000\",\n\"player_id\": \"player-hash-abc123\",\n\"player_currency\": \"USD\",\n\"event_type\": \"PRIZE_PAYOUT_CREATED\",\n\"status\": \"TODO\",\n\"prize_type\": \"cash\",\n\"amount\": 100.5,\n\"bonus_id\": 456\n}",
    ),
    (
        "PRIZE_PAYOUT_SUCCEEDED",
        "{\n\"campaign_id\": \"summer-campaign-2024\",\n\"request_id\": \"550e8400-e29b-41d4-a716-446655440000\",\n\"player_id\": \"player-abc123\",\n\"player_currency\": \"USD\",\n\"event_type\": \"PRIZE_PAYOUT_SUCCEEDED\",\n\"status\": \"SUCCESS\",\n\"prize_type\": \"cash\",\n\"amount\": 100.5,\n\"bonus_id\": 456\n}",
    ),
    (
        "PRIZE_PAYOUT_CREATED",
        "{\n\"campaign_id\": \"slot-tournament-2024\",\n\"request_id\": \"550e8400-e29b-41d4-a716-446655440001\",\n\"player_id\": \"player-def456\",\n\"player_currency\": \"EUR\",\n\"event_type\": \"PRIZE_PAYOUT_CREATED\",\n\"status\": \"TODO\",\n\"prize_type\": \"free_spins\",\n\"amount\": 50,\n\"game_id\": 123,\n\"bonus_id\": 789\n}",
    ),
    (
        "PRIZE_PAYOUT_SUCCEEDED",
        "{\n\"campaign_id\": \"welcome-bonus\",\n\"request_id\": \"550e8400-e29b-41d4-a716-446655440002\",\n\"player_id\": \"player-ghi789\",\n\"player_currency\": \"GBP\",\n\"event_type\": \"PRIZE_PAYOUT_SUCCEEDED\",\n\"status\": \"SUCCESS\",\n\"prize_type\": \"bonus_amount\",\n\"amount\": 75.25,\n\"bonus_id\": 101\n}",
    ),
    (
        "PRIZE_PAYOUT_CREATED",
        "{\n\"campaign_id\": \"deposit-match\",\n\"request_id\": \"550e8400-e29b-41d4-a716-446655440003\",\n\"player_id\": \"player-jkl012\",\n\"player_currency\": \"USD\",\n\"event_type\": \"PRIZE_PAYOUT_CREATED\",\n\"status\": \"TODO\",\n\"prize_type\": \"deposit_bonus\",\n\"percentage_value\": 100.0,\n\"bonus_id\": 202\n}",
    ),
    (
        "PRIZE_PAYOUT_SUCCEEDED",
        "{\n\"campaign_id\": \"loyalty-rewards\",\n\"request_id\": \"550e8400-e29b-41d4-a716-446655440004\",\n\"player_id\": \"player-mno345\",\n\"player_currency\": \"USD\",\n\"event_type\": \"PRIZE_PAYOUT_SUCCEEDED\",\n\"status\": \"SUCCESS\",\n\"prize_type\": \"catalog_item\",\n\"item\": \"Gaming Headset\",\n\"value\": 25.0,\n\"bonus_id\": 303\n}",
    ),
    (
        "PLAYER_OPTED_IN",
        "{\n\"player_id\": \"player-abc123\",\n\"campaign_id\": \"summer-campaign-2024\",\n\"event_type\": \"PLAYER_OPTED_IN\"\n}",
    ),
    (
        "PLAYER_OPTED_OUT",
        "{\n\"player_id\": \"player-def456\",\n\"campaign_id\": \"winter-tournament-2024\",\n\"event_type\": \"PLAYER_OPTED_OUT\"\n}",
    ),
];

const API_KEY: &str = "your-secret-api-key";

/// The document's check of the header. It ends where one's own work begins, so the answer of its first example is put
/// there.
const RECEIVER: &str = r#"
const express = require("express");
const app = express();
app.use(express.json());
// Node.js example
app.post("/webhooks/prizes", (req, res) => {
const authHeader = req.headers.authorization;
const expectedToken = "Bearer your-secret-api-key";
if (authHeader !== expectedToken) {
return res.status(401).json({ error: "Unauthorized" });
}
// Process webhook...
res.status(200).json({ received: true });
});
"#;

/// Every example goes through unchanged, with the document's headers and no others that a receiver could trip over.
#[tokio::test]
async fn the_documents_examples() {
    let endpoint = Receiver::start().await;
    let gateway = Setup::new().start().await;
    let tenant = gateway.tenant_as("unibo").await;
    let wanted = json!({"url": endpoint.url("/webhooks/prizes"), "events": ["*"], "secret": API_KEY});
    let made = tenant.api.post("/v1/webhooks", wanted).await.json(201);
    assert_eq!(
        (&made["secret"], &made["auth"], &made["secrets_set"]),
        (&Value::Null, &json!({"type": "bearer"}), &json!(["#/auth/token"]))
    );
    for (event_type, example) in EXAMPLES {
        let event = format!(r#"{{"type":"{event_type}","data":{example}}}"#);
        let receipt = tenant.api.text("POST", "/v1/events", &event).await.json(202);
        tenant.status(&receipt, "delivered").await;
    }
    let arrived = endpoint.wait("/webhooks/prizes", EXAMPLES.len()).await;
    for (request, (_, example)) in arrived.iter().zip(EXAMPLES) {
        assert_eq!(request.text(), example);
        assert_eq!(request.header("content-type"), "application/json");
        assert_eq!(request.header("authorization"), format!("Bearer {API_KEY}"));
        assert_eq!(request.header("user-agent"), "Unibo-Webhooks/1.0");
        assert!(request.header("webhook-signature").is_empty());
    }
    let said = answers(RECEIVER, "json", &arrived, "").await;
    assert_eq!(said, vec![r#"200 {"received":true}"#; EXAMPLES.len()]);
    let mut stranger = forged(&arrived[..1]);
    stranger[0].headers.remove("authorization");
    assert_eq!(answers(RECEIVER, "json", &stranger, "").await, [r#"401 {"error":"Unauthorized"}"#]);
    // Without a key nothing is sent.
    let wanted = json!({"url": endpoint.url("/open"), "events": ["PLAYER_OPTED_IN"]});
    tenant.api.post("/v1/webhooks", wanted).await.is(201);
    tenant.post("PLAYER_OPTED_IN", json!({"player_id": "p", "campaign_id": "c"})).await;
    let request = endpoint.first("/open").await;
    assert!(request.header("authorization").is_empty());
    assert_eq!(request.text(), r#"{"event_type":"PLAYER_OPTED_IN","player_id":"p","campaign_id":"c"}"#);
}

/// A failure is logged and never tried again.
#[tokio::test]
async fn no_second_attempt() {
    let endpoint =
        Receiver::scripted(|request, _| Answer::Status(if request.path == "/sentinel" { 200 } else { 500 })).await;
    let gateway = Setup::new().with_clock().start().await;
    let clock = gateway.clock().await;
    let tenant = gateway.tenant_as("unibo").await;
    tenant.api.post("/v1/webhooks", json!({"url": endpoint.url("/prizes"), "events": ["*"]})).await.is(201);
    let event = tenant.post("PLAYER_OPTED_IN", json!({"player_id": "p", "campaign_id": "c"})).await;
    let failed = walk(&gateway, &clock, &endpoint, &tenant, &event, ("/prizes", &[])).await;
    assert_eq!((&failed["last_status_code"], &failed["attempt_count"]), (&json!(500), &json!(1)));
    assert_eq!(tenant.deliveries("status=failed").await.len(), 1);
}

/// What was being sent when the gateway was killed is sent once more: nobody knows whether it arrived.
#[tokio::test]
async fn once_more_after_a_crash() {
    let endpoint = Receiver::scripted(|_, before| if before == 0 { Answer::Never } else { Answer::Status(500) }).await;
    let mut gateway = Setup::new().start().await;
    let tenant = gateway.tenant_as("unibo").await;
    tenant.api.post("/v1/webhooks", json!({"url": endpoint.url("/prizes"), "events": ["*"]})).await.is(201);
    let event = tenant.post("PLAYER_OPTED_IN", json!({"player_id": "p", "campaign_id": "c"})).await;
    endpoint.wait("/prizes", 1).await;
    gateway.restart().await;
    let tenant = gateway.again(&tenant);
    let failed = tenant.status(&event, "failed").await;
    assert_eq!(endpoint.count("/prizes"), 2, "{failed}");
}

/// CREATED and SUCCEEDED of one request both arrive, each posted twice arrives once; two like opt-ins both arrive.
/// The same holds for what comes through a source.
#[tokio::test]
async fn what_is_a_duplicate() {
    let endpoint = Receiver::start().await;
    let gateway = Setup::new().start().await;
    let tenant = gateway.tenant_as("unibo").await;
    tenant.api.post("/v1/webhooks", json!({"url": endpoint.url("/posted"), "events": ["*"]})).await.is(201);
    let payout = |state: &str, amount: f64| json!({"event_type": format!("PRIZE_PAYOUT_{state}"), "request_id": "r-1", "amount": amount});
    let opted = json!({"event_type": "PLAYER_OPTED_IN", "player_id": "p", "campaign_id": "c"});
    let created = tenant.post("PRIZE_PAYOUT_CREATED", payout("CREATED", 1.5)).await;
    tenant.post("PRIZE_PAYOUT_SUCCEEDED", payout("SUCCEEDED", 1.5)).await;
    // What else is in it makes no difference, nor whether it is there as `null`.
    for (kind, amount) in [("CREATED", 1.5), ("SUCCEEDED", 2.0)] {
        let again = json!({"type": format!("PRIZE_PAYOUT_{kind}"), "data": payout(kind, amount)});
        let receipt = tenant.api.post("/v1/events", again).await.json(200);
        assert_eq!(receipt["duplicate"], true);
        if kind == "CREATED" {
            assert_eq!(receipt["id"], created["id"]);
        }
    }
    for _ in 0..2 {
        tenant.post("PLAYER_OPTED_IN", opted.clone()).await;
        tenant.post("PLAYER_OPTED_OUT", json!({"event_type": "PLAYER_OPTED_OUT", "request_id": null})).await;
    }
    assert_eq!(endpoint.wait("/posted", 6).await.len(), 6);

    let wanted = json!({"name": "prizes", "profile": "unibo", "secret": API_KEY});
    let source = tenant.api.post("/v1/sources", wanted).await.json(201);
    let only = json!({"url": endpoint.url("/through"), "events": ["*"], "source_ids": [source["id"]]});
    tenant.api.post("/v1/webhooks", only).await.is(201);
    let authorization = format!("Bearer {API_KEY}");
    let headers = [("content-type", "application/json"), ("authorization", authorization.as_str())];
    for body in [payout("CREATED", 1.5), payout("CREATED", 1.5), payout("SUCCEEDED", 1.5), opted.clone(), opted] {
        let reply = gateway.public().send("POST", source["url"].as_str().unwrap(), &headers, body.to_string()).await;
        assert!(reply.status < 300, "{}", reply.text);
    }
    let arrived = eventually("four come through the source", async || {
        Some(endpoint.at("/through")).filter(|found| found.len() >= 4)
    });
    let mut types: Vec<String> = arrived.await.iter().map(|one| one.json()["event_type"].to_string()).collect();
    types.sort();
    assert_eq!(
        types,
        ["\"PLAYER_OPTED_IN\"", "\"PLAYER_OPTED_IN\"", "\"PRIZE_PAYOUT_CREATED\"", "\"PRIZE_PAYOUT_SUCCEEDED\""]
    );
}

/// The document's error scenarios, as a receiver of its webhooks: whatever the endpoint says to one, it is logged and not
/// sent again, and others are not held up.
#[tokio::test]
async fn error_scenarios_at_the_endpoint() {
    let endpoint = Receiver::scripted(|request, _| match request.path.as_str() {
        "/invalid-json" | "/missing-fields" => Answer::Full(400, vec![], r#"{"error":"Invalid payload"}"#.to_owned()),
        "/authentication" => Answer::Full(401, vec![], r#"{"error":"Unauthorized"}"#.to_owned()),
        "/internal" => Answer::Full(500, vec![], r#"{"error":"Internal server error"}"#.to_owned()),
        "/broken" => Answer::Close,
        "/timeout" => Answer::Never,
        _ => Answer::Status(200),
    })
    .await;
    let gateway = Setup::new().with_clock().start().await;
    let clock = gateway.clock().await;
    let tenant = gateway.tenant_as("unibo").await;
    let scenarios: [(&str, Option<u64>, &str); 6] = [
        ("/invalid-json", Some(400), "refused"),
        ("/missing-fields", Some(400), "refused"),
        ("/authentication", Some(401), "refused"),
        ("/internal", Some(500), "refused"),
        ("/broken", None, "unknown"),
        ("/timeout", None, "unknown"),
    ];
    for (path, ..) in scenarios {
        let wanted = json!({"url": endpoint.url(path), "events": ["*"], "secret": API_KEY, "name": path});
        tenant.api.post("/v1/webhooks", wanted).await.is(201);
    }
    let event = tenant.post("PLAYER_OPTED_IN", json!({"player_id": "p", "campaign_id": "c"})).await;
    endpoint.wait("/timeout", 1).await;
    let query = format!("event_id={}&status=failed", event["id"].as_str().unwrap());
    let failed = async |count: usize| {
        let found = async || Some(tenant.deliveries(&query).await).filter(|found| found.len() == count);
        eventually("they have failed", found).await
    };
    // An answer that is still on its way when the time moves would be one that did not come.
    failed(scenarios.len() - 1).await;
    clock.advance("30s").await;
    for delivery in failed(scenarios.len()).await {
        let path = format!("/v1/deliveries/{}", delivery["id"].as_str().unwrap());
        let delivery = tenant.api.get(&path).await.json(200);
        let url = delivery["attempts"][0]["request"]["url"].as_str().unwrap().to_owned();
        let (path, status_code, outcome) = scenarios.into_iter().find(|(path, ..)| url.ends_with(path)).unwrap();
        assert_eq!(delivery["attempt_count"], 1, "{path}");
        assert_eq!(delivery["last_status_code"].as_u64(), status_code, "{path}");
        assert_eq!(delivery["attempts"][0]["outcome"], outcome, "{path}: {delivery}");
    }
    // None comes again, however long one waits.
    clock.advance("7d").await;
    let wanted = json!({"url": endpoint.url("/sentinel"), "events": ["PLAYER_OPTED_OUT"], "secret": API_KEY});
    tenant.api.post("/v1/webhooks", wanted).await.is(201);
    tenant.post("PLAYER_OPTED_OUT", json!({"player_id": "p", "campaign_id": "c"})).await;
    endpoint.wait("/sentinel", 1).await;
    for (path, ..) in scenarios {
        let opted_in = endpoint.at(path).into_iter().filter(|one| one.json()["event_type"] == "PLAYER_OPTED_IN");
        assert_eq!(opted_in.count(), 1, "{path}");
    }
}

/// The document's tables of fields as a schema: it is the profile's, and held to once a tenant says so.
#[tokio::test]
async fn its_schema_is_held_to() {
    let gateway = Setup::new().start().await;
    let tenant = gateway.tenant_as("unibo").await;
    let names = ["PRIZE_PAYOUT_CREATED", "PRIZE_PAYOUT_SUCCEEDED", "PLAYER_OPTED_IN", "PLAYER_OPTED_OUT"];
    let post = async |event_type: &str, data: &str| {
        let event = format!(r#"{{"type":"{event_type}","data":{data}}}"#);
        tenant.api.text("POST", "/v1/events", &event).await
    };
    for name in names {
        let path = format!("/v1/event-types/{name}");
        let seeded = tenant.api.get(&path).await.json(200);
        assert_eq!((&seeded["profile"], &seeded["enforce"]), (&json!("unibo"), &json!("off")));
        assert!(seeded["schema"]["required"].as_array().is_some_and(|fields| fields.len() >= 3), "{seeded}");
        let held = tenant.api.patch(&path, json!({"enforce": "reject"})).await.json(200);
        assert_eq!((&held["profile"], &held["schema"]), (&Value::Null, &seeded["schema"]));
    }
    for (event_type, example) in EXAMPLES {
        let status = post(event_type, example).await.status;
        assert!(status == 202 || status == 200, "{event_type}: {status}");
    }
    let (_, payout) = EXAMPLES[0];
    for (old, new, place) in [
        ("\"request_id\": \"550e8400-e29b-41d4-a716-446655440000\",", "", "#/data"),
        ("\"TODO\"", "\"LATER\"", "#/data/status"),
        ("100.5", "\"100.5\"", "#/data/amount"),
        ("\"player_id\": \"player-hash-abc123\"", "\"player_id\": 7", "#/data/player_id"),
    ] {
        assert!(payout.contains(old), "{old}");
        let places = post("PRIZE_PAYOUT_CREATED", &payout.replace(old, new)).await.problem(422, "invalid");
        assert_eq!(places, [place], "{old} → {new}");
    }
    post("PLAYER_OPTED_IN", "{").await.problem(400, "unparsable");
}
