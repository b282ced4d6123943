//! Every shipped profile as a source: what its product would post is taken, and what it would not is refused.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use ring::signature::{self, KeyPair as _};
use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Sha256, Sha512};

use super::world::{OPERATOR, Tenant, World, text};
use crate::pipeline::Pipeline;
use crate::profiles::{Profile, Profiles, Sample};

/// A key of a product, on its side.
enum Key {
    Text(String),
    Ed25519(ed25519_dalek::SigningKey),
    Ecdsa(Box<signature::EcdsaKeyPair>),
}

const CURVE: &signature::EcdsaSigningAlgorithm = &signature::ECDSA_P256_SHA256_ASN1_SIGNING;

/// A secret as the product would show it, and the key it signs with. `seed` tells two of a kind apart.
fn secret(verification: &Value, seed: u8) -> (String, Key) {
    match (verification["scheme"].as_str().unwrap(), verification["algorithm"].as_str()) {
        ("standard", Some("ed25519")) => {
            let key = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]);
            (format!("whpk_{}", STANDARD.encode(key.verifying_key().as_bytes())), Key::Ed25519(key))
        }
        ("standard", _) => {
            let text = format!("whsec_{}", STANDARD.encode([seed; 32]));
            (text.clone(), Key::Text(text))
        }
        ("asymmetric", Some("ed25519")) => {
            let key = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]);
            (hex::encode(key.verifying_key().as_bytes()), Key::Ed25519(key))
        }
        ("asymmetric", _) => {
            let random = ring::rand::SystemRandom::new();
            let pkcs8 = signature::EcdsaKeyPair::generate_pkcs8(CURVE, &random).unwrap();
            let key = signature::EcdsaKeyPair::from_pkcs8(CURVE, pkcs8.as_ref(), &random).unwrap();
            // SubjectPublicKeyInfo of a P-256 key (RFC 5480): a fixed head, then the point.
            let head = hex::decode("3059301306072a8648ce3d020106082a8648ce3d030107034200").unwrap();
            (STANDARD.encode([&head, key.public_key().as_ref()].concat()), Key::Ecdsa(Box::new(key)))
        }
        _ => {
            let text = format!("a secret of the tests, number {seed}");
            (text.clone(), Key::Text(text))
        }
    }
}

/// A request, ready to be posted.
struct Request {
    headers: Vec<(String, String)>,
    query: String,
    body: String,
}

