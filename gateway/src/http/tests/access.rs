//! Who gets in, and that nobody sees another tenant's.

use std::time::Duration;

use serde_json::json;

use super::world::{OPERATOR, World, text};
use crate::domain::Role;
use crate::http::guard::Access;
use crate::http::route;

fn filled(path: &str, ids: &[(&str, &str)]) -> String {
    ids.iter().fold(path.to_owned(), |path, (name, id)| path.replace(&format!("{{{name}}}"), id))
}

/// Every route with every kind of key: 401 without, 403 where the role does not reach, and never either
/// where it does.
#[tokio::test]
async fn every_route_holds_to_its_roles() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let producer = text(&world.post("/v1/keys", OPERATOR, json!({"role": "producer"})).await.expect(201), "/key");
    let keys = [
        (tenant.ingest.as_str(), Role::Ingest, true),
        (tenant.viewer.as_str(), Role::Viewer, true),
        (tenant.editor.as_str(), Role::Editor, true),
        (tenant.admin.as_str(), Role::Admin, true),
        (producer.as_str(), Role::Producer, false),
        (OPERATOR, Role::Operator, false),
    ];
    for route in route::all() {
        // Ids of nothing: who gets in finds nothing, and changes nothing.
        let path = filled(&route.path, &[("tenant", "ten_x"), ("name", "none"), ("version", "0")]);
        let path = path.replace(['{', '}'], "x");
        let method = route.method.as_str();
        let unknown = "hmk_00000000000000000000000000000000_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        for key in ["", unknown, "x"] {
            let answer = world.call(method, &path, key, None).await;
            let refused = answer.status == 401;
            assert_eq!(refused, route.access != Access::Public, "{method} {path} with `{key}`: {}", answer.status);
            if refused {
                answer.problem(401, "unauthenticated");
                assert!(answer.headers["www-authenticate"].to_str().unwrap().starts_with("Bearer"));
            }
        }
        for (key, role, of_tenant) in keys {
            let answer = world.call(method, &path, key, None).await;
            let admitted = route.access.admits(role, of_tenant);
            assert_eq!(answer.status != 403, admitted, "{method} {path} as {role:?}: {}", answer.status);
            assert_ne!(answer.status, 401, "{method} {path} as {role:?}");
            assert_ne!(answer.status, 500, "{method} {path} as {role:?}");
            if !admitted {
                let problem = answer.problem(403, "forbidden");
                assert!(text(&problem, "/detail").contains("key"), "{problem}");
            }
        }
    }
}

