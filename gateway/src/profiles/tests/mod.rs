//! The shipped files, and files that strangers write.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::{Broken, Profile, Profiles, SecretUse, shipped};
use crate::filter::EventPattern;
use crate::pipeline::Pipeline;

fn shipped() -> Profiles {
    let (all, broken) = Profiles::shipped(&Pipeline::prove);
    let said: Vec<String> = broken.iter().map(Broken::to_string).collect();
    assert!(said.is_empty(), "{}", said.join("\n"));
    all
}

#[test]
fn what_is_compiled_in_is_what_is_in_the_folder() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles");
    let mut files: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    files.sort();
    assert_eq!(files, shipped::FILES.iter().map(|(name, _)| *name).collect::<Vec<_>>());
}

/// The proof reads every sample with its profile's source half, so a type, an id, a time or an empty body that is not
/// what the sample says is a fault here.
#[test]
fn every_shipped_file_is_whole_and_every_sample_yields_what_it_says() {
    let all = shipped();
    assert_eq!(all.iter().len(), shipped::FILES.len());
    let samples = all.iter().flat_map(|profile| &profile.events).flat_map(|entry| &entry.samples);
    assert!(samples.count() > 300);
    for profile in all.iter() {
        assert!(profile.is_shipped && profile.source.is_some() && !profile.events.is_empty(), "{}", profile.name);
        let source = profile.source.as_ref().unwrap();
        assert!(source.secret_hint.is_some() && source.fields.contains_key("verification"), "{}", profile.name);
    }
}

/// The five systems that Hookmill can stand in for, with all of their types (`reference/systems.md`).
#[test]
fn the_reference_systems_have_both_halves_and_all_of_their_types() {
    let all = shipped();
    for (name, types) in [
        (
            "ilara",
            "player.created player.updated player.lifecycle_changed player.segment_entered player.segment_exited \
             event.* event.purchase_complete event.session_end event.subscription_start flag.evaluated \
             campaign.triggered churn.risk_high",
        ),
        (
            "loyali",
            "customer.created customer.updated points.earned points.redeemed points.expired points.adjusted \
             tier.upgraded tier.downgraded redemption.created redemption.pending redemption.approved \
             redemption.fulfilled redemption.rejected redemption.cancelled achievement.earned",
        ),
        (
            "intelligems",
            "experience.create experience.start experience.pause experience.end experience.update experience.delete",
        ),
        (
            "ltvboost",
            "response.created response.scored action.queued action.sent action.failed segment.updated segment.ready",
        ),
        ("unibo", "PRIZE_PAYOUT_CREATED PRIZE_PAYOUT_SUCCEEDED PRIZE_PAYOUT_FAILED PLAYER_OPTED_IN PLAYER_OPTED_OUT"),
    ] {
        let profile = all.get(name).unwrap();
        assert!(profile.delivery.is_some(), "{name}");
        let found: Vec<&str> = profile.events.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(found, types.split_whitespace().collect::<Vec<_>>(), "{name}");
    }
    let unibo = all.get("unibo").unwrap();
    for entry in &unibo.events {
        let kinds = if entry.name.starts_with("PRIZE") { 5 } else { 1 };
        assert_eq!((entry.samples.len(), entry.schema.is_some()), (kinds, true), "{}", entry.name);
    }
    let half = unibo.delivery.as_ref().unwrap();
    assert_eq!(
        (half.secret, half.dedupe.as_slice()),
        (SecretUse::Bearer, [crate::filter::Path::parse("$.request_id").unwrap()].as_slice())
    );
    let prefix = all.get("ilara").unwrap().delivery.as_ref().unwrap().unknown_prefix.clone();
    assert_eq!(prefix.as_deref(), Some("event."));
}

/// What a stranger writes of a product that nobody here has heard of.
const STRANGER: &str = r#"name = "acme"
title = "Acme"
about = "Anvils."

[source]
verification = { scheme = "hmac", header = "X-Acme", content = "{body}" }
extract = { id = "$.no", type = "$.what", time = "$.at" }