/// A sample with the signature that `verification` describes, made at `at`. Written after the description in the API and
/// not with the signing room, so that the two check each other.
fn signed(verification: &Value, key: &Key, sample: &Sample, url: &str, at: Timestamp) -> Request {
    let field = |name: &str| verification[name].as_str().map(str::to_owned);
    let mut headers: Vec<(String, String)> = sample.headers.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    let mut body = sample.body.clone();
    let query = sample.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
    let find = |headers: &[(String, String)], name: &str| {
        headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
    };
    match verification["scheme"].as_str().unwrap() {
        "shared" => {
            let Key::Text(secret) = key else { panic!("a shared secret is text") };
            headers.push(match verification["in"].as_str().unwrap() {
                "bearer" => ("authorization".to_owned(), format!("Bearer {secret}")),
                "header" => (field("name").unwrap(), secret.clone()),
                other => panic!("no shipped profile sends it as {other}"),
            });
        }
        "standard" => {
            let prefix = match find(&headers, "svix-id") {
                Some(_) => "svix",
                None => "webhook",
            };
            let name = format!("{prefix}-id");
            let id = find(&headers, &name).unwrap_or_else(|| {
                headers.push((name.clone(), "msg_1".to_owned()));
                "msg_1".to_owned()
            });
            let content = format!("{id}.{}.{body}", at.as_second());
            headers.push((format!("{prefix}-timestamp"), at.as_second().to_string()));
            let (version, signature) = match key {
                Key::Text(secret) => {
                    let bytes = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
                    ("v1", digest("sha256", &bytes, content.as_bytes()))
                }
                Key::Ed25519(key) => ("v1a", ed25519_dalek::Signer::sign(key, content.as_bytes()).to_bytes().to_vec()),
                Key::Ecdsa(_) => panic!("Standard Webhooks has no ECDSA"),
            };
            headers.push((format!("{prefix}-signature"), format!("{version},{}", STANDARD.encode(signature))));
        }
        _ => {
            let form = &verification["timestamp"];
            let time = match (form["format"].as_str(), form["unit"].as_str()) {
                (Some("rfc3339"), _) => at.to_string(),
                (Some("http_date"), _) => rfc2822::to_string(&at.to_zoned(jiff::tz::TimeZone::UTC)).unwrap(),
                (_, Some("ms")) => at.as_millisecond().to_string(),
                _ => at.as_second().to_string(),
            };
            if let Some(path) = form["body"].as_str() {
                // The one that stands in the body is as old as the sample is.
                let name = format!("\"{}\": ", path.strip_prefix("$.").unwrap());
                let from = body.find(&name).unwrap() + name.len();
                let to = from + body[from..].find(|c: char| !c.is_ascii_digit()).unwrap();
                body.replace_range(from..to, &time);
            }
            if let Some(name) = form["header"].as_str().map(str::to_owned).or_else(|| field("timestamp_header")) {
                headers.retain(|(found, _)| !found.eq_ignore_ascii_case(&name));
                headers.push((name, time.clone()));
            }
            let mut content = field("content").unwrap();
            for (name, value) in headers.clone() {
                let wanted = format!("{{header:{}}}", name.to_lowercase());
                if let Some(place) = content.to_lowercase().find(&wanted) {
                    content.replace_range(place..place + wanted.len(), &value);
                }
            }
            let mut pairs: Vec<(String, String)> = url::form_urlencoded::parse(body.as_bytes()).into_owned().collect();
            pairs.sort();
            let pairs: String = pairs.into_iter().map(|(name, value)| name + &value).collect();
            let content = content
                .replace("{timestamp}", &time)
                .replace("{method}", "POST")
                .replace("{url}", &format!("{url}{query}"))
                .replace("{form}", &pairs)
                .replace("{body}", &body);
            let raw = match key {
                Key::Text(secret) => digest(&field("algorithm").unwrap(), secret.as_bytes(), content.as_bytes()),
                Key::Ed25519(key) => ed25519_dalek::Signer::sign(key, content.as_bytes()).to_bytes().to_vec(),
                Key::Ecdsa(key) => {
                    key.sign(&ring::rand::SystemRandom::new(), content.as_bytes()).unwrap().as_ref().to_vec()
                }
            };
            let signature = match verification["encoding"].as_str().unwrap() {
                "hex" => hex::encode(raw),
                _ => STANDARD.encode(raw),
            };
            let value = field("value").unwrap_or_else(|| "{signature}".to_owned());
            let value = value.replace("{signature}", &signature).replace("{timestamp}", &time);
            // Shopify's second family has a header of its own.
            let second = verification["headers"][0].as_str().filter(|_| find(&headers, "shopify-topic").is_some());
            headers.push((second.map_or_else(|| field("header").unwrap(), str::to_owned), value));
        }
    }
    Request { headers, query, body }
}

fn digest(algorithm: &str, key: &[u8], content: &[u8]) -> Vec<u8> {
    macro_rules! mac {
        ($hash:ty) => {
            Hmac::<$hash>::new_from_slice(key).unwrap().chain_update(content).finalize().into_bytes().to_vec()
        };
    }
    match algorithm {
        "sha1" => mac!(Sha1),
        "sha512" => mac!(Sha512),
        _ => mac!(Sha256),
    }
}

/// The ways of proof of a profile, as it writes them. Those of Standard Webhooks are two: the secret says whether the
/// product signs with it or with a private key.
fn ways(profile: &Profile) -> Vec<Value> {
    let written = match &profile.source.as_ref().unwrap().fields["verification"] {
        Value::Array(ways) => ways.clone(),
        one => vec![one.clone()],
    };
    let asymmetric = written.iter().filter(|way| way["scheme"] == "standard").map(|way| {
        let mut way = way.clone();
        way["algorithm"] = "ed25519".into();
        way
    });
    let asymmetric: Vec<Value> = asymmetric.collect();
    [written, asymmetric].concat()
}

