//! The stream of what happens.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use super::world::{Tenant, World, text};
use crate::http::Readiness;

/// An open stream, read message by message.
struct Stream {
    body: Body,
    text: String,
}

impl World {
    async fn watch(&self, tenant: &Tenant, kind: &str, last: Option<&str>) -> Stream {
        let mut request = Request::builder().uri(format!("/v1/stream?kind={kind}"));
        request = request.header("authorization", format!("Bearer {}", tenant.viewer));
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = self.answer(request.body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut stream = Stream { body: response.into_body(), text: String::new() };
        assert_eq!(stream.next().await.unwrap(), ": watching");
        stream
    }
}

impl Stream {
    /// The next message; `None` at the end.
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some((message, rest)) = self.text.split_once("\n\n") {
                let message = message.to_owned();
                self.text = rest.to_owned();
                return Some(message);
            }
            let frame = tokio::time::timeout(Duration::from_secs(30), self.body.frame()).await;
            let frame = frame.expect("something is said in time")?;
            self.text.push_str(std::str::from_utf8(&frame.unwrap().into_data().unwrap()).unwrap());
        }
    }

    /// The name, the id and the data of the next message.
    async fn told(&mut self) -> (String, String, Value) {
        let message = self.next().await.expect("there is more");
        let field = |name: &str| {
            let line = message.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.map(str::trim_start).unwrap_or_default().to_owned()
        };
        (field("event"), field("id"), serde_json::from_str(&field("data")).unwrap_or_else(|_| panic!("{message}")))
    }
}

#[tokio::test]
async fn events_are_told_as_they_come() {
    let world = World::new().await;
    let (tenant, other) = (world.tenant("a").await, world.tenant("b").await);
    world.paused(&tenant, &["a"]).await;
    let post = async |who: &Tenant, event_type: &str| {
        let event = json!({"type": event_type, "data": {"secret": "none of it is told"}});
        text(&world.post("/v1/events", &who.ingest, event).await.expect(202), "/id")
    };
    let before = post(&tenant, "a").await;
    let mut stream = world.watch(&tenant, "events", None).await;
    post(&other, "a").await;
    let first = post(&tenant, "a").await;
    let (name, id, event) = stream.told().await;
    assert_eq!((name.as_str(), &id, &event["id"]), ("event", &first, &json!(first)), "not what came before");
    assert_eq!((&event["type"], &event["deliveries"]), (&json!("a"), &json!(1)));
    assert!(event.get("data").is_none(), "{event}");

    world.clock.advance(Duration::from_secs(15));
    assert_eq!(stream.next().await.unwrap(), ": ");
    drop(stream);
    let second = post(&tenant, "b").await;
    let mut stream = world.watch(&tenant, "events", Some(&first)).await;
    let mut told: Vec<String> = Vec::new();
    while told.last() != Some(&second) {
        told.push(stream.told().await.1);
    }
    // What is at most two seconds older by its id is told again. Ids never go back within a process, and other tests
    // have other clocks: here the first ones may be that close.
    let known = [&before, &first, &second];
    assert!(told.is_sorted() && told.iter().all(|id| known.contains(&id)), "{told:?}: what came since");
    let third = post(&tenant, "c").await;
    assert_eq!(stream.told().await.1, third);
    let mut stream = world.watch(&tenant, "events", Some("evt_1")).await;
    assert_eq!(stream.told().await, ("lost".to_owned(), String::new(), json!({"count": null})));
}

#[tokio::test]
async fn deliveries_are_told_as_they_change() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let wanted =
        json!({"url": "https://nowhere.test/hooks", "events": ["a"], "retry_policy": {"schedule": ["0s", "1m"]}});
    world.post("/v1/subscriptions", &tenant.editor, wanted).await.expect(201);
    let mut stream = world.watch(&tenant, "deliveries", None).await;
    world.post("/v1/events", &tenant.ingest, json!({"type": "a", "data": 1})).await.expect(202);
    let (name, id, delivery) = stream.told().await;
    assert_eq!((name.as_str(), &delivery["id"]), ("delivery", &json!(id)));
    assert_eq!((&delivery["status"], &delivery["attempt_count"]), (&json!("pending"), &json!(1)));
    let attempt = &delivery["attempt"];
    assert_eq!(
        (&attempt["number"], &attempt["outcome"], &attempt["blame"]),
        (&json!(1), &json!("unreachable"), &json!("network"))
    );
    let path = format!("/v1/deliveries/{id}/cancel");
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    // Until its attempt is written down it is being sent.
    while world.call("POST", &path, &tenant.editor, None).await.status != 200 {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (_, _, delivery) = stream.told().await;
    assert_eq!((&delivery["status"], &delivery["attempt"]), (&json!("cancelled"), &Value::Null));
    let mut stream = world.watch(&tenant, "deliveries", Some(&id)).await;
    assert_eq!(stream.told().await.0, "lost", "what happened meanwhile is not known");
}

#[tokio::test]
async fn who_is_slow_is_told_what_is_lost() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let mut stream = world.watch(&tenant, "events", None).await;
    for _ in 0..3 {
        let batch: Vec<Value> = (0..100).map(|n| json!({"type": "a", "data": n})).collect();
        world.post("/v1/events", &tenant.ingest, json!(batch)).await.expect(202);
    }
    let (name, _, lost) = stream.told().await;
    assert_eq!((name.as_str(), lost), ("lost", json!({"count": 44})));
    for _ in 0..256 {
        assert_eq!(stream.told().await.0, "event");
    }
    let last = world.post("/v1/events", &tenant.ingest, json!({"type": "a", "data": 0})).await.expect(202);
    assert_eq!(stream.told().await.1, text(&last, "/id"));
}

#[tokio::test]
async fn streams_end() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    world.get("/v1/stream?kind=everything", &tenant.viewer).await.problem(422, "invalid");
    world.get("/v1/stream", &tenant.ingest).await.problem(403, "forbidden");
    let mut streams = Vec::new();
    for _ in 0..10 {
        streams.push(world.watch(&tenant, "events", None).await);
    }
    world.get("/v1/stream", &tenant.viewer).await.problem(409, "limit-reached");
    streams.pop();
    world.watch(&tenant, "deliveries", None).await;
    // With its key.
    let me = world.get("/v1/me", &tenant.viewer).await.expect(200);
    world.call("DELETE", &format!("/v1/keys/{}", text(&me, "/key_id")), &tenant.admin, None).await.expect(204);
    world.clock.advance(Duration::from_secs(15));
    assert_eq!(streams.pop().unwrap().next().await, None);
    // With its tenant, and with the gateway.
    let (gone, here) = (world.tenant("b").await, world.tenant("c").await);
    let mut ends = [world.watch(&gone, "events", None).await, world.watch(&here, "events", None).await];
    let path = format!("/v1/tenants/{}", gone.id);
    world.call("DELETE", &path, super::world::OPERATOR, None).await.expect(204);
    assert_eq!(ends[0].next().await, None);
    world.readiness.send_replace(Readiness::Draining);
    assert_eq!(ends[1].next().await, None);
}