[delivery]
signing = { scheme = "hmac", header = "X-Acme", content = "{body}" }
retry_policy = { schedule = ["0s", "1m"] }

[delivery.envelope]
what = "{event.type}"
rest = "{data}"

[[events]]
name = "anvil.dropped"
title = "Anvil dropped"
[[events.samples]]
id = "7"
time = "2026-01-01T00:00:00Z"
body = '''
{"no": 7, "what": "anvil.dropped", "at": 1767225600, "mass": 100.0}'''
"#;

fn read(text: &str) -> Result<Profile, (usize, String)> {
    super::file::read(text, false, &Pipeline::prove)
        .map_err(|faults| faults.into_iter().map(|fault| (fault.line, fault.reason)).next().unwrap())
}

#[test]
fn a_strangers_file_is_read() {
    let profile = read(STRANGER).unwrap();
    assert_eq!(
        &*profile.events[0].samples[0].data,
        r#"{"no": 7, "what": "anvil.dropped", "at": 1767225600, "mass": 100.0}"#
    );
    assert!(profile.delivery.unwrap().envelope.is_some() && !profile.is_shipped);
}

#[test]
fn mistakes_have_a_line_and_a_reason() {
    for (old, new, line, says) in [
        ("title = \"Acme\"", "title = \"Acme", 2, "invalid"),
        ("about = ", "abuot = ", 3, "`abuot`: unknown field"),
        ("about = \"Anvils.\"", "about = \" \"", 3, "say something"),
        ("name = \"acme\"", "name = \"Acme Inc\"", 1, "1 to 64 characters"),
        ("name = \"acme\"\n", "", 1, "missing field `name`"),
        ("[source]\n", "[source]\nsecret = \"s\"\n", 6, "`source.secret`: not known here; there are `verification`"),
        (
            "header = \"X-Acme\", content = \"{body}\" }\nextract",
            "header = \"X-Acme\", contents = \"{body}\" }\nextract",
            6,
            "unknown field `contents`",
        ),
        ("content = \"{body}\" }\nextract", "content = \"{bdy}\" }\nextract", 6, "unknown placeholder {bdy}"),
        ("id = \"$.no\"", "id = \"$.no[\"", 7, "`source.extract.id`"),
        ("id = \"$.no\"", "key = \"$.no\"", 7, "extract knows"),
        ("signing = { scheme = \"hmac\"", "signing = { scheme = \"rsa\"", 10, "unknown variant `rsa`"),
        ("\"1m\"", "\"soon\"", 11, "`soon` is not a duration"),
        ("[delivery]\n", "[delivery]\nevents = [\"*\"]\n", 10, "`delivery.events`: not known here"),
        ("[delivery]\n", "[delivery]\ntimeout = \"2h\"\n", 10, "\"1s\" to \"60s\""),
        ("[delivery]\n", "[delivery]\nheaders = { Host = \"x\" }\n", 10, "`delivery.headers.Host`"),
        ("[delivery]\n", "[delivery]\nsuccess = [\"fine\"]\n", 10, "no set of status codes"),
        ("{event.type}", "{event.kind}", 14, "no placeholder {event.kind}"),
        ("name = \"anvil.dropped\"", "name = \"anvil dropped\"", 18, "event"),
        ("title = \"Anvil dropped\"", "titel = \"Anvil dropped\"", 19, "unknown field `titel`"),
        ("title = \"Anvil dropped\"", "title = \"Anvil dropped\"\nschema = \"anvil\"", 20, "not among the `schemas`"),
        ("id = \"7\"", "id = \"8\"", 21, "reads `7` and not `8`"),
        ("id = \"7\"\n", "", 20, "reads `7` and not none"),
        ("00:00:00Z", "00:00:01Z", 22, "and not `2026-01-01T00:00:01Z`"),
        ("time = \"2026-01-01T00:00:00Z\"", "time = \"yesterday\"", 22, "`events.0.samples.0.time`"),
        ("time = \"2026-01-01T00:00:00Z\"", "time = 2026-01-01T00:00:00Z", 22, "write a time as text"),
        (
            "\"what\": \"anvil.dropped\"",
            "\"what\": \"anvil.lifted\"",
            20,
            "reads `anvil.lifted` and not `anvil.dropped`",
        ),
        ("\"no\": 7,", "\"no\": 7", 20, "not JSON"),
        (
            "{\"no\": 7, \"what\": \"anvil.dropped\", \"at\": 1767225600, \"mass\": 100.0}",
            "{}",
            20,
            "finds nothing in this request",
        ),
    ] {
        assert!(STRANGER.contains(old), "{old}");
        let (found, reason) = read(&STRANGER.replacen(old, new, 1)).unwrap_err();
        assert!(found == line && reason.contains(says), "{old} → {new}: line {found}: {reason}");
    }
    let twice = format!("{STRANGER}{}", &STRANGER[STRANGER.find("[[events]]").unwrap()..]);
    let (line, reason) = read(&twice).unwrap_err();
    assert!(line == 26 && reason.contains("`anvil.dropped` is there already"), "{line}: {reason}");
    let cut = &STRANGER[..STRANGER.find("[[events.samples]]").unwrap()];
    let (line, reason) = read(cut).unwrap_err();
    assert!(line == 17 && reason.contains("at least one sample"), "{line}: {reason}");
    let (line, reason) = read("name = 'a'\ntitle = 'A'\nabout = 'A.'").unwrap_err();
    assert!(line == 1 && reason.contains("a `source`, a `delivery`, or both"), "{line}: {reason}");
}