/// Whether what a product says of an event's time is when it signed the request.
fn is_time_of_signing(profile: &Profile, way: &Value) -> bool {
    let extract = &profile.source.as_ref().unwrap().fields["extract"];
    let header = way["timestamp"]["header"].as_str().or_else(|| way["timestamp_header"].as_str());
    let place = header.map(|name| format!("header:{name}"));
    extract["time"].as_str().zip(place).is_some_and(|(time, place)| time.eq_ignore_ascii_case(&place))
}

async fn source(world: &World, tenant: &Tenant, profile: &str, secret: &str) -> (String, String) {
    let wanted = json!({"name": profile, "profile": profile, "secret": secret});
    let made = world.post("/v1/sources", &tenant.editor, wanted).await.expect(201);
    (text(&made, "/id"), text(&made, "/url"))
}

async fn post(world: &World, id: &str, request: &Request) -> super::world::Answer {
    let headers: Vec<(&str, &str)> =
        request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let has_type = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let json = [("content-type", "application/json")];
    let headers = [if has_type { &[] } else { json.as_slice() }, &headers].concat();
    world.raw("POST", &format!("/in/{id}{}", request.query), "", &headers, request.body.clone()).await
}

#[tokio::test]
async fn every_sample_of_every_profile_is_taken_as_its_own_type_id_and_time() {
    let world = World::new().await;
    let (all, _) = Profiles::shipped(&Pipeline::prove);
    let mut taken = 0;
    for profile in all.iter() {
        for (at, way) in ways(profile).iter().enumerate() {
            let tenant = world.tenant(&format!("{}-{at}", profile.name)).await;
            let (secret, key) = secret(way, 7);
            let (id, url) = source(&world, &tenant, &profile.name, &secret).await;
            for sample in profile.events.iter().flat_map(|entry| &entry.samples) {
                let what = format!("{} {at}: {} {:?}", profile.name, sample.event_type, sample.name);
                let now = world.clock.now();
                let answer = post(&world, &id, &signed(way, &key, sample, &url, now)).await;
                assert!(answer.status.is_success(), "{what}: {}", String::from_utf8_lossy(&answer.body));
                let path = format!("/v1/events?source_id={id}&type={}&limit=1", sample.event_type);
                let found = world.get(&path, &tenant.viewer).await.expect(200);
                let event = &found["data"][0];
                assert_eq!(event["type"], sample.event_type.as_str(), "{what}");
                assert_eq!(event["external_id"].as_str(), sample.id.as_deref(), "{what}");
                let time: Timestamp = text(event, "/timestamp").parse().unwrap();
                let wanted = sample.time.filter(|_| !is_time_of_signing(profile, way)).unwrap_or(now);
                assert_eq!(time.as_millisecond(), wanted.as_millisecond(), "{what}");
                let path = format!("/v1/events/{}", text(event, "/id"));
                let event = world.get(&path, &tenant.viewer).await.expect(200);
                let members = event["data"].as_object().unwrap_or_else(|| panic!("{what}: {event}"));
                assert!(!members.is_empty(), "{what}");
                taken += 1;
            }
        }
    }
    assert!(taken > 300, "{taken}");
}

