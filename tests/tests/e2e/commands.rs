//! The command line that calls a gateway, run as a user would who has an empty home folder.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use hookmill_tests::{
    Answer, Gateway, Guest, Home, OPERATOR_KEY, Receiver, Setup, Tenant, eventually, standard_signature_holds,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// A key of the tenant, in clear.
async fn key(tenant: &Tenant, role: &str) -> String {
    let made = tenant.api.post("/v1/keys", json!({"role": role})).await.json(201);
    made["key"].as_str().expect("a made key is shown").to_owned()
}

/// A user who has logged in.
async fn user(tenant: &Tenant) -> Home {
    Home::of(tenant, "admin").await
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test]
async fn profiles() {
    let gateway = Gateway::start().await;
    let tenant = gateway.tenant("acme").await;
    let server = tenant.api.base();
    let home = Home::new();
    assert_eq!(home.says(&["profile", "list"]).await, "none is saved; `hookmill login` saves one\n");
    let error = home.fails(&["deliveries", "list"]).await;
    assert!(error.contains("there is no key for http://127.0.0.1:8080/"), "{error}");

    let admin = key(&tenant, "admin").await;
    let error = home.fails(&["login", "--server", server, "--key", "wrong"]).await;
    assert!(error.contains("does not take this key"), "{error}");
    let file = home.path().join(".config/hookmill/profiles.toml");
    assert!(!file.exists(), "a key that is none is not saved");
    let done = home.run_with(&["login", "--server", server], &format!("{admin}\n")).await;
    assert!(done.success && done.out.starts_with("a key of the tenant acme with the role admin"), "{done:?}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(home.says(&["deliveries", "list"]).await.contains("there is no such delivery"));

    for mode in [0o644, 0o620, 0o601] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let error = home.fails(&["deliveries", "list"]).await;
        assert!(error.contains(&format!("(mode {mode:o})")) && error.contains("chmod 600"), "{error}");
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();

    let viewer = key(&tenant, "viewer").await;
    home.says(&["profile", "add", "looking", "--server", server, "--key", &viewer]).await;
    let listed = parsed(&home.says(&["profile", "list", "--json"]).await);
    let wanted = json!([
        {"name": "default", "server": server, "in_use": true},
        {"name": "looking", "server": server, "in_use": false},
    ]);
    assert_eq!(listed, wanted, "keys are not shown");
    // Whoever names no server means that of the profile in use.
    home.says(&["login", "--key", &admin]).await;
    home.says(&["profile", "add", "more", "--key", &viewer]).await;
    for name in ["", "a b/ü\"", &*"a".repeat(65)] {
        let error = home.fails(&["profile", "add", name, "--key", &viewer]).await;
        assert!(error.contains("can't be a profile's name: it is 1 to 64 of A-Z a-z 0-9 . _ -"), "{error}");
    }
    let listed = parsed(&home.says(&["profile", "list", "--json"]).await);
    let more = json!({"name": "more", "server": server, "in_use": false});
    assert_eq!(listed, json!([wanted[0], wanted[1], more]));
    home.says(&["profile", "remove", "more"]).await;
    home.says(&["profile", "use", "looking"]).await;
    let send = ["events", "send", "--type", "a.b", "--data", "1"];
    let create = ["subscriptions", "create", "--url", "https://hooks.example.com/", "--event", "a.b"];
    let error = home.fails(&create).await;
    assert!(error.contains("viewer") || error.contains("role"), "the key in use may only look: {error}");
    home.says(&[&create[..], &["--profile", "default"]].concat()).await;
    home.says(&["profile", "remove", "looking"]).await;
    let error = home.fails(&["profile", "use", "looking"]).await;
    assert!(error.contains("there is no profile `looking`; there is: default"), "{error}");

    // By the environment; and a key never goes to a server that it was not saved for.
    let mut command = home.hookmill(&send);
    command.env("HOOKMILL_SERVER", server).env("HOOKMILL_KEY", &admin);
    assert!(hookmill_tests::end(command, "").await.success);
    home.says(&["profile", "use", "default"]).await;
    let other = Gateway::start().await;
    let error = home.fails(&["deliveries", "list", "--server", other.public().base()]).await;
    assert!(error.contains("there is no key for"), "{error}");
    let error = home.fails(&["deliveries", "list", "--server", "http://127.0.0.1:1", "--key", "k"]).await;
    assert!(
        error.contains("can't reach the gateway at http://127.0.0.1:1") && error.contains("hookmill serve"),
        "{error}"
    );
    let error = home.fails(&["events", "send", "--data", "1", "--key", OPERATOR_KEY]).await;
    assert!(error.contains("that is no event"), "{error}");
}

/// The variables of the client are no settings of the gateway.
#[tokio::test]
async fn a_gateway_starts_in_a_clients_environment() {
    let setup = Setup::new().env("HOOKMILL_SERVER", "http://a").env("HOOKMILL_KEY", "k").env("HOOKMILL_PROFILE", "p");
    setup.start().await.tenant("acme").await;
}

#[tokio::test]
async fn events_are_sent_and_watched() {
    let gateway = Gateway::start().await;
    let tenant = gateway.tenant("acme").await;
    let home = user(&tenant).await;
    let mut watching = home.begin(&["events", "tail", "--json", "--data", "--type", "order.*", "--limit", "3"]);
    watching.said("watching").await;

    let data = r#"{"n": 50.00, "big": 12345678901234567890}"#;
    let said = home.says(&["events", "send", "--type", "order.paid", "--id", "order-1", "--data", data]).await;
    assert!(said.starts_with("evt_") && said.ends_with(" no subscription wants it\n"), "{said}");
    let again = home.says(&["events", "send", "--type", "order.paid", "--id", "order-1", "--data", data]).await;
    assert!(again.ends_with(" was taken before\n"), "{again}");
    let first = watching.line().await;
    assert!(first.contains(data), "byte for byte: {first}");
    assert_eq!(parsed(&first)["external_id"], "order-1");

    home.says(&["events", "send", "--type", "other", "--data", "1"]).await;
    fs::write(home.path().join("event.json"), r#"{"type": "order.sent", "data": 2}"#).unwrap();
    home.says(&["events", "send", "event.json"]).await;
    assert_eq!(parsed(&watching.line().await)["type"], "order.sent", "the other type is passed over");
    let lines = "{\"type\": \"order.a\", \"data\": 1}\n{\"type\": \"bad type\"}\n";
    let done = home.run_with(&["events", "send"], lines).await;
    assert!(!done.success && done.err.contains("1 were not taken"), "{done:?}");
    assert!(done.out.contains("0: evt_") && done.out.contains("1: not taken: "), "{done:?}");
    assert_eq!(parsed(&watching.line().await)["type"], "order.a");
    assert!(watching.ends_well().await, "it ends after three");
    let error = home.fails(&["events", "send", "--data", "{"]).await;
    assert!(error.contains("the event is not JSON"), "{error}");
}

#[tokio::test]
async fn deliveries_are_listed_shown_and_sent_again() {
    let gateway = Gateway::start().await;
    let tenant = gateway.tenant("acme").await;
    let endpoint = Receiver::statuses(&[500, 200]).await;
    let home = user(&tenant).await;
    let wanted =
        json!({"url": endpoint.url("/x"), "events": ["*"], "retry_policy": {"max_retries": 0}, "name": "Shop"});
    tenant.subscribe(wanted).await;
    let receipt = tenant.post("order.paid", json!({"n": 1})).await;
    let failed = tenant.status(&receipt, "failed").await;
    let id = failed["id"].as_str().unwrap();

    let listed = home.says(&["deliveries", "list", "--subscription", "Shop", "--status", "failed"]).await;
    assert!(listed.starts_with("DELIVERY") && listed.contains(id) && listed.contains("order.paid"), "{listed}");
    let none = home.says(&["deliveries", "list", "--status", "delivered", "--json"]).await;
    assert_eq!(parsed(&none)["data"], json!([]));
    let shown = home.says(&["deliveries", "show", id]).await;
    for part in [": failed of event", "attempt 1 at", "> POST http", "> webhook-id: ", "< 500", "then give_up"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert_eq!(parsed(&home.says(&["deliveries", "show", id, "--json"]).await)["id"], id);
    let said = home.says(&["deliveries", "retry", id]).await;
    assert!(said.starts_with(&format!("{id} is due now")), "{said}");
    tenant.status(&receipt, "delivered").await;
    for command in ["show", "retry"] {
        let error = home.fails(&["deliveries", command, "dlv_nothing"]).await;
        assert!(error.contains("there is no delivery `dlv_nothing`; there is: dlv_") && error.contains(id), "{error}");
    }
    let error = home.fails(&["deliveries", "list", "--subscription", "Shops"]).await;
    assert!(error.contains("there is no subscription `Shops`; there is: sub_") && error.contains("(Shop)"), "{error}");
}

#[tokio::test]
async fn subscriptions_from_their_making_to_their_end() {
    let gateway = Gateway::start().await;
    let tenant = gateway.tenant("acme").await;
    let endpoint = Receiver::start().await;
    let home = user(&tenant).await;
    let error = home.fails(&["subscriptions", "show", "orders"]).await;
    assert!(error.contains("there is no subscription at all"), "{error}");
    let url = endpoint.url("/orders");
    let transform = r#"redact={"paths": ["$.data.email"]}"#;
    let create =
        ["subscriptions", "create", "--url", &url, "--event", "order.*", "--uid", "orders", "--name", "The orders"];
    let made = home.says(&[&create[..], &["--transform", transform]].concat()).await;
    assert!(made.contains(" is made and active\n") && made.contains("whsec_"), "{made}");
    let id = made.split(' ').next().unwrap();
    let listed = home.says(&["subscriptions", "list"]).await;
    assert_eq!(home.says(&["subscriptions", "list", "--state", "active"]).await, listed);
    assert!(home.says(&["subscriptions", "list", "--state", "disabled"]).await.contains("there is none"));
    assert!(listed.contains(id) && listed.contains("order.*") && listed.contains("active"), "{listed}");
    for word in [id, "orders", "uid:orders", "The orders"] {
        let shown = parsed(&home.says(&["subscriptions", "show", word, "--json"]).await);
        assert_eq!((&shown["id"], &shown["events"]), (&json!(id), &json!(["order.*"])), "{word}");
    }
    let event = r#"{"type": "order.paid", "data": {"email": "ann@example.com"}}"#;
    let tested = home.says(&["subscriptions", "test", "orders", "--data", event]).await;
    assert!(tested.contains("redact@") && tested.contains("then deliver"), "{tested}");
    assert!(!endpoint.first("/orders").await.text().contains("ann@example.com"));
    assert_eq!(home.says(&["subscriptions", "pause", "orders"]).await, format!("{id} is paused\n"));
    assert_eq!(home.says(&["subscriptions", "resume", "orders"]).await, format!("{id} is active\n"));
    let update = ["subscriptions", "update", "orders"];
    let error = home.fails(&update).await;
    assert!(error.contains("say what to change"), "{error}");
    let said = home.says(&[&update[..], &["--event", "order.paid", "--name", "Paid orders"]].concat()).await;
    assert_eq!(said, format!("{id} is changed and active\n"));
    fs::write(home.path().join("change.json"), r#"{"name": null, "metadata": {"team": "a"}}"#).unwrap();
    let changed = parsed(&home.says(&[&update[..], &["change.json", "--json"]].concat()).await);
    assert_eq!((&changed["name"], &changed["metadata"]), (&Value::Null, &json!({"team": "a"})));
    assert_eq!((&changed["events"], &changed["secrets_set"]), (&json!(["order.paid"]), &json!(["#/secret"])));
    assert_eq!(changed["transforms"][0]["config"], json!({"paths": ["$.data.email"]}), "what is not named stays");
    let error = home.fails(&create).await;
    assert!(error.contains("uid"), "a second one with the uid: {error}");
    assert_eq!(home.says(&["subscriptions", "delete", "orders"]).await, format!("{id} is removed\n"));
    assert_eq!(parsed(&home.says(&["subscriptions", "list", "--json"]).await)["data"], json!([]));

    fs::write(home.path().join("wanted.json"), format!(r#"{{"url": "{url}", "events": ["a"]}}"#)).unwrap();
    let made = parsed(&home.says(&["subscriptions", "create", "wanted.json", "--uid", "b", "--json"]).await);
    assert_eq!((&made["uid"], &made["events"]), (&json!("b"), &json!(["a"])));
}

/// A version of a plugin that says which one it is.
async fn stamp(tenant: &Tenant, version: &str) {
    let guest = Guest::new("stamp", version).makes(&format!(r#"{{"made":"{version}"}}"#));
    tenant.upload(guest.build()).await.is(201);
}

#[tokio::test]
async fn versions_are_listed_and_deleted() {
    let gateway = Gateway::start().await;
    let tenant = gateway.tenant("acme").await;
    let home = user(&tenant).await;
    for version in ["1.0.0", "1.1.0"] {
        stamp(&tenant, version).await;
    }
    let all = home.says(&["plugin", "list"]).await;
    assert!(all.starts_with("PLUGIN ") && all.contains("\nredact ") && all.contains("  a preset\n"), "{all}");
    let own = home.says(&["plugin", "list", "stamp"]).await;
    assert!(own.contains("\nstamp   1.0.0    transform  ") && own.lines().count() == 3, "{own}");
    let read = parsed(&home.says(&["plugin", "list", "stamp", "--json"]).await);
    assert_eq!((&read["name"], read["versions"].as_array().map(Vec::len)), (&json!("stamp"), Some(2)));
    let error = home.fails(&["plugin", "list", "stmp"]).await;
    assert!(error.contains("there is no plugin `stmp`; ") && error.contains("stamp@1.1.0"), "{error}");

    let wanted = json!({"url": "https://hooks.example.com/", "events": ["*"], "transforms": [{"plugin": "stamp"}]});
    let subscription = tenant.subscribe(wanted).await;
    let error = home.fails(&["plugin", "delete", "stamp@1.1.0"]).await;
    let id = subscription["id"].as_str().unwrap();
    assert!(error.contains("is used by") && error.contains(id), "{error}");
    let error = home.fails(&["plugin", "delete", "stamp"]).await;
    assert!(error.ends_with("say which version; there is: stamp@1.0.0, stamp@1.1.0\n"), "{error}");
    assert_eq!(home.says(&["plugin", "delete", "stamp@1.0.0"]).await, "stamp@1.0.0 is removed\n");
    let error = home.fails(&["plugin", "delete", "stamp@1.0.0"]).await;
    assert!(error.contains("there is no plugin `stamp@1.0.0`; ") && error.contains("stamp@1.1.0"), "{error}");
    let error = home.fails(&["plugin", "delete", "redact@0.1.0"]).await;
    assert!(error.starts_with("hookmill: `redact` "), "what everybody has is said to be so: {error}");
}

/// What was sent is made again by any version of its plugin, and what plugins use is told.
#[tokio::test]
async fn deliveries_are_made_again_and_not_sent() {
    let gateway = Gateway::start().await;
    let tenant = gateway.tenant("acme").await;
    let endpoint = Receiver::start().await;
    let home = user(&tenant).await;
    for version in ["1.0.0", "1.1.0"] {
        stamp(&tenant, version).await;
    }
    tenant.upload(Guest::new("stamp", "1.2.0").makes("{}").doing("unreachable").build()).await.is(201);
    let wanted = json!({"url": endpoint.url("/x"), "events": ["*"], "transforms": [{"plugin": "stamp@1.0.0"}]});
    tenant.subscribe(wanted).await;
    let receipt = tenant.post("a", json!(1)).await;
    let delivery = tenant.status(&receipt, "delivered").await;
    let id = delivery["id"].as_str().unwrap();

    let run = ["deliveries", "run", id, "--plugin"];
    let by = |args: &[&'static str]| [&run[..], args].concat();
    let same = home.says(&by(&["stamp@1.0.0"])).await;
    assert!(same.starts_with(&format!("{id} made again by stamp@1.0.0; nothing is sent\n")), "{same}");
    assert!(same.contains("\n  stamp@1.0.0 ran for ") && same.contains("\n  > POST http"), "{same}");
    assert!(same.ends_with("\n  the same as what was sent\n"), "{same}");
    let other = home.says(&by(&["stamp@1.1.0"])).await;
    let differs = "\n  otherwise than what was sent:\n    replace /body/data/made: \"1.1.0\"\n";
    assert!(other.ends_with(differs), "{other}");
    let read = parsed(&home.says(&by(&["stamp@1.1.0", "--config", r#"{"n": 1}"#, "--json"])).await);
    assert_eq!((&read["plugin"], &read["same"]), (&json!("stamp@1.1.0"), &json!(false)));
    let done = home.run(&by(&["stamp@1.2.0"])).await;
    assert!(!done.success && done.err.ends_with("hookmill: stamp@1.2.0 faulted\n"), "{done:?}");
    assert!(
        done.out.contains("\n  nothing would be sent: ") && done.out.contains("something was sent then"),
        "{done:?}"
    );
    for (args, words) in [
        (by(&["redact"]), ["#/plugin: ", "redact"]),
        (by(&["stamp", "--config", "{"]), ["--config is not JSON", ""]),
        (vec!["deliveries", "run", "dlv_nothing", "--plugin", "stamp"], ["there is no delivery `dlv_nothing`; ", id]),
    ] {
        let error = home.fails(&args).await;
        assert!(words.iter().all(|word| error.contains(*word)), "{error}");
    }
    assert_eq!(endpoint.count("/x"), 1, "nothing was sent");

    let used = home.says(&["plugin", "usage"]).await;
    assert!(used.starts_with("PLUGIN ") && used.contains("\nstamp@1.0.0  "), "{used}");
    let read = parsed(&home.says(&["plugin", "usage", "--json"]).await);
    let of = read["plugins"].as_array().unwrap().iter().find(|one| one["plugin"] == "stamp@1.0.0");
    assert!(of.is_some_and(|of| of["calls"].as_u64() >= Some(1) && of["faults"] == json!({})), "{read}");
    let most = read["cpu_per_minute"].as_str().unwrap_or("as much processor time as there is");
    assert!(used.contains(most), "{used}");
}

/// What is refused is said once, with when to come back, and for scripts as the gateway gives it.
#[tokio::test]
async fn refusals() {
    let problem =
        json!({"type": "/problems/plugin-cpu-budget", "title": "All is used", "status": 429, "detail": "used up"});
    let answer = problem.to_string();
    let busy = Receiver::scripted(move |_, _| {
        let json = ("content-type", "application/problem+json".to_owned());
        Answer::Full(429, vec![json, ("retry-after", "7".to_owned())], answer.clone())
    })
    .await;
    let home = Home::new();
    let server = busy.url("");
    let list = ["plugin", "list", "--server", &server, "--key", "k"];
    let done = home.run(&list).await;
    assert!(!done.success && done.out.is_empty(), "{done:?}");
    assert_eq!(done.err, "hookmill: used up; try again in 7 s\n");
    let done = home.run(&[&list[..], &["--json"]].concat()).await;
    assert_eq!(done.err, "hookmill: used up; try again in 7 s\n");
    assert!(!done.success && done.out.lines().count() == 1, "{done:?}");
    assert_eq!(parsed(&done.out), json!({"error": problem}));

    let gateway = Gateway::start().await;
    let home = user(&gateway.tenant("acme").await).await;
    let create = ["subscriptions", "create", "--url", "https://hooks.example.com/", "--event", "a"];
    let error = home.fails(&[&create[..], &["--transform", "nothing"]].concat()).await;
    assert!(error.starts_with("hookmill: #/transforms/0/plugin: there is no plugin `nothing`"), "{error}");
    assert_eq!(error.matches("there is no plugin").count(), 1, "{error}");
    for (args, missing) in [
        (&["plugin", "list", "nothing"][..], "plugin `nothing`"),
        (&["plugin", "delete", "nothing"][..], "plugin `nothing`"),
        (&["deliveries", "show", "nothing"][..], "delivery `nothing`"),
        (&["subscriptions", "show", "nothing"][..], "subscription `nothing`"),
    ] {
        let done = home.run(&[args, &["--json"]].concat()).await;
        assert!(done.err.starts_with(&format!("hookmill: there is no {missing}; ")), "{done:?}");
        assert!(!done.success && !done.err.contains("no such"), "{done:?}");
        let told = parsed(&done.out);
        let (kind, status) = (&told["error"]["type"], &told["error"]["status"]);
        assert_eq!((kind, status), (&json!("/problems/not-found"), &json!(404)));
    }
}

/// From a version to a newer one and back: watched in the shadow, given a share, pinned, followed.
#[tokio::test]
async fn versions_are_tried_pinned_and_rolled_back() {
    let gateway = Gateway::start().await;
    let tenant = gateway.tenant("acme").await;
    let endpoint = Receiver::start().await;
    let home = user(&tenant).await;
    for version in ["1.0.0", "1.1.0"] {
        stamp(&tenant, version).await;
    }
    let redact = json!({"plugin": "redact", "config": {"paths": ["$.data.email"]}});
    let wanted = json!({"uid": "orders", "url": endpoint.url("/"), "events": ["*"], "envelope": "none",
        "transforms": [redact, {"plugin": "stamp@1.0.0"}]});
    let made = tenant.subscribe(wanted).await;
    let id = made["id"].as_str().unwrap();
    let mut sent = 0;
    let mut makes = async |version: &str| {
        tenant.post("a", json!({"email": "ann@example.com"})).await;
        sent += 1;
        let all = endpoint.wait("/", sent).await;
        assert_eq!(all[sent - 1].json(), json!({"made": version}));
    };
    let use_it = ["subscriptions", "use", "orders"];
    let says = async |args: &[&str]| home.says(&[&use_it[..], args].concat()).await;

    for (plugin, words) in [
        ("slack", &["it has no step `slack`; it has redact@", ", stamp@1.0.0"][..]),
        ("stamp@9.0.0", &["there is no `stamp@9.0.0`; there are stamp@1.0.0, stamp@1.1.0"][..]),
    ] {
        let error = home.fails(&[&use_it[..], &[plugin]].concat()).await;
        assert!(words.iter().all(|word| error.contains(*word)), "{error}");
    }
    let rollout = ["subscriptions", "rollout", "orders"];
    assert!(home.says(&rollout).await.contains("tries nothing"));

    let said = says(&["stamp@1.1.0", "--shadow"]).await;
    assert_eq!(said, format!("{id} uses stamp@1.0.0; stamp@1.1.0 runs in its shadow\n"));
    makes("1.0.0").await;
    let told = eventually("a comparison", async || {
        let told = home.says(&rollout).await;
        told.contains("  1 compared: ").then_some(told)
    })
    .await;
    for part in [
        "#/transforms/1: stamp@1.1.0 runs in the shadow of stamp@1.0.0; since 20",
        "  1 compared: 0 the same (0.0 %), 1 otherwise\n",
        "  stamp@1.0.0: 1 call, no faults; ",
        "  stamp@1.1.0: 1 call, no faults; ",
        " times the time\n  evt_",
        "    replace /event/data/made: \"1.1.0\"\n",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let read = parsed(&home.says(&[&rollout[..], &["--json"]].concat()).await);
    assert_eq!(read["steps"][0]["compared"], 1);
    let error = home.fails(&["plugin", "delete", "stamp@1.1.0"]).await;
    assert!(error.contains("is used by"), "what is tried is used: {error}");

    let said = says(&["stamp@1.1.0", "--percent", "10"]).await;
    assert_eq!(said, format!("{id} uses stamp@1.0.0; stamp@1.1.0 gets 10 % of its events\n"));
    assert!(home.says(&rollout).await.contains("gets 10 % of the events of stamp@1.0.0"));
    assert_eq!(says(&["stamp@1.1.0"]).await, format!("{id} uses stamp@1.1.0\n"));
    makes("1.1.0").await;
    assert_eq!(says(&["stamp@1.0.0"]).await, format!("{id} uses stamp@1.0.0\n"));
    makes("1.0.0").await;
    assert_eq!(says(&["stamp@^1"]).await, format!("{id} uses stamp@^1, which is 1.1.0 now\n"));
    makes("1.1.0").await;
    stamp(&tenant, "1.2.0").await;
    makes("1.2.0").await;
    let read = parsed(&says(&["stamp", "--json"]).await);
    assert_eq!(read["transforms"], json!([made["transforms"][0], {"plugin": "stamp@1.2.0", "config": {}}]));
    assert!(home.says(&rollout).await.contains("tries nothing"));
}

/// A change of the version, or of what is tried, leaves the config as it was, with its secrets.
#[tokio::test]
async fn another_version_keeps_the_secrets_of_a_config() {
    let slack = Receiver::scripted(|_, _| {
        let json = ("content-type", "application/json".to_owned());
        Answer::Full(200, vec![json], r#"{"ok":true,"channel":"C1","ts":"1.2"}"#.to_owned())
    })
    .await;
    let gateway = Setup::new().map(slack.mapping("slack.com")).start().await;
    let tenant = gateway.tenant("acme").await;
    let home = user(&tenant).await;
    let schema = r#"{"type":"object","required":["key"],"properties":{"key":{"type":"string","writeOnly":true}}}"#;
    for version in ["1.0.0", "1.1.0"] {
        tenant.upload(Guest::new("sealing", version).schema(schema).build()).await.is(201);
    }
    let connector = json!({"name": "slack",
        "config": {"text": "{{ data.x }}", "token": "xoxb-very-secret-token", "channel": "#a"}});
    let made = tenant
        .subscribe(json!({"uid": "orders", "events": ["*"], "connector": connector,
            "transforms": [{"plugin": "sealing@1.0.0", "config": {"key": "a-key"}}]}))
        .await;
    let set = &made["secrets_set"];
    for place in ["#/connector/config/token", "#/transforms/0/config/key"] {
        assert!(set.as_array().unwrap().contains(&json!(place)), "{made}");
    }
    for args in [
        &["slack@latest"][..],
        &["slack", "--shadow"],
        &["slack", "--percent", "50"],
        &["slack"],
        &["sealing@1.1.0", "--shadow"],
        &["sealing@1.1.0", "--percent", "0"],
        &["sealing@1.1.0"],
    ] {
        let changed = parsed(&home.says(&[&["subscriptions", "use", "orders"][..], args, &["--json"]].concat()).await);
        assert_eq!(&changed["secrets_set"], set, "{args:?}");
        assert_eq!(changed["connector"]["config"], made["connector"]["config"], "{args:?}");
    }
    let read = tenant.api.get("/v1/subscriptions/uid:orders").await.json(200);
    assert_eq!(read["transforms"], json!([{"plugin": "sealing@1.1.0", "config": {}}]));
    tenant.post("a", json!({"x": 1})).await;
    let sent = slack.first("/api/chat.postMessage").await;
    assert_eq!(sent.header("authorization"), "Bearer xoxb-very-secret-token");
}

/// What a subscription would get comes to a program here, signed with the subscription's own secret; afterwards nothing
/// of it is left.
#[tokio::test]
async fn listening() {
    let gateway = Gateway::start().await;
    let tenant = gateway.tenant("acme").await;
    let endpoint = Receiver::start().await;
    let program = Receiver::statuses(&[500, 200]).await;
    let home = user(&tenant).await;
    let wanted = json!({
        "uid": "orders", "url": endpoint.url("/x"), "events": ["order.*"], "filters": {"n": {"gte": 5}},
        "transforms": [{"plugin": "redact", "config": {"paths": ["$.data.email"]}}], "headers": {"x-shop": "1"},
    });
    let made = tenant.subscribe(wanted).await;
    let secret = made["secret"].as_str().unwrap();
    // It is paused, and listened to all the same.
    tenant.api.poke("/v1/subscriptions/uid:orders/pause").await.is(200);
    let inboxes = tenant.api.get("/v1/inboxes").await.json(200)["data"].clone();

    let to = program.url("/hook?a=b");
    let mut listening = home.begin(&["listen", "orders", "--to", &to, "--limit", "2", "--json"]);
    assert_eq!(parsed(&listening.line().await)["listening"], to);
    tenant.post("order.paid", json!({"n": 4})).await;
    tenant.post("order.paid", json!({"n": 5, "email": "ann@example.com"})).await;
    let line = parsed(&listening.line().await);
    assert_eq!((&line["status_code"], &line["problem"]), (&json!(500), &Value::Null));
    let handed_on = program.first("/hook?a=b").await;
    assert_eq!((handed_on.method.as_str(), handed_on.header("x-shop")), ("POST", "1"));
    assert!(standard_signature_holds(&handed_on, secret));
    let body = handed_on.json();
    assert_eq!(body["data"]["n"], 5, "the one below the filter did not come");
    assert_ne!(body["data"]["email"], "ann@example.com");
    // Large ones too.
    tenant.post("order.sent", json!({"n": 6, "text": "x".repeat(900_000)})).await;
    assert_eq!(parsed(&listening.line().await)["status_code"], 200);
    assert_eq!(program.all()[1].json()["data"]["text"].as_str().map(str::len), Some(900_000));
    assert!(listening.ends_well().await);
    assert_eq!(program.all().len(), 2, "what the program refuses is not sent again");
    assert_eq!(endpoint.all().len(), 0);
    let left = || async {
        let subscriptions = tenant.api.get("/v1/subscriptions").await.json(200)["data"].as_array().unwrap().len();
        (subscriptions, tenant.api.get("/v1/inboxes").await.json(200)["data"].clone())
    };
    assert_eq!(left().await, (1, inboxes.clone()), "nothing temporary is left");

    // By Ctrl-C, and without a subscription; a program that is not there is no end.
    let mut listening = home.begin(&["listen", "--event", "order.*", "--port", "1"]);
    listening.said("a secret made for this: whsec_").await;
    assert!(listening.line().await.starts_with("what is delivered goes to http://127.0.0.1:1/"));
    tenant.post("order.sent", json!({"n": 7})).await;
    let line = listening.line().await;
    assert!(line.contains("can't reach http://127.0.0.1:1/"), "{line}");
    let pid = Pid::from_raw(listening.child.id().unwrap().cast_signed()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    assert!(listening.ends_well().await);
    eventually("nothing temporary is left", async || (left().await == (1, inboxes.clone())).then_some(())).await;
}

#[tokio::test]
async fn completions() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = home.says(&["completions", shell]).await;
        for word in ["deliveries", "subscriptions", "--profile", "push", "rollout"] {
            assert!(script.contains(word.trim_start_matches('-')), "{shell}: {word}");
        }
    }
    let mut bash = home.program("bash");
    bash.arg("-c").arg("source /dev/stdin && complete -p hookmill");
    let done = hookmill_tests::end(bash, &home.says(&["completions", "bash"]).await).await;
    assert!(done.success && done.out.contains("-F _hookmill"), "{done:?}");
}
