//! Uploading, with what is compiled in this process.

use serde_json::{Value, json};

use super::world::{Answer, OPERATOR, World, text};
use crate::engine::fixtures;

const WASM: [(&str, &str); 1] = [("content-type", "application/wasm")];

async fn upload(world: &World, key: &str, bytes: Vec<u8>) -> Answer {
    world.raw("POST", "/v1/plugins", key, &WASM, bytes).await
}

#[tokio::test]
async fn who_may_upload_run_and_delete() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let run = json!({"event": {"type": "a", "data": 1}});
    for key in [OPERATOR, &tenant.ingest, &tenant.viewer] {
        upload(&world, key, fixtures::looping()).await.problem(403, "forbidden");
        world.post("/v1/plugins/looping/run", key, run.clone()).await.problem(403, "forbidden");
        world.call("DELETE", "/v1/plugins/looping", key, None).await.problem(403, "forbidden");
    }
    let uploaded = upload(&world, &tenant.editor, fixtures::looping()).await.expect(201);
    let path = format!("/v1/plugins/looping/{}", text(&uploaded, "/version"));
    assert_eq!(world.get(&path, &tenant.viewer).await.expect(200), uploaded);
    let usage = world.get(&format!("/v1/tenants/{}/usage", tenant.id), OPERATOR).await.expect(200);
    assert_eq!((&usage["plugins"], &usage["plugin_bytes"]), (&json!(1), &uploaded["size"]));
    let ran = world.post("/v1/plugins/looping/run", &tenant.editor, run).await.expect(200);
    assert_eq!((&ran["output"], &ran["fault"]["kind"]), (&json!(null), &json!("time")), "{ran}");
    world.call("DELETE", &path, &tenant.editor, None).await.expect(204);
    world.get(&path, &tenant.viewer).await.problem(404, "not-found");
}

#[tokio::test]
async fn an_upload_needs_no_idempotency_key() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let headers = [WASM[0], ("idempotency-key", "once")];
    for status in [201, 200] {
        let answer = world.raw("POST", "/v1/plugins", &tenant.editor, &headers, fixtures::looping()).await;
        answer.expect(status);
        assert!(!answer.headers.contains_key("idempotent-replayed"));
    }
}

#[tokio::test]
async fn a_form_has_these_fields() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let part = |name: &str, value: &[u8]| {
        [format!("--b\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n").as_bytes(), value, b"\r\n"].concat()
    };
    let (component, end) = (part("component", &fixtures::looping()), b"--b--\r\n".to_vec());
    let send = async |parts: &[&[u8]]| {
        let headers = [("content-type", "multipart/form-data; boundary=b")];
        world.raw("POST", "/v1/plugins", &tenant.editor, &headers, parts.concat()).await
    };
    for (parts, pointer) in [
        (vec![&part("name", b"a")[..], &end], "#/component"),
        (vec![&component[..], &component, &end], "#/component"),
        (vec![&component[..], &part("name", b"a"), &part("name", b"b"), &end], "#/name"),
        (vec![&component[..], &part("version", b"2.0.0"), &end], "#/version"),
        (vec![&component[..], &part("name", b"Not A Name"), &end], "#/name"),
    ] {
        assert_eq!(send(&parts).await.problem(422, "invalid")["errors"][0]["pointer"], pointer);
    }
    send(&[&component]).await.problem(400, "unparsable");
    assert_eq!(send(&[&component, &end]).await.expect(201)["name"], "looping");
    let other = part("name", b"other");
    assert_eq!(send(&[&other, &component, &end]).await.expect(201)["name"], "other");
    let again = upload(&world, &tenant.editor, fixtures::looping()).await.expect(200);
    assert_eq!(again["name"], "looping", "without a name it is its own");
}

#[tokio::test]
async fn what_an_upload_is_must_be_said() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let taken = "send `application/wasm`, or a form (`multipart/form-data`)";
    for (headers, says) in [
        (vec![], "the content type is missing"),
        (vec![("content-type", "")], "the content type is missing"),
        (vec![("content-type", "Text/Plain; charset=utf-8")], "`text/plain` is not taken here"),
    ] {
        let refused = world.raw("POST", "/v1/plugins", &tenant.editor, &headers, fixtures::looping()).await;
        let problem = refused.problem(415, "unsupported-media-type");
        assert_eq!(text(&problem, "/detail"), format!("{says}; {taken}"), "{headers:?}");
    }
}

#[tokio::test]
async fn pages_of_plugins() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let headers = [("content-type", "multipart/form-data; boundary=b")];
    for name in ["second", "third", "first"] {
        let head = format!(
            "--b\r\ncontent-disposition: form-data; name=\"name\"\r\n\r\n{name}\r\n\
             --b\r\ncontent-disposition: form-data; name=\"component\"\r\n\r\n"
        );
        let form = [head.as_bytes(), &fixtures::looping(), b"\r\n--b--\r\n"].concat();
        world.raw("POST", "/v1/plugins", &tenant.editor, &headers, form).await.expect(201);
    }
    let whole = world.get("/v1/plugins", &tenant.viewer).await.expect(200);
    let names = |page: &Value| -> Vec<String> {
        page["data"].as_array().unwrap().iter().map(|plugin| text(plugin, "/name")).collect()
    };
    assert_eq!((names(&whole), &whole["next"]), (vec!["first".into(), "second".into(), "third".into()], &json!(null)));
    let first = world.get("/v1/plugins?limit=2", &tenant.viewer).await.expect(200);
    assert_eq!(names(&first), ["first", "second"]);
    let next = text(&first, "/next");
    // What a page ended with may be gone by the next.
    world.call("DELETE", "/v1/plugins/second", &tenant.editor, None).await.expect(204);
    let second = world.get(&format!("/v1/plugins?limit=2&cursor={next}"), &tenant.viewer).await.expect(200);
    assert_eq!((names(&second), &second["next"]), (vec!["third".into()], &json!(null)));
    assert_eq!(names(&world.get("/v1/connectors?limit=1", &tenant.viewer).await.expect(200)), [""; 0]);
    let key = text(&world.get("/v1/keys?limit=1", &tenant.admin).await.expect(200), "/next");
    for query in ["limit=0", "limit=201", "cursor=!!", &format!("cursor={key}"), "version=1"] {
        for path in ["/v1/plugins", "/v1/connectors"] {
            world.get(&format!("{path}?{query}"), &tenant.viewer).await.problem(422, "invalid");
        }
    }
}

#[tokio::test]
async fn limits_of_a_tenant() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let path = format!("/v1/tenants/{}", tenant.id);
    let limit = async |limits| world.patch(&path, OPERATOR, json!({"limits": limits})).await.expect(200);
    limit(json!({"plugins": 0})).await;
    upload(&world, &tenant.editor, fixtures::looping()).await.problem(409, "limit-reached");
    limit(json!({"plugins": null, "plugin_bytes": fixtures::looping().len() - 1})).await;
    upload(&world, &tenant.editor, fixtures::looping()).await.problem(409, "limit-reached");
    limit(json!({"plugin_bytes": fixtures::looping().len(), "plugin_compile": "0s"})).await;
    let refused = upload(&world, &tenant.editor, fixtures::looping()).await;
    refused.problem(429, "plugin-compile-budget");
    assert_eq!(refused.headers["retry-after"], "3600");
    limit(json!({"plugin_compile": "1m"})).await;
    upload(&world, &tenant.editor, fixtures::looping()).await.expect(201);
}