#[tokio::test]
async fn no_profile_takes_what_its_product_has_not_signed() {
    let world = World::new().await;
    let (all, _) = Profiles::shipped(&Pipeline::prove);
    for profile in all.iter() {
        for (at, way) in ways(profile).iter().enumerate() {
            let tenant = world.tenant(&format!("{}-{at}", profile.name)).await;
            let (secret, key) = self::secret(way, 7);
            let (id, url) = source(&world, &tenant, &profile.name, &secret).await;
            let sample = &profile.events[0].samples[0];
            let now = world.clock.now();
            let fresh = || signed(way, &key, sample, &url, now);
            let mut forged: Vec<(&str, Request)> = Vec::new();
            forged.push(("the wrong secret", signed(way, &self::secret(way, 8).1, sample, &url, now)));
            let mut bare = fresh();
            bare.headers.clone_from(&sample.headers.clone().into_iter().collect());
            forged.push(("no signature", bare));
            let is_shared = way["scheme"] == "shared";
            if !is_shared {
                let mut body = fresh();
                let mark = if body.body.starts_with(['{', '[']) { " " } else { "&more=1" };
                body.body.push_str(mark);
                forged.push(("another body", body));
            }
            let content = way["content"].as_str().unwrap_or_default();
            if content.contains("{url}") {
                let mut elsewhere = fresh();
                elsewhere.query.push_str(if elsewhere.query.is_empty() { "?more=1" } else { "&more=1" });
                forged.push(("another URL", elsewhere));
            }
            let signed_header = ["webhook-id", "svix-id", "twitch-eventsub-message-id"];
            let mut renamed = fresh();
            let of_scheme = way["scheme"] == "standard" || content.contains("{header:");
            if let Some((_, value)) = renamed
                .headers
                .iter_mut()
                .find(|(name, _)| of_scheme && signed_header.iter().any(|signed| name.eq_ignore_ascii_case(signed)))
            {
                value.push('x');
                forged.push(("another id", renamed));
            }
            let timed =
                way["scheme"] == "standard" || content.contains("{timestamp}") || way["timestamp"]["body"].is_string();
            if timed {
                let hour = jiff::SignedDuration::from_hours(1);
                forged.push(("an hour late", signed(way, &key, sample, &url, now - hour)));
                forged.push(("an hour early", signed(way, &key, sample, &url, now + hour)));
                let mut shifted = fresh();
                let name = way["timestamp"]["header"].as_str().or_else(|| way["timestamp_header"].as_str());
                let shift = |value: &mut String| {
                    *value =
                        value.replace("2026-01-01T00:00:00", "2026-01-01T00:00:01").replace("1767225600", "1767225601")
                };
                let header = shifted.headers.iter_mut().find(|(found, _)| {
                    name.is_some_and(|name| found.eq_ignore_ascii_case(name)) || found.ends_with("-timestamp")
                });
                if let Some((_, value)) = header {
                    shift(value);
                    forged.push(("another time", shifted));
                }
            }
            for (how, request) in &forged {
                let answer = post(&world, &id, request).await;
                assert_eq!(
                    answer.status,
                    401,
                    "{} {at} with {how}: {}",
                    profile.name,
                    String::from_utf8_lossy(&answer.body)
                );
            }
            assert!(post(&world, &id, &fresh()).await.status.is_success(), "{} {at}", profile.name);
            let found = world.get(&format!("/v1/events?source_id={id}"), &tenant.viewer).await.expect(200);
            assert_eq!(found["data"].as_array().unwrap().len(), 1, "{} {at}", profile.name);
        }
    }
}

/// While a source's secret is being replaced, the product may sign with either; afterwards with the new one alone.
#[tokio::test]
async fn every_profile_takes_the_old_secret_until_the_overlap_is_over() {
    let world = World::new().await;
    let (all, _) = Profiles::shipped(&Pipeline::prove);
    let mut rotated = Vec::new();
    for profile in all.iter() {
        for (at, way) in ways(profile).into_iter().enumerate() {
            let tenant = world.tenant(&format!("{}-{at}", profile.name)).await;
            let ((old, old_key), (new, new_key)) = (secret(&way, 7), secret(&way, 8));
            let (id, url) = source(&world, &tenant, &profile.name, &old).await;
            let sample = profile.events[0].samples[0].clone();
            let now = world.clock.now();
            let what = format!("{} {at}", profile.name);
            assert_eq!(post(&world, &id, &signed(&way, &new_key, &sample, &url, now)).await.status, 401, "{what}");
            let rotation = json!({"secret": new, "overlap": "1h"});
            world.post(&format!("/v1/sources/{id}/rotate-secret"), &tenant.editor, rotation).await.expect(200);
            for key in [&old_key, &new_key] {
                let answer = post(&world, &id, &signed(&way, key, &sample, &url, now)).await;
                assert!(answer.status.is_success(), "{what}: {}", String::from_utf8_lossy(&answer.body));
            }
            rotated.push((what, way, old_key, new_key, id, url, sample));
        }
    }
    for (waited, old_counts) in [(3_599, true), (1, false)] {
        world.clock.advance(std::time::Duration::from_secs(waited));
        let now = world.clock.now();
        for (what, way, old_key, new_key, id, url, sample) in &rotated {
            for (key, counts) in [(old_key, old_counts), (new_key, true)] {
                let answer = post(&world, id, &signed(way, key, sample, url, now)).await;
                let said = String::from_utf8_lossy(&answer.body);
                // Where the time is in the body, the same id comes with other content: believed, and then refused.
                let believed = answer.status.is_success() || answer.status == 409;
                assert_eq!(believed, counts, "{what}: {said}");
                assert!(counts || answer.status == 401, "{what}: {said}");
            }
        }
    }
}

