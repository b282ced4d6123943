//! Files that strangers write: shapes of which nothing is shipped work once their folder is read again.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use hookmill_tests::{Gateway, Receiver, Setup, Tenant, eventually, hmac_hex, unix_time};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use serde_json::{Value, json};
use sha1::Sha1;

const SECRET: &str = "a secret between two strangers";
const PUBLIC: &str = "https://hooks.example";

/// HMAC-SHA-1 in base64, over the body and the URL behind it.
const ANVIL: &str = r#"name = "anvil"
title = "Anvil"
about = "Anvils and where they fall."

[source]
verification = { scheme = "hmac", header = "X-Anvil-Digest", algorithm = "sha1", encoding = "base64", content = "{body}{url}" }
extract = { id = "$.no", type = "$.what" }

[[events]]
name = "anvil.dropped"
title = "Anvil dropped"
[[events.samples]]
id = "7"
body = '''
{"no": 7, "what": "anvil.dropped"}'''
"#;

/// The type in a header, and a challenge by GET before anything is sent.
const BELL: &str = r#"name = "bell"
title = "Bell"
about = "Bells and who rings them."

[source]
verification = { scheme = "hmac", header = "X-Bell-Signature", content = "{body}", value = "sha256={signature}" }
handshake = { method = "GET", when = { "query:bell_mode" = "subscribe" }, token = "query:bell_token", answer = { text = "query:bell_challenge" } }
extract = { id = "$.ring", type = "header:x-bell-topic" }

[[events]]
name = "bell.rung"
title = "Bell rung"
[[events.samples]]
headers = { X-Bell-Topic = "bell.rung" }
id = "r1"
body = '''
{"ring": "r1"}'''
"#;

/// A time of signing as HTTP writes dates.
const CLOCK: &str = r#"name = "clock"
title = "Clock"
about = "Clocks and what they strike."

[source]
verification = { scheme = "hmac", header = "X-Clock-Signature", content = "{timestamp}\n{body}", timestamp = { header = "Date", format = "http_date" }, tolerance = "5m" }
extract = { id = "$.id", type = "$.type" }

[[events]]
name = "clock.struck"
title = "Clock struck"
[[events.samples]]
id = "c1"
body = '''
{"id": "c1", "type": "clock.struck"}'''
"#;

struct World {
    gateway: Gateway,
    tenant: Tenant,
}

impl World {
    /// The profiles there are that are not shipped.
    async fn names(&self) -> Vec<String> {
        let all = self.tenant.api.get("/v1/profiles").await.json(200);
        let own = all["data"].as_array().unwrap().iter().filter(|one| one["shipped"] == false);
        own.map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    }

    async fn source(&self, profile: &str) -> (String, String) {
        let wanted = json!({"name": profile, "profile": profile, "secret": SECRET});
        let made = self.tenant.api.post("/v1/sources", wanted).await.json(201);
        let url = made["url"].as_str().unwrap().to_owned();
        let path = url.strip_prefix(PUBLIC).unwrap().to_owned();
        (url, path)
    }

    async fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> u16 {
        let headers = [&[("content-type", "application/json")], headers].concat();
        self.gateway.public().send("POST", path, &headers, body.to_owned()).await.status
    }
}

fn write(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join(name), text).unwrap();
}

