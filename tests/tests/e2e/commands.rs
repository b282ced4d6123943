//! The command line that calls a gateway, run as a user would who has an empty home folder.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use hookmill_tests::{Gateway, Home, OPERATOR_KEY, Receiver, Setup, Tenant, eventually, standard_signature_holds};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// A key of the tenant, in clear.
async fn key(tenant: &Tenant, role: &str) -> String {
    let made = tenant.api.post("/v1/keys", json!({"role": role})).await.json(201);
    made["key"].as_str().expect("a made key is shown").to_owned()
}

/// A user who has logged in.
async fn user(tenant: &Tenant) -> Home {
    let home = Home::new();
    home.says(&["login", "--server", tenant.api.base(), "--key", &key(tenant, "admin").await]).await;
    home
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
    let error = home.fails(&create).await;
    assert!(error.contains("uid"), "a second one with the uid: {error}");
    assert_eq!(home.says(&["subscriptions", "delete", "orders"]).await, format!("{id} is removed\n"));
    assert_eq!(parsed(&home.says(&["subscriptions", "list", "--json"]).await)["data"], json!([]));

    fs::write(home.path().join("wanted.json"), format!(r#"{{"url": "{url}", "events": ["a"]}}"#)).unwrap();
    let made = parsed(&home.says(&["subscriptions", "create", "wanted.json", "--uid", "b", "--json"]).await);
    assert_eq!((&made["uid"], &made["events"]), (&json!("b"), &json!(["a"])));
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
        for word in ["deliveries", "subscriptions", "--profile", "push"] {
            assert!(script.contains(word.trim_start_matches('-')), "{shell}: {word}");
        }
    }
    let mut bash = home.program("bash");
    bash.arg("-c").arg("source /dev/stdin && complete -p hookmill");
    let done = hookmill_tests::end(bash, &home.says(&["completions", "bash"]).await).await;
    assert!(done.success && done.out.contains("-F _hookmill"), "{done:?}");
}