/// While a secret is being replaced, PagerDuty signs with both and lists the two; one that fits is enough.
#[tokio::test]
async fn one_of_two_listed_signatures_is_enough() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let (all, _) = Profiles::shipped(&Pipeline::prove);
    let profile = all.get("pagerduty").unwrap();
    let way = &ways(profile)[0];
    let ((own, key), (_, other), (_, third)) = (secret(way, 7), secret(way, 8), secret(way, 9));
    let (id, url) = source(&world, &tenant, "pagerduty", &own).await;
    let sample = &profile.events[0].samples[0];
    let value = |key: &Key| {
        let request = signed(way, key, sample, &url, world.clock.now());
        let header = request.headers.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("x-pagerduty-signature"));
        header.expect("it is signed").1
    };
    let (own, other, third) = (value(&key), value(&other), value(&third));
    assert!(own.starts_with("v1="), "{own}");
    for (listed, is_taken) in [
        (format!("{own},{other}"), true),
        (format!("{other},{own}"), true),
        (format!("{other}, {own}"), true),
        (format!("{other},{third}"), false),
        (format!("{other},v2={}", own.trim_start_matches("v1=")), false),
    ] {
        let mut request = signed(way, &key, sample, &url, world.clock.now());
        request.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("x-pagerduty-signature"));
        request.headers.push(("X-PagerDuty-Signature".to_owned(), listed.clone()));
        let answer = post(&world, &id, &request).await;
        assert_eq!(answer.status.is_success(), is_taken, "{listed}: {}", String::from_utf8_lossy(&answer.body));
        assert!(is_taken || answer.status == 401);
    }
}