#[tokio::test]
async fn strangers_files_work_once_they_are_read_and_a_broken_one_takes_none_with_it() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "anvil.toml", ANVIL);
    let setup = Setup::new().arg("--profiles").arg(folder.path().to_str().unwrap());
    let gateway = setup.env("HOOKMILL_SERVER__PUBLIC_URL", PUBLIC).start().await;
    let tenant = gateway.tenant("acme").await;
    let world = World { gateway, tenant };
    assert_eq!(world.names().await, ["anvil"]);

    // One comes by the call, one by the signal.
    write(folder.path(), "bell.toml", BELL);
    let reloaded = world.gateway.operator().poke("/v1/profiles/reload").await.json(200);
    assert_eq!((reloaded["loaded"].as_array().map(Vec::len), &reloaded["broken"]), (Some(2), &json!([])));
    write(folder.path(), "clock.toml", CLOCK);
    world.gateway.hang_up();
    eventually("the signal has the folder read", async || (world.names().await.len() == 3).then_some(())).await;

    let (url, path) = world.source("anvil").await;
    let body = r#"{"no": 8, "what": "anvil.lifted"}"#;
    let digest = |text: &str| {
        let mac = Hmac::<Sha1>::new_from_slice(SECRET.as_bytes()).unwrap().chain_update(text);
        STANDARD.encode(mac.finalize().into_bytes())
    };
    assert_eq!(world.post(&path, &[("x-anvil-digest", &digest(&format!("{url}{body}")))], body).await, 401);
    assert_eq!(world.post(&path, &[("x-anvil-digest", &digest(&format!("{body}{url}")))], body).await, 202);

    let (_, path) = world.source("bell").await;
    let ask = async |token: &str| {
        let query = format!("{path}?bell_mode=subscribe&bell_challenge=c4711&bell_token={token}");
        world.gateway.public().get(&query).await
    };
    assert_eq!(ask("wrong").await.status, 401);
    let answer = ask(&SECRET.replace(' ', "%20")).await;
    assert_eq!((answer.status, answer.text.as_str()), (200, "c4711"));
    let body = r#"{"ring": "r2"}"#;
    let signature = format!("sha256={}", hmac_hex(SECRET, &[body.as_bytes()]));
    let headers = [("x-bell-signature", signature.as_str()), ("x-bell-topic", "bell.muffled")];
    assert_eq!(world.post(&path, &headers, r#"{"ring": "r3"}"#).await, 401);
    assert_eq!(world.post(&path, &headers, body).await, 202);

    let (_, path) = world.source("clock").await;
    let body = r#"{"id": "c2", "type": "clock.stopped"}"#;
    for (age, status) in [(0, 202), (600, 401)] {
        let at = Timestamp::from_second(i64::try_from(unix_time()).unwrap() - age).unwrap();
        let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&at).unwrap();
        let signature = hmac_hex(SECRET, &[date.as_bytes(), b"\n", body.as_bytes()]);
        assert_eq!(
            world.post(&path, &[("date", &date), ("x-clock-signature", &signature)], body).await,
            status,
            "{age}"
        );
    }
    let events = world.tenant.api.get("/v1/events").await.json(200);
    let mut types: Vec<&Value> = events["data"].as_array().unwrap().iter().map(|event| &event["type"]).collect();
    types.sort_by_key(|name| name.to_string());
    assert_eq!(types, ["anvil.lifted", "bell.muffled", "clock.stopped"]);

    // One gets a mistake: it is named, counts as it was, and the others stay; a new one with a mistake does not come.
    write(folder.path(), "clock.toml", &CLOCK.replace("http_date", "sundial"));
    write(
        folder.path(),
        "drill.toml",
        &ANVIL.replacen("anvil", "drill", 1).replace("title = \"Anvil\"", "titel = \"Drill\""),
    );
    let reloaded = world.gateway.operator().poke("/v1/profiles/reload").await.json(200);
    let broken = reloaded["broken"].as_array().unwrap();
    for (one, (file, line, says)) in
        broken.iter().zip([("clock.toml", 6, "unknown variant `sundial`"), ("drill.toml", 2, "unknown field `titel`")])
    {
        assert!(one["reason"].as_str().unwrap().contains(says), "{one}");
        assert_eq!((&one["file"], &one["line"]), (&json!(file), &json!(line)), "{one}");
    }
    assert_eq!((broken.len(), world.names().await), (2, vec!["anvil".into(), "bell".into(), "clock".into()]));
    let printed = eventually("the mistakes are in the log", async || {
        let printed = world.gateway.printed();
        printed.contains("drill.toml:2").then_some(printed)
    });
    assert!(printed.await.contains("clock.toml:6"));
}

/// How fast a subscription is sent to is the profile's word; what waits for its turn hears of a new one.
#[tokio::test]
async fn a_rate_that_a_profile_raises_frees_what_waits() {
    const SLOW: &str = r#"name = "sloth"
title = "Sloth"
about = "Sloths and what they are told."

[delivery]
rate_limit = { per = "1h", max = 1 }
"#;
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "sloth.toml", SLOW);
    let setup = Setup::new().with_clock().arg("--profiles").arg(folder.path().to_str().unwrap());
    let gateway = setup.start().await;
    let endpoint = Receiver::start().await;
    let tenant = gateway.tenant("acme").await;
    tenant.subscribe(json!({"url": endpoint.url("/"), "events": ["*"], "profile": "sloth"})).await;
    let first = tenant.post("a", json!(1)).await;
    tenant.status(&first, "delivered").await;
    let second = tenant.post("a", json!(2)).await;
    let waiting = tenant.deliveries(&format!("event_id={}", second["id"].as_str().unwrap())).await;
    assert_eq!((&waiting[0]["status"], &waiting[0]["attempt_count"]), (&json!("pending"), &json!(0)));
    // The clock stands, so nothing but the new rate can free it.
    write(folder.path(), "sloth.toml", &SLOW.replace("max = 1", "max = 2"));
    let reloaded = gateway.operator().poke("/v1/profiles/reload").await.json(200);
    assert_eq!(reloaded["broken"], json!([]));
    tenant.status(&second, "delivered").await;
}
