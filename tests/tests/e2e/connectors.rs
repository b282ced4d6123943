//! Slack, Zapier, Google Sheets and any HTTP API, against doubles that are as strict as the originals; and that no
//! credential is ever seen again.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hookmill_tests::{Answer, Gateway, Received, Receiver, Setup, Tenant};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde_json::{Value, json};

/// A key that stands for a Google service account's, and its public half; the gateway's own tests use it too.
const PRIVATE_KEY: &str = include_str!("../../../gateway/src/egress/testdata/service-account-key.pem");
const PUBLIC_KEY: &[u8] = include_bytes!("../../../gateway/src/egress/testdata/service-account-public.der");

/// Everything that must never come back, be printed, or lie on the disk in clear.
const SECRETS: [&str; 9] = [
    "SLACKsecretTOKEN",
    "GONEsecretTOKEN",
    "ZAPsecretTOKEN",
    "ya29.",
    "BEGIN PRIVATE KEY",
    "BEARERsecretTOKEN",
    "APIKEYsecretTOKEN",
    "HEADERsecretTOKEN",
    "BOTsecretTOKEN",
];

async fn doubles() -> Receiver {
    Receiver::scripted(|request, before| {
        let ok = |text: &str| Answer::Full(200, vec![("content-type", "application/json".to_owned())], text.to_owned());
        match request.path.as_str() {
            path if path.starts_with("/services/T1/") => Answer::Full(200, vec![], "ok".to_owned()),
            path if path.starts_with("/services/T2/") => Answer::Full(404, vec![], "no_service".to_owned()),
            "/api/chat.postMessage" => ok(r#"{"ok":true,"channel":"C1","ts":"1.2"}"#),
            "/token" => ok(&json!({"access_token": format!("ya29.{before}"), "expires_in": 3600}).to_string()),
            path if path.contains("revoked") && request.header("authorization") == "Bearer ya29.0" => {
                Answer::Status(401)
            }
            // An endpoint that says back all it was told.
            "/api" => ok(&format!("{:?} {}", request.headers, request.text())),
            _ => ok("{}"),
        }
    })
    .await
}

async fn start(doubles: &Receiver) -> (Gateway, Tenant) {
    let hosts = ["hooks.slack.com", "slack.com", "hooks.zapier.com", "sheets.googleapis.com", "oauth2.googleapis.com"];
    let setup = hosts.iter().fold(Setup::new(), |setup, host| setup.map(doubles.mapping(host)));
    let gateway = setup.env("HOOKMILL_LOG", "info,hookmill=trace").start().await;
    let tenant = gateway.tenant("acme").await;
    (gateway, tenant)
}

/// What the story of Intelligems is about.
pub(super) fn experience() -> Value {
    json!({"action": "start", "experience": {"id": "exp_8842", "name": "Free <shipping> & *more*", "type": "shipping"},
           "timestamp": "2026-03-02T09:15:00Z", "triggered_by": {"email": "dana@shop.example"}})
}

/// The key file, spelled as Google spells it.
pub(super) fn key_file() -> String {
    json!({"type": "service_account", "private_key_id": "k1", "private_key": PRIVATE_KEY,
           "client_email": "robot@p.iam.gserviceaccount.com", "token_uri": "https://oauth2.googleapis.com/token"})
    .to_string()
}

/// Looks at everything a tenant can read, at what the gateway printed and at its disk.
async fn no_secret_is_seen(gateway: &mut Gateway, tenant: &Tenant) {
    let mut seen = vec![("printed".to_owned(), gateway.printed().into_bytes())];
    let mut paths: Vec<String> =
        ["subscriptions", "webhooks", "integrations/webhooks", "events", "deliveries", "sources", "keys"]
            .iter()
            .map(|list| format!("/v1/{list}"))
            .collect();
    let subscriptions = tenant.api.get("/v1/subscriptions").await.json(200);
    for one in subscriptions["data"].as_array().unwrap() {
        let path = format!("/v1/subscriptions/{}", one["id"].as_str().unwrap());
        paths.extend([format!("{path}/stats"), format!("{path}/deliveries"), path.clone()]);
        let patched = tenant.api.patch(&path, json!({"name": "renamed"})).await;
        patched.is(200);
        let preview = tenant.api.post(
            "/v1/subscriptions/preview",
            json!({
                "subscription": one["id"], "event": {"type": "experience.start", "data": experience()},
            }),
        );
        for (what, reply) in [("patch", patched), ("preview", preview.await)] {
            seen.push((format!("{what} {path}"), reply.text.into_bytes()));
        }
    }
    paths.extend(
        tenant.deliveries("").await.iter().map(|one| format!("/v1/deliveries/{}", one["id"].as_str().unwrap())),
    );
    for path in paths {
        seen.push((path.clone(), tenant.api.get(&path).await.text.into_bytes()));
    }
    // After an orderly end everything is on the disk.
    gateway.terminate().await;
    walk(&gateway.data(), &mut seen);
    for (place, bytes) in seen {
        for secret in SECRETS {
            let found = bytes.windows(secret.len()).position(|window| window == secret.as_bytes());
            if let Some(at) = found {
                let around = &bytes[at.saturating_sub(120)..(at + 60).min(bytes.len())];
                panic!("`{secret}` in {place}: …{}…", String::from_utf8_lossy(around));
            }
        }
    }
}

fn walk(folder: &Path, seen: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // Machine code, and the presets' own words in it.
        if path.ends_with("compiled") {
            continue;
        }
        match path.is_dir() {
            true => walk(&path, seen),
            false => seen.push((path.display().to_string(), std::fs::read(&path).unwrap())),
        }
    }
}