#[tokio::test]
async fn another_tenants_objects_are_not_there() {
    let world = World::new().await;
    let (ours, theirs) = (world.tenant("ours").await, world.tenant("theirs").await);
    let subscription = world.paused(&theirs, &["*"]).await;
    world.patch(&format!("/v1/subscriptions/{subscription}"), &theirs.editor, json!({"uid": "shop"})).await.expect(200);
    let source = text(&world.post("/v1/sources", &theirs.editor, json!({"name": "s"})).await.expect(201), "/id");
    let inbox = text(&world.call("POST", "/v1/inboxes", &theirs.editor, None).await.expect(201), "/id");
    let event =
        text(&world.post("/v1/events", &theirs.ingest, json!({"type": "a", "data": 1})).await.expect(202), "/id");
    let deliveries = world.get("/v1/deliveries", &theirs.viewer).await.expect(200);
    let delivery = text(&deliveries, "/data/0/id");
    let key = text(&world.get("/v1/keys", &theirs.admin).await.expect(200), "/data/0/id");
    world.clock.advance(Duration::from_secs(1));
    let replay = json!({"since": "2026-01-01T00:00:00Z", "only": "missing"});
    let replay = text(&world.post("/v1/replays", &theirs.editor, replay).await.expect(202), "/id");
    world.post("/v1/event-types", &theirs.editor, json!({"name": "theirs"})).await.expect(201);
    let ids = [
        ("subscription", subscription.as_str()),
        ("source", source.as_str()),
        ("inbox", inbox.as_str()),
        ("event", event.as_str()),
        ("delivery", delivery.as_str()),
        ("key", key.as_str()),
        ("replay", replay.as_str()),
        ("event_type", "theirs"),
    ];
    let mut asked = 0;
    for route in route::all() {
        let names_an_object = ids.iter().any(|(name, _)| route.path.contains(&format!("{{{name}}}")));
        let of_tenants = matches!(route.access, Access::Tenant(_) | Access::OperatorOrTenant(_));
        if !names_an_object || !of_tenants {
            continue;
        }
        for path in [filled(&route.path, &ids), filled(&route.path, &[("subscription", "uid:shop")])] {
            if path.contains('{') {
                continue;
            }
            // What it must say at least, so that nothing but the object is missing.
            let least = if route.path.ends_with("/run") { json!({"plugin": "redact"}) } else { json!({}) };
            let body = (route.method != "GET").then_some(least);
            world.call(route.method.as_str(), &path, &ours.admin, body).await.problem(404, "not-found");
            asked += 1;
        }
    }
    assert!(asked > 40, "only {asked} routes were asked");
    // And they are still there.
    for path in [
        format!("/v1/subscriptions/{subscription}"),
        format!("/v1/sources/{source}"),
        format!("/v1/inboxes/{inbox}"),
        format!("/v1/deliveries/{delivery}"),
        format!("/v1/replays/{replay}"),
    ] {
        world.get(&path, &theirs.viewer).await.expect(200);
    }
    for list in ["subscriptions", "sources", "inboxes", "events", "deliveries", "replays", "event-types"] {
        let page = world.get(&format!("/v1/{list}"), &ours.viewer).await.expect(200);
        assert_eq!(page["data"], json!([]), "{list}");
    }
    assert_eq!(world.get("/v1/keys", &ours.admin).await.expect(200)["data"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn keys_expire_and_are_revoked() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let wanted = json!({"role": "viewer", "name": "for a day", "expires_at": "2026-01-02T00:00:00Z"});
    let made = world.post("/v1/keys", &tenant.admin, wanted).await.expect(201);
    let (id, key) = (text(&made, "/id"), text(&made, "/key"));
    assert!(key.starts_with("hmk_") && key.len() == 4 + 32 + 1 + 43, "{key}");
    assert_eq!(made["expires_at"], "2026-01-02T00:00:00.000Z");
    let me = world.get("/v1/me", &key).await.expect(200);
    assert_eq!((&me["role"], &me["key_id"], &me["tenant"]["id"]), (&json!("viewer"), &json!(id), &json!(tenant.id)));
    world.clock.advance(Duration::from_secs(24 * 3600));
    let problem = world.get("/v1/me", &key).await.problem(401, "unauthenticated");
    assert!(text(&problem, "/detail").contains("expired"));
    let mut wrong = key.clone();
    wrong.replace_range(40..41, if &key[40..41] == "A" { "B" } else { "A" });
    let problem = world.get("/v1/me", &wrong).await.problem(401, "unauthenticated");
    assert!(!text(&problem, "/detail").contains("expired"), "only its holder learns that it has expired");

    let keys = world.get("/v1/keys", &tenant.admin).await;
    assert!(!String::from_utf8_lossy(&keys.body).contains("hmk_"), "keys are shown once");
    world.get("/v1/me", &tenant.viewer).await.expect(200);
    let viewer = world.get("/v1/me", &tenant.viewer).await.expect(200);
    world.call("DELETE", &format!("/v1/keys/{}", text(&viewer, "/key_id")), &tenant.admin, None).await.expect(204);
    world.get("/v1/me", &tenant.viewer).await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_tenants_key_has_a_tenants_role() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    for (key, role, path) in [
        (tenant.admin.as_str(), "operator", "/v1/keys".to_owned()),
        (tenant.admin.as_str(), "producer", "/v1/keys".to_owned()),
        (OPERATOR, "admin", "/v1/keys".to_owned()),
        (OPERATOR, "producer", format!("/v1/tenants/{}/keys", tenant.id)),
        (OPERATOR, "king", "/v1/keys".to_owned()),
    ] {
        let problem = world.post(&path, key, json!({"role": role})).await.problem(422, "invalid");
        assert_eq!(problem["errors"][0]["pointer"], "#/role", "{role}");
    }
}

#[tokio::test]
async fn a_removed_tenants_keys_are_refused() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    world.call("DELETE", &format!("/v1/tenants/{}", tenant.id), OPERATOR, None).await.expect(204);
    world.get("/v1/me", &tenant.admin).await.problem(401, "unauthenticated");
    world.get(&format!("/v1/tenants/{}", tenant.id), OPERATOR).await.problem(404, "not-found");
}