/// What Slack, Discord, Twitch and Zoom ask before they send anything.
#[tokio::test]
async fn questions_are_answered_and_are_no_events() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let (all, _) = Profiles::shipped(&Pipeline::prove);
    let validated = hex::encode(digest("sha256", b"a secret of the tests, number 7", b"qgg8vlvZRS6UYooatFL8Aw"));
    for (name, headers, body, status, wanted) in [
        (
            "slack",
            [("a", "b")],
            r#"{"token":"t","challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P","type":"url_verification"}"#,
            200,
            "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P".to_owned(),
        ),
        ("discord", [("a", "b")], r#"{"id":"1","type":1}"#, 200, r#"{"type":1}"#.to_owned()),
        ("discord-events", [("a", "b")], r#"{"version":1,"application_id":"1","type":0}"#, 204, String::new()),
        (
            "twitch",
            [("twitch-eventsub-message-type", "webhook_callback_verification")],
            r#"{"challenge":"pogchamp-kappa-360noscope-vohiyo","subscription":{"type":"channel.follow"}}"#,
            200,
            "pogchamp-kappa-360noscope-vohiyo".to_owned(),
        ),
        (
            "zoom",
            [("a", "b")],
            r#"{"event":"endpoint.url_validation","payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"},"event_ts":1654503849680}"#,
            200,
            format!(r#"{{"plainToken":"qgg8vlvZRS6UYooatFL8Aw","encryptedToken":"{validated}"}}"#),
        ),
    ] {
        let profile = all.get(name).unwrap();
        let way = &ways(profile)[0];
        let (secret, key) = secret(way, 7);
        let (id, url) = source(&world, &tenant, name, &secret).await;
        let mut sample = profile.events[0].samples[0].clone();
        sample.body = body.to_owned();
        sample.headers.extend(headers.map(|(name, value)| (name.to_owned(), value.to_owned())));
        if name == "twitch" {
            sample.headers.retain(|name, value| {
                !name.eq_ignore_ascii_case("twitch-eventsub-message-type") || value != "notification"
            });
        }
        let answer = post(&world, &id, &signed(way, &key, &sample, &url, world.clock.now())).await;
        assert_eq!(
            (answer.status.as_u16(), String::from_utf8_lossy(&answer.body).into_owned()),
            (status, wanted),
            "{name}"
        );
        let unsigned = Request { headers: Vec::new(), query: String::new(), body: body.to_owned() };
        assert_eq!(post(&world, &id, &unsigned).await.status, 401, "{name}");
        let found = world.get(&format!("/v1/events?source_id={id}"), &tenant.viewer).await.expect(200);
        assert_eq!(found["data"], json!([]), "{name}");
    }
}

/// Unibo gives no ids: the same payout in the same state is one event, opting in twice is two.
#[tokio::test]
async fn what_is_the_same_is_for_the_profile_to_say() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let (id, _) = source(&world, &tenant, "unibo", "key").await;
    let payout =
        |state: &str| json!({"event_type": format!("PRIZE_PAYOUT_{state}"), "request_id": "r-1", "amount": 1.0});
    let opted = json!({"event_type": "PLAYER_OPTED_IN", "player_id": "p", "campaign_id": "c"});
    for body in [payout("CREATED"), payout("CREATED"), payout("SUCCEEDED"), opted.clone(), opted] {
        let headers = vec![("authorization".to_owned(), "Bearer key".to_owned())];
        let request = Request { headers, query: String::new(), body: body.to_string() };
        assert!(post(&world, &id, &request).await.status.is_success());
    }
    let found = world.get(&format!("/v1/events?source_id={id}"), &tenant.viewer).await.expect(200);
    let mut types: Vec<&str> =
        found["data"].as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect();
    types.sort_unstable();
    assert_eq!(types, ["PLAYER_OPTED_IN", "PLAYER_OPTED_IN", "PRIZE_PAYOUT_CREATED", "PRIZE_PAYOUT_SUCCEEDED"]);
}

#[tokio::test]
async fn a_users_own_settings_lie_over_the_profiles() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let problem = world.post("/v1/sources", &tenant.editor, json!({"name": "x", "profile": "github"})).await;
    let problem = problem.problem(422, "invalid");
    assert!(text(&problem, "/errors/0/detail").contains("Settings → Webhooks"), "{problem}");
    for (profile, says) in [("nobody", "there is no profile `nobody`"), ("", "there is no profile")] {
        let wanted = json!({"name": "x", "profile": profile, "secret": "s"});
        let problem = world.post("/v1/sources", &tenant.editor, wanted).await.problem(422, "invalid");
        assert!(text(&problem, "/errors/0/detail").contains(says), "{problem}");
    }
    let wanted = json!({"name": "hub", "profile": "github", "secret": "s", "keep_headers": ["x-github-event"],
                        "extract": {"time": "$.repository.pushed_at?"}});
    let made = world.post("/v1/sources", &tenant.editor, wanted).await.expect(201);
    assert_eq!(made["profile"], "github");
    assert_eq!(made["verification"]["header"], "X-Hub-Signature-256");
    assert_eq!(made["keep_headers"], json!(["x-github-event"]));
    assert_eq!(made["extract"]["id"], "header:x-github-delivery");
    assert_eq!(made["extract"]["time"], "$.repository.pushed_at?");
    // Without the profile nothing that it gave is left, and what was written is.
    let path = format!("/v1/sources/{}", text(&made, "/id"));
    let patched = world.patch(&path, &tenant.editor, json!({"profile": null})).await.expect(200);
    assert_eq!((&patched["profile"], &patched["verification"]), (&Value::Null, &Value::Null));
    assert_eq!(patched["extract"], json!({"time": "$.repository.pushed_at?"}));
    // With another one, that one's.
    let patched = world.patch(&path, &tenant.editor, json!({"profile": "linear"})).await.expect(200);
    assert_eq!(patched["verification"]["header"], "Linear-Signature");
    // A rotation writes down what was written, not what the profile gives.
    let rotated =
        world.post(&format!("{path}/rotate-secret"), &tenant.editor, json!({"overlap": "1h"})).await.expect(200);
    assert_eq!(rotated["verification"]["header"], "Linear-Signature");
    let patched = world.patch(&path, &tenant.editor, json!({"profile": null})).await.expect(200);
    assert_eq!(patched["verification"], Value::Null);
}