/// A message made from a template, escaped; a webhook that was removed fails once, with the reason.
#[tokio::test]
async fn slack() {
    let doubles = doubles().await;
    let (mut gateway, tenant) = start(&doubles).await;
    let connector = |more: Value| {
        let mut config = json!({"text": ":rocket: *{{ data.experience.name }}* by {{ data.triggered_by.email }}"});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"name": "slack", "config": config})
    };
    for (event, path) in [("good", "T1/B1/SLACKsecretTOKEN"), ("gone", "T2/B2/GONEsecretTOKEN")] {
        let url = format!("https://hooks.slack.com/services/{path}");
        let made = tenant.subscribe(json!({"url": url, "events": [event], "connector": connector(json!({}))})).await;
        let read = tenant.api.get(&format!("/v1/subscriptions/{}", made["id"].as_str().unwrap())).await.json(200);
        assert_eq!(read["url"], "https://hooks.slack.com/…");
        assert!(read["secrets_set"].as_array().unwrap().contains(&json!("#/url")), "{read}");
    }
    let bot = connector(json!({"channel": "C1", "token": "xoxb-BOTsecretTOKEN"}));
    tenant.subscribe(json!({"events": ["bot"], "connector": bot})).await;

    let good = tenant.post("good", experience()).await;
    let request = doubles.first("/services/T1/B1/SLACKsecretTOKEN").await;
    assert_eq!(request.header("host"), "hooks.slack.com");
    assert_eq!(request.json(), json!({"text": ":rocket: *Free &lt;shipping&gt; &amp; *more** by dana@shop.example"}));
    let delivered = tenant.status(&good, "delivered").await;
    assert_eq!(delivered["attempts"][0]["response"]["body"], "ok");

    let gone = tenant.post("gone", experience()).await;
    let failed = tenant.status(&gone, "failed").await;
    assert_eq!((&failed["attempt_count"], &failed["attempts"][0]["outcome"]), (&json!(1), &json!("gone")), "{failed}");
    assert!(failed["reason"].as_str().unwrap().contains("no_service"), "{failed}");
    assert_eq!(doubles.count("/services/T2/"), 1);

    let bot = tenant.post("bot", experience()).await;
    tenant.status(&bot, "delivered").await;
    let request = doubles.first("/api/chat.postMessage").await;
    assert_eq!(request.header("authorization"), "Bearer xoxb-BOTsecretTOKEN");
    assert_eq!(request.json()["channel"], "C1");
    no_secret_is_seen(&mut gateway, &tenant).await;
}