#[test]
fn a_broken_file_takes_nothing_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let renamed = |name: &str| STRANGER.replacen("acme", name, 1);
    let names =
        |all: &Profiles| all.iter().filter(|one| !one.is_shipped).map(|one| one.name.clone()).collect::<Vec<_>>();
    let shipped = shipped();
    let load = |before: &Profiles| before.with_folder(folder.path(), &Pipeline::prove);

    write("acme.toml", STRANGER);
    write("bolt.toml", &renamed("bolt"));
    write("notes.txt", "not a profile");
    let (first, broken) = load(&shipped);
    assert_eq!((names(&first), broken), (vec!["acme".to_owned(), "bolt".to_owned()], vec![]));

    // One gets a mistake and stays as it was; one changes; one goes; three never were.
    write("acme.toml", &STRANGER.replace("title = \"Acme\"", "titel = \"Acme\""));
    write("crane.toml", &renamed("crane"));
    write("github.toml", &renamed("github"));
    write("drill.toml", &renamed("dril"));
    fs::write(folder.path().join("evil.toml"), b"name = '\xff'").unwrap();
    fs::remove_file(folder.path().join("bolt.toml")).unwrap();
    let (second, broken) = load(&first);
    assert_eq!(names(&second), ["acme", "crane"]);
    assert_eq!(second.get("acme").unwrap().title, "Acme");
    assert_eq!(second.iter().len(), shipped.iter().len() + 2);
    let said: Vec<String> = broken.iter().map(Broken::to_string).collect();
    for (at, says) in [
        "acme.toml:2: `titel`: unknown field `titel`",
        "drill.toml:1: the profile is called `dril`; rename the file to dril.toml",
        "evil.toml: is not UTF-8 from byte 8 on",
        "github.toml:1: `github` is a profile that comes with Hookmill",
    ]
    .iter()
    .enumerate()
    {
        assert!(said[at].starts_with(says), "{said:?}");
    }
    assert_eq!(said.len(), 4, "{said:?}");

    // Without the folder everything stays.
    fs::remove_dir_all(folder.path()).unwrap();
    let (third, broken) = load(&second);
    assert_eq!(names(&third), ["acme", "crane"]);
    assert!(broken[0].reason.contains("can't be read"), "{broken:?}");
}