/// What a subscription was given, and what it reads as; what is written down is what was written.
#[tokio::test]
async fn a_subscription_says_only_what_differs_from_its_profile() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let wanted = json!({"url": "https://example.com", "profile": "ilara", "events": ["purchase_complete", "player.*", "*"],
                        "retry_policy": {"max_retries": 3, "backoff": "exponential"}, "headers": {"x-mine": "1"}});
    let made = world.post("/v1/subscriptions", &tenant.editor, wanted.clone()).await.expect(201);
    assert_eq!((&made["profile"], &made["events"]), (&json!("ilara"), &wanted["events"]));
    assert_eq!((&made["signing"]["header"], &made["body_format"]), (&json!("x-ilara-signature"), &json!("js")));
    assert_eq!(
        (&made["envelope"], &made["timeout"], &made["success"]),
        (&json!("profile"), &json!("30s"), &json!(["2xx"]))
    );
    let waits = ["0s", "1m", "5m", "30m", "2h"];
    assert_eq!(made["retry_policy"], json!({"schedule": waits, "max_retries": 3, "jitter": 0.0}));
    let path = format!("/v1/subscriptions/{}", text(&made, "/id"));
    let patch = async |patch: Value| world.patch(&path, &tenant.editor, patch).await;

    // A part of the profile's word is changed; the rest of it stays the profile's, also over what rewrites the whole.
    let patched = patch(json!({"signing": {"header": "x-mine"}, "timeout": "5s"})).await.expect(200);
    assert_eq!(
        (&patched["signing"]["header"], &patched["signing"]["value"]),
        (&json!("x-mine"), &json!("sha256={signature}"))
    );
    world.call("POST", &format!("{path}/pause"), &tenant.editor, None).await.expect(200);
    world
        .call("POST", &format!("{path}/rotate-secret"), &tenant.admin, Some(json!({"overlap": "0s"})))
        .await
        .expect(200);
    let patched = patch(json!({"profile": "loyali", "signing": null})).await.expect(200);
    assert_eq!(
        (&patched["signing"]["header"], &patched["body_format"]),
        (&json!("X-Loyali-Signature"), &json!("kept"))
    );
    assert_eq!((&patched["timeout"], &patched["retry_policy"]["max_retries"]), (&json!("5s"), &json!(3)));
    // Waits of one's own take the place of the profile's.
    let patched = patch(json!({"retry_policy": {"backoff": "fixed", "initial": "10s"}})).await.expect(200);
    let own = json!({"max_retries": 3, "backoff": "fixed", "initial": "10s", "jitter": 0.0});
    assert_eq!(patched["retry_policy"], own);
    let problem = patch(json!({"retry_policy": {"backoff": null, "initial": null, "max_retries": 9}})).await;
    assert_eq!(problem.problem(422, "invalid")["errors"][0]["pointer"], "#/retry_policy/max_retries");

    // Without a profile it signs as usual, which takes another kind of secret.
    let problem = patch(json!({"profile": null})).await.problem(422, "invalid");
    assert_eq!(problem["errors"][0]["pointer"], "#/secret");
    let patched = patch(json!({"profile": null, "secret": null})).await.expect(200);
    assert_eq!((&patched["profile"], &patched["signing"]), (&Value::Null, &json!({"scheme": "standard"})));
    assert_eq!((&patched["envelope"], &patched["timeout"]), (&json!("standard"), &json!("5s")));

    let wanted = json!({"url": "https://example.com", "events": ["a"], "profile": "github"});
    let problem = world.post("/v1/subscriptions", &tenant.editor, wanted).await.problem(422, "invalid");
    assert!(text(&problem, "/errors/0/detail").contains("for sources"), "{problem}");
}