/// One flat object.
#[tokio::test]
async fn zapier() {
    let doubles = doubles().await;
    let (mut gateway, tenant) = start(&doubles).await;
    let url = "https://hooks.zapier.com/hooks/catch/1/ZAPsecretTOKEN/";
    tenant.subscribe(json!({"url": url, "events": ["*"], "connector": {"name": "zapier"}})).await;
    let event = json!({"id": "e1", "type": "experience.start", "timestamp": "2026-03-02T09:15:01Z", "source": "intelligems", "data": experience()});
    let receipt = tenant.api.post("/v1/events", event).await.json(202);
    tenant.status(&receipt, "delivered").await;
    assert_eq!(
        doubles.first("/hooks/catch/1/ZAPsecretTOKEN/").await.json(),
        json!({
            "id": "e1", "type": "experience.start", "timestamp": "2026-03-02T09:15:01.000Z", "source": "intelligems",
            "action": "start", "experience__id": "exp_8842", "experience__name": "Free <shipping> & *more*",
            "experience__type": "shipping", "data__timestamp": "2026-03-02T09:15:00Z",
            "triggered_by__email": "dana@shop.example",
        })
    );
    no_secret_is_seen(&mut gateway, &tenant).await;
}

/// Checks a token request as Google would.
fn check_assertion(request: &Received) {
    let assertion = request
        .text()
        .strip_prefix("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=")
        .unwrap_or_else(|| panic!("a JWT grant: {}", request.text()));
    let (signed, signature) = assertion.rsplit_once('.').unwrap();
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, PUBLIC_KEY);
    key.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).expect("the assertion's signature");
    let part = |text: &str| -> Value { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap() };
    let (head, claims) = signed.split_once('.').map(|(head, claims)| (part(head), part(claims))).unwrap();
    assert_eq!(head, json!({"alg": "RS256", "typ": "JWT", "kid": "k1"}));
    assert_eq!(claims["iss"], "robot@p.iam.gserviceaccount.com");
    assert_eq!(claims["aud"], "https://oauth2.googleapis.com/token");
    assert_eq!(claims["scope"], "https://www.googleapis.com/auth/spreadsheets");
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 3600);
}