/// What a name in `events` stands for, and what a pattern finds of the catalogue.
#[test]
fn names_that_the_product_shortens() {
    let all = shipped();
    let ilara = all.get("ilara").unwrap();
    for (name, meant) in [
        ("purchase_complete", "event.purchase_complete"),
        ("level.up", "event.level.up"),
        ("event.purchase_complete", "event.purchase_complete"),
        ("event.other", "event.other"),
        ("player.other", "player.other"),
        ("player.*", "player.*"),
        ("*", "*"),
        ("*.done", "*.done"),
        ("hookmill.delivery.failed", "hookmill.delivery.failed"),
    ] {
        assert_eq!(ilara.meant_by(name), meant);
        assert_eq!(all.get("loyali").unwrap().meant_by(name), name);
    }
    for (pattern, found) in [("tier.*", Some("tier.upgraded")), ("*", Some("customer.created")), ("a", None)] {
        let sample = all.get("loyali").unwrap().sample(&EventPattern::parse(pattern).unwrap());
        assert_eq!(sample.map(|sample| sample.event_type.as_str()), found, "{pattern}");
    }
}

/// Whose word counts in a retry policy.
#[test]
fn a_retry_policy_over_a_products() {
    let all = shipped();
    let half = all.get("ltvboost").unwrap().delivery.as_ref().unwrap();
    let theirs = ["0s", "1m", "5m", "25m", "2h5m", "10h25m"];
    for (own, whole) in [
        (json!({}), json!({"schedule": theirs, "give_up_after": "1d", "jitter": 0.0})),
        (
            json!({"max_retries": 2, "backoff": "exponential", "jitter": 0.5}),
            json!({"schedule": theirs, "max_retries": 2, "give_up_after": "1d", "jitter": 0.5}),
        ),
        (json!({"schedule": ["0s", "9s"]}), json!({"schedule": ["0s", "9s"], "give_up_after": "1d", "jitter": 0.0})),
        // An empty list is a word, too: no waits of the product's, and so the gateway's own.
        (json!({"schedule": []}), json!({"schedule": [], "give_up_after": "1d", "jitter": 0.0})),
        (
            json!({"schedule": [], "max_retries": 2}),
            json!({"schedule": [], "max_retries": 2, "give_up_after": "1d", "jitter": 0.0}),
        ),
        (json!({"backoff": "linear"}), json!({"backoff": "linear", "give_up_after": "1d", "jitter": 0.0})),
        (
            json!({"backoff": "exponential", "factor": 2.0}),
            json!({"backoff": "exponential", "factor": 2.0, "give_up_after": "1d", "jitter": 0.0}),
        ),
    ] {
        let spec = serde_json::from_value(json!({"events": ["*"], "retry_policy": own})).unwrap();
        let policy = half.under(&spec).unwrap().retry_policy;
        assert_eq!(serde_json::to_value(policy).unwrap(), whole, "{own}");
    }
}

/// A list that a profile gives can be taken away again.
#[test]
fn an_empty_list_lies_over_a_products() {
    let forwards = STRANGER.replacen("[delivery]\n", "[delivery]\nforward_headers = [\"x-a\"]\n", 1);
    let kept = forwards.replacen("[source]\n", "[source]\nkeep_headers = [\"x-a\"]\n", 1);
    let profile = read(&kept).unwrap();
    let (delivery, source) = (profile.delivery.unwrap(), profile.source.unwrap());
    for (own, left) in [(None, vec!["x-a"]), (Some(json!([])), vec![]), (Some(json!(["x-b"])), vec!["x-b"])] {
        let given = |name: &str, mut spec: serde_json::Value| {
            if let Some(own) = &own {
                spec[name] = own.clone();
            }
            spec
        };
        let spec = serde_json::from_value(given("forward_headers", json!({"events": ["*"]}))).unwrap();
        assert_eq!(delivery.under(&spec).unwrap().forward_headers(), left);
        let spec = serde_json::from_value(given("keep_headers", json!({"name": "s"}))).unwrap();
        assert_eq!(source.under(&spec).unwrap().keep_headers(), left);
    }
}