/// A tenant's profile is that of its subscriptions that say nothing, as it was when they were made.
#[tokio::test]
async fn a_tenants_profile() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let path = format!("/v1/tenants/{}", tenant.id);
    let problem = world.patch(&path, OPERATOR, json!({"profile": "github"})).await.problem(422, "invalid");
    assert_eq!(problem["errors"][0]["pointer"], "#/profile");
    assert_eq!(world.patch(&path, OPERATOR, json!({"profile": "unibo"})).await.expect(200)["profile"], "unibo");
    let me = world.get("/v1/me", &tenant.viewer).await.expect(200);
    assert_eq!(me["tenant"]["profile"], "unibo");
    let make = async |with: Value| {
        let mut wanted = json!({"url": "https://example.com", "events": ["*"]});
        wanted.as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
        world.post("/v1/webhooks", &tenant.editor, wanted).await
    };
    let made = make(json!({"secret": "key"})).await.expect(201);
    assert_eq!(
        (&made["profile"], &made["secret"], &made["user_agent"]),
        (&json!("unibo"), &Value::Null, &json!("Unibo-Webhooks/1.0"))
    );
    assert_eq!((&made["auth"], &made["secrets_set"]), (&json!({"type": "bearer"}), &json!(["#/auth/token"])));
    let one = format!("/v1/subscriptions/{}", text(&made, "/id"));
    let cleared = world.patch(&one, &tenant.editor, json!({"secret": null})).await.expect(200);
    assert_eq!((&cleared["auth"], &cleared["secrets_set"]), (&Value::Null, &json!([])));
    let both = json!({"secret": "key", "auth": {"type": "bearer", "token": "key"}});
    assert_eq!(make(both).await.problem(422, "invalid")["errors"][0]["pointer"], "#/secret");
    // Who signs all the same signs with the secret.
    let signs = json!({"secret": "key", "signing": {"scheme": "hmac", "header": "x-mine"}});
    assert_eq!(make(signs).await.expect(201)["secret"], "key");
    for (with, profile) in [(json!({"profile": null}), Value::Null), (json!({"profile": "loyali"}), json!("loyali"))] {
        assert_eq!(make(with).await.expect(201)["profile"], profile);
    }
    world.patch(&path, OPERATOR, json!({"profile": null})).await.expect(200);
    assert_eq!(world.get(&one, &tenant.viewer).await.expect(200)["profile"], "unibo");
    assert_eq!(make(json!({})).await.expect(201)["profile"], Value::Null);
}

#[tokio::test]
async fn profiles_are_listed_and_read() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let list = world.get("/v1/profiles", &tenant.viewer).await.expect(200);
    let list = list["data"].as_array().unwrap();
    let unibo = list.iter().find(|one| one["name"] == "unibo").unwrap();
    assert_eq!(
        (&unibo["has_source"], &unibo["has_delivery"], &unibo["event_count"], &unibo["sample_count"]),
        (&json!(true), &json!(true), &json!(5), &json!(17))
    );
    assert!(list.len() > 30);
    for one in list {
        let profile = world.get(&format!("/v1/profiles/{}", text(one, "/name")), OPERATOR).await.expect(200);
        assert_eq!(profile["events"].as_array().unwrap().len(), one["event_count"]);
        assert!(profile["events"][0]["samples"][0]["data"].is_object(), "{one}");
    }
    let unibo = world.get("/v1/profiles/unibo", &tenant.viewer).await;
    // Bytes are kept, in the text of the answer as everywhere.
    assert!(String::from_utf8_lossy(&unibo.body).contains("\"percentage_value\": 100.0"));
    assert_eq!(unibo.json()["delivery"]["envelope"]["..."], "{data}");
    world.get("/v1/profiles/nobody", &tenant.viewer).await.problem(404, "not-found");
    // No folder was named, so there is nothing to read again; and it is the operator's word.
    world.call("POST", "/v1/profiles/reload", &tenant.admin, None).await.problem(403, "forbidden");
    let problem = world.call("POST", "/v1/profiles/reload", OPERATOR, None).await.problem(409, "conflict");
    assert!(text(&problem, "/detail").contains("profiles.dir"), "{problem}");
}