/// A row an event, columns A to F of the Intelligems document, with one token for many rows; a token that was
/// revoked is fetched anew, once.
#[tokio::test]
async fn google_sheets() {
    let doubles = doubles().await;
    let (mut gateway, tenant) = start(&doubles).await;
    let columns = [
        ("Experience Name", "{{ data.experience.name }}"),
        ("Action Type", "{{ data.action }}"),
        ("Experience Type", "{{ data.experience.type }}"),
        ("Timestamp", "{{ data.timestamp }}"),
        ("Experience ID", "{{ data.experience.id }}"),
        ("Triggered By Email", "{{ data.triggered_by.email }}"),
    ];
    let columns: Vec<Value> = columns.iter().map(|(header, value)| json!({"header": header, "value": value})).collect();
    for sheet in ["plain", "revoked"] {
        let config =
            json!({"spreadsheet_id": sheet, "range": "Events!A:F", "service_account": key_file(), "columns": columns});
        let made = tenant
            .subscribe(json!({"events": [sheet], "connector": {"name": "google-sheets", "config": config}}))
            .await;
        assert!(!made.to_string().contains("PRIVATE KEY"), "{made}");
        assert!(
            made["secrets_set"].as_array().unwrap().contains(&json!("#/connector/config/service_account")),
            "{made}"
        );
    }
    for _ in 0..5 {
        let receipt = tenant.post("plain", experience()).await;
        tenant.status(&receipt, "delivered").await;
    }
    let tokens = doubles.at("/token");
    assert_eq!(tokens.len(), 1, "one token for five rows");
    check_assertion(&tokens[0]);
    let rows = doubles.at("/v4/spreadsheets/plain/values/Events%21A%3AF:append?");
    assert_eq!(rows.len(), 5, "{:?}", doubles.at("/v4").iter().map(|one| one.path.clone()).collect::<Vec<_>>());
    assert!(rows[0].path.contains("valueInputOption=RAW"), "{}", rows[0].path);
    assert_eq!(rows[0].header("authorization"), "Bearer ya29.0");
    let row = json!([
        "Free <shipping> & *more*",
        "start",
        "shipping",
        "2026-03-02T09:15:00Z",
        "exp_8842",
        "dana@shop.example"
    ]);
    assert_eq!(rows[0].json()["values"], json!([row]));

    let receipt = tenant.post("revoked", experience()).await;
    let delivered = tenant.status(&receipt, "delivered").await;
    assert_eq!(delivered["attempt_count"], 1, "a new token is no new attempt: {delivered}");
    assert_eq!(delivered["attempts"][0]["request"]["headers"]["authorization"], "<redacted>");
    let sent: Vec<String> =
        doubles.at("/v4/spreadsheets/revoked").iter().map(|one| one.header("authorization").to_owned()).collect();
    assert_eq!(sent, ["Bearer ya29.0", "Bearer ya29.1"]);
    assert_eq!(doubles.count("/token"), 2);
    no_secret_is_seen(&mut gateway, &tenant).await;
}

/// A custom API with mapped fields and authentication headers, which says back all it is told.
#[tokio::test]
async fn any_api() {
    let doubles = doubles().await;
    let (mut gateway, tenant) = start(&doubles).await;
    let connector = json!({"name": "http", "config": {
        "method": "PUT", "headers": {"x-kind": "{{ data.action }}"},
        "fields": {"title": "{{ data.experience.name }}", "who": {"mail": "{{ data.triggered_by.email }}"}, "n": 1.0},
    }});
    let rows = [
        (json!({"type": "bearer", "token": "BEARERsecretTOKEN"}), "authorization", "Bearer BEARERsecretTOKEN"),
        (
            json!({"type": "header", "name": "x-api-key", "value": "APIKEYsecretTOKEN"}),
            "x-api-key",
            "APIKEYsecretTOKEN",
        ),
    ];
    for (at, (auth, header, value)) in rows.into_iter().enumerate() {
        let event = format!("e{at}");
        tenant
            .subscribe(json!({
                "url": doubles.url("/api"), "events": [event], "connector": connector, "auth": auth,
                "secret_headers": {"x-second": "HEADERsecretTOKEN"}, "headers": {"x-plain": "seen"},
            }))
            .await;
        let receipt = tenant.post(&event, experience()).await;
        let delivery = tenant.status(&receipt, "delivered").await;
        let request = doubles.wait("/api", at + 1).await.pop().unwrap();
        assert_eq!(request.method, "PUT");
        for (name, value) in
            [(header, value), ("x-second", "HEADERsecretTOKEN"), ("x-plain", "seen"), ("x-kind", "start")]
        {
            assert_eq!(request.header(name), value, "{name}");
        }
        let body = r#"{"title":"Free <shipping> & *more*","who":{"mail":"dana@shop.example"},"n":1.0}"#;
        assert_eq!(request.text(), body);
        let attempt = &delivery["attempts"][0];
        assert_eq!(attempt["request"]["headers"][header], "<redacted>", "{attempt}");
        assert_eq!(attempt["request"]["headers"]["x-plain"], "seen");
        let echoed = attempt["response"]["body"].as_str().unwrap();
        assert!(
            echoed.contains("x-second") && echoed.contains("dana@shop.example"),
            "what is no secret stays: {echoed}"
        );
    }
    no_secret_is_seen(&mut gateway, &tenant).await;
}

/// A row that may have been written is not written again by itself: not after a broken connection, and not after a
/// crash in the middle of the request. A person can send it again.
#[tokio::test]
async fn a_row_is_not_written_twice() {
    let doubles = Receiver::scripted(|request, before| match request.path.as_str() {
        "/token" => Answer::Full(200, vec![], r#"{"access_token":"ya29.0","expires_in":3600}"#.to_owned()),
        path if path.contains("breaks") && before == 0 => Answer::Close,
        path if path.contains("hangs") && before == 0 => Answer::Never,
        _ => Answer::Full(200, vec![], "{}".to_owned()),
    })
    .await;
    let (mut gateway, mut tenant) = start(&doubles).await;
    for sheet in ["breaks", "hangs"] {
        let columns = json!([{"header": "A", "value": "{{ data.action }}"}]);
        let config =
            json!({"spreadsheet_id": sheet, "range": "A:A", "service_account": key_file(), "columns": columns});
        tenant.subscribe(json!({"events": [sheet], "connector": {"name": "google-sheets", "config": config}})).await;
    }
    let broken = tenant.post("breaks", experience()).await;
    let held = tenant.status(&broken, "held").await;
    assert_eq!(held["attempts"][0]["next"]["action"], "hold", "{held}");
    let hanging = tenant.post("hangs", experience()).await;
    doubles.first("/v4/spreadsheets/hangs").await;
    gateway.kill9().await;
    gateway.restart().await;
    tenant = gateway.again(&tenant);
    tenant.status(&hanging, "held").await;
    // Something later has been sent, and these have not.
    let later = tenant.post("hangs", experience()).await;
    tenant.status(&later, "delivered").await;
    assert_eq!((doubles.count("/v4/spreadsheets/breaks"), doubles.count("/v4/spreadsheets/hangs")), (1, 2));
    for receipt in [&broken, &hanging] {
        let id = tenant.status(receipt, "held").await["id"].as_str().unwrap().to_owned();
        tenant.api.poke(&format!("/v1/deliveries/{id}/retry")).await.is(200);
        tenant.status(receipt, "delivered").await;
    }
    assert_eq!((doubles.count("/v4/spreadsheets/breaks"), doubles.count("/v4/spreadsheets/hangs")), (2, 3));
}

/// Who may change a subscription but does not know its credentials can't have them sent somewhere else; who does
/// enters them again.
#[tokio::test]
async fn credentials_do_not_follow_a_new_host() {
    let gateway = Gateway::start().await;
    let tenant = gateway.tenant("acme").await;
    let auth = json!({"type": "bearer", "token": "BEARERsecretTOKEN"});
    let headers = json!({"x-second": "HEADERsecretTOKEN"});
    let url = "https://hooks.example.com/a";
    let made =
        tenant.subscribe(json!({"url": url, "events": ["never"], "auth": auth, "secret_headers": headers})).await;
    let path = format!("/v1/subscriptions/{}", made["id"].as_str().unwrap());
    tenant.api.patch(&path, json!({"url": "https://hooks.example.com/b"})).await.is(200);
    let elsewhere = tenant.api.patch(&path, json!({"url": "https://elsewhere.example.com/a"})).await;
    let mut pointers = elsewhere.problem(422, "invalid");
    pointers.sort();
    assert_eq!(pointers, ["#/auth/token", "#/secret_headers/x-second"], "{}", elsewhere.text);
    let again = json!({"url": "https://elsewhere.example.com/a", "auth": auth, "secret_headers": headers});
    let moved = tenant.api.patch(&path, again).await.json(200);
    assert_eq!(moved["url"], "https://elsewhere.example.com/a");
}
