//! Where a gateway may post to: nothing of the network it stands in, under whatever name and at whatever time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hookmill_tests::{Answer, Gateway, NameServer, Receiver, Said, Setup, Tenant, Tripwire, eventually};
use serde_json::{Value, json};

/// Hosts that need no name server, and what each is called. This gateway's own address is its own before it is a
/// loopback address.
const LITERALS: &[(&str, &str)] = &[
    // One address in all the spellings that a URL knows.
    ("127.0.0.1", "gateway itself"),
    ("127.0.0.1.", "gateway itself"),
    ("127.1", "gateway itself"),
    ("127.0.1", "gateway itself"),
    ("2130706433", "gateway itself"),
    ("0x7f000001", "gateway itself"),
    ("0x7f.1", "gateway itself"),
    ("0x7F.0x0.0x0.0x1", "gateway itself"),
    ("0177.0.0.1", "gateway itself"),
    ("017700000001", "gateway itself"),
    ("%31%32%37.0.0.1", "gateway itself"),
    ("①②⑦.0.0.1", "gateway itself"),
    ("127。0。0。1", "gateway itself"),
    // Loopback.
    ("127.0.0.2", "loopback"),
    ("127.255.255.254", "loopback"),
    ("[::1]", "loopback"),
    ("[0:0:0:0:0:0:0:1]", "loopback"),
    ("localhost", "loopback"),
    ("LocalHost", "loopback"),
    ("localhost.", "loopback"),
    ("foo.localhost", "loopback"),
    ("a.b.localhost.", "loopback"),
    // This network, unspecified.
    ("0.0.0.0", "this network"),
    ("0", "this network"),
    ("0.1.2.3", "this network"),
    ("[::]", "unspecified"),
    // Private and shared.
    ("10.0.0.1", "private"),
    ("10.255.255.255", "private"),
    ("0xa.1", "private"),
    ("172.16.0.1", "private"),
    ("172.31.255.255", "private"),
    ("192.168.0.1", "private"),
    ("3232235521", "private"),
    ("100.64.0.1", "carrier"),
    ("100.127.255.255", "carrier"),
    ("[fc00::1]", "private"),
    ("[fd12:3456::1]", "private"),
    // Metadata services.
    ("169.254.169.254", "metadata"),
    ("2852039166", "metadata"),
    ("0xa9fea9fe", "metadata"),
    ("0251.0376.0251.0376", "metadata"),
    ("169.254.170.2", "metadata"),
    ("100.100.100.200", "metadata"),
    ("192.0.0.192", "metadata"),
    ("168.63.129.16", "Azure"),
    ("[fd00:ec2::254]", "metadata"),
    ("[fd20:ce::254]", "metadata"),
    // Link-local, site-local.
    ("169.254.0.1", "link-local"),
    ("[fe80::1]", "link-local"),
    ("[fec0::1]", "site-local"),
    // IPv4 inside IPv6.
    ("[::ffff:127.0.0.1]", "gateway itself"),
    ("[::ffff:7f00:1]", "gateway itself"),
    ("[::ffff:127.0.0.2]", "loopback"),
    ("[::ffff:10.0.0.1]", "private"),
    ("[::ffff:a9fe:a9fe]", "metadata"),
    ("[::ffff:0.0.0.0]", "this network"),
    ("[64:ff9b::7f00:1]", "gateway itself"),
    ("[64:ff9b::10.0.0.1]", "private"),
    ("[64:ff9b::a9fe:a9fe]", "metadata"),
    ("[64:ff9b:1::7f00:1]", "translation"),
    ("[::7f00:1]", "disguise"),
    ("[::ffff:0:127.0.0.1]", "disguise"),
    ("[2002:7f00:1::]", "6to4"),
    ("[2002:a9fe:a9fe::1]", "6to4"),
    ("[2001:0:7f00:1::]", "Teredo"),
    ("[2001:0:53aa:64c:0:7fff:80ff:fffe]", "Teredo"),
    ("[2a00:1450::5efe:127.0.0.1]", "ISATAP"),
    // Multicast, reserved, of no use.
    ("224.0.0.1", "multicast"),
    ("239.255.255.250", "multicast"),
    ("[ff02::1]", "multicast"),
    ("240.0.0.1", "reserved"),
    ("255.255.255.255", "broadcast"),
    ("192.0.0.1", "IETF"),
    ("198.18.0.1", "benchmarking"),
    ("198.19.255.255", "benchmarking"),
    ("192.0.2.1", "documentation"),
    ("192.88.99.1", "6to4"),
    ("[100::1]", "discard"),
    ("[2001:db8::1]", "documentation"),
    ("[4000::1]", "not a public"),
];

fn made(url: &str) -> Value {
    json!({"url": url, "events": ["*"]})
}

/// A subscription as a connector that names the address only when it runs.
fn late(url: &str) -> Value {
    json!({"events": ["*"], "connector": {"name": "http", "config": {"url": url, "body": "{}"}}})
}

/// The attempt that sending an event now would come to.
async fn tried(tenant: &Tenant, subscription: Value) -> Value {
    let trial = json!({"subscription": subscription, "event": {"type": "a", "data": 1}, "send": true});
    tenant.api.post("/v1/subscriptions/preview", trial).await.json(200)["attempt"].clone()
}

/// The only attempt at an event sent now.
async fn sent(tenant: &Tenant, subscription: &Value) -> (Value, Value) {
    let id = subscription["id"].as_str().unwrap();
    tenant.post("a", json!(1)).await;
    let found = eventually("an attempt", async || {
        let all = tenant.deliveries(&format!("subscription_id={id}")).await;
        all.into_iter().find(|delivery| delivery["attempt_count"] == 1)
    });
    let path = format!("/v1/deliveries/{}", found.await["id"].as_str().unwrap());
    let delivery = tenant.api.get(&path).await.json(200);
    tenant.api.delete(&format!("/v1/subscriptions/{id}")).await.is(204);
    (delivery["status"].clone(), delivery["attempts"][0].clone())
}

/// Saved, changed, or named by a connector when it runs: each spelling is refused with the right word for it.
#[tokio::test]
async fn literals() {
    let gateway = Setup::closed().start().await;
    let tenant = gateway.tenant("acme").await;
    let wire = Tripwire::lay().await;
    let good = tenant.subscribe(json!({"url": "https://hooks.example.com/", "events": ["never"]})).await;
    let good = format!("/v1/subscriptions/{}", good["id"].as_str().unwrap());
    for (host, reason) in LITERALS {
        let url = format!("https://{host}:{}/x", wire.port());
        for reply in
            [tenant.api.post("/v1/subscriptions", made(&url)).await, tenant.api.patch(&good, json!({"url": url})).await]
        {
            assert_eq!(reply.problem(422, "invalid"), ["#/url"], "{url}: {}", reply.text);
            assert!(reply.text.contains(reason), "{url}: {}", reply.text);
        }
        let reply = tenant.api.post("/v1/subscriptions", made(&url.replace("https:", "http:"))).await;
        assert_eq!(reply.problem(422, "invalid"), ["#/url"], "{url}: {}", reply.text);
        let attempt = tried(&tenant, late(&url)).await;
        assert_eq!(attempt["outcome"], "blocked", "{url}: {attempt}");
        assert!(attempt["detail"].as_str().unwrap().contains(reason), "{url}: {attempt}");
    }
    for own in [gateway.public(), gateway.admin()] {
        let attempt = tried(&tenant, late(&own.base().replace("http:", "https:"))).await;
        assert_eq!(attempt["outcome"], "blocked", "{attempt}");
    }
    wire.untouched().await;
}

/// What is no address of this machine's network, and still no target.
#[tokio::test]
async fn urls_that_are_none() {
    let gateway = Setup::closed().start().await;
    let tenant = gateway.tenant("acme").await;
    for url in [
        "http://example.com/",
        "http://8.8.8.8/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/_x",
        "unix:/run/docker.sock",
        "data:,x",
        "//example.com/",
        "https:///",
        "https://./",
        "https://example.com:0/",
        "https://[::1%25lo]/",
        "https://[fe80::1%eth0]/",
        "https://256.0.0.1/",
        "https://127.0.0.0.1/",
        "https://0x100000000/",
        "https://user@example.com/",
        "https://127.0.0.1@example.com/",
        "https://example.com@127.0.0.1/",
        "https://example.com\\@127.0.0.1/#",
        "https://exa mple.com/",
        "https://example.com/#x",
        "not a url",
        "",
    ] {
        let reply = tenant.api.post("/v1/subscriptions", made(url)).await;
        assert_eq!(reply.problem(422, "invalid"), ["#/url"], "{url}: {}", reply.text);
    }
}

/// A name is judged by where it leads, whatever else the answer holds; the attempt says what kind of place that is
/// and not which.
#[tokio::test]
async fn names_that_lead_inside() {
    let rows = [
        ("loop", Said::leads(&["127.0.0.2"]), "loopback"),
        ("own", Said::leads(&["127.0.0.1"]), "gateway itself"),
        ("private", Said::leads(&["10.1.2.3"]), "private"),
        ("several", Said::leads(&["192.168.0.1", "172.16.0.1", "fd00::1"]), "private"),
        ("zero", Said::leads(&["0.0.0.0"]), "this network"),
        ("link", Said::leads(&["169.254.1.1"]), "link-local"),
        ("six", Said::leads(&["::1"]), "loopback"),
        ("any", Said::leads(&["::"]), "unspecified"),
        ("mapped", Said::leads(&["::ffff:127.0.0.2"]), "loopback"),
        ("nat64", Said::leads(&["64:ff9b::10.0.0.1"]), "private"),
        ("sixtofour", Said::leads(&["2002:7f00:1::1"]), "6to4"),
        ("teredo", Said::leads(&["2001:0:7f00:1::1"]), "Teredo"),
        ("unique", Said::leads(&["fd00:ec2::254"]), "metadata"),
        ("alias", Said::alias("db.corp.internal.", &["10.9.9.9"]), "private"),
        ("alias-home", Said::alias("localhost.", &["127.0.0.2"]), "loopback"),
        ("metadata.google.internal", Said::leads(&["169.254.169.254"]), "metadata"),
        ("metadata.google.internal.", Said::leads(&["169.254.169.254"]), "metadata"),
    ];
    let names = NameServer::scripted({
        let rows = rows.clone();
        move |name, _| {
            let row = rows.iter().find(|(host, ..)| host.trim_end_matches('.') == name.trim_end_matches(".test"));
            row.map_or(Said::NoSuchName, |(_, said, _)| said.clone())
        }
    })
    .await;
    let gateway = Setup::closed().names(&names).start().await;
    let tenant = gateway.tenant("acme").await;
    let wire = Tripwire::lay().await;
    for (host, said, reason) in rows {
        let host = if host.contains('.') { host.to_owned() } else { format!("{host}.test") };
        let url = format!("https://{host}:{}/x", wire.port());
        let subscription = tenant.subscribe(made(&url)).await;
        let (status, attempt) = sent(&tenant, &subscription).await;
        assert_eq!((&attempt["outcome"], &status), (&json!("blocked"), &json!("failed")), "{host}: {attempt}");
        let detail = attempt["detail"].as_str().unwrap();
        assert!(detail.contains(reason), "{host}: {detail}");
        if let Said::Leads(ips) | Said::Alias(_, ips) = said {
            assert!(ips.iter().all(|ip| !detail.contains(&ip.to_string())), "{host}: {detail}");
        }
        assert!(!detail.contains("corp.internal"), "{host}: {detail}");
        assert_eq!(tried(&tenant, late(&url)).await["outcome"], "blocked", "{host}");
    }
    wire.untouched().await;
}

/// A look-up that gives nothing is the network's fault: it is said which, and tried again until it gives something.
#[tokio::test]
async fn names_that_lead_nowhere() {
    let mended = Arc::new(AtomicBool::new(false));
    let names = NameServer::scripted({
        let mended = mended.clone();
        move |name, _| match name {
            _ if mended.load(Ordering::SeqCst) => Said::leads(&["127.0.0.1"]),
            "none.test" => Said::NoSuchName,
            "failed.test" => Said::Failed,
            "refused.test" => Said::Refused,
            "garbage.test" => Said::Garbage,
            "silent.test" => Said::Nothing,
            _ => Said::leads(&[]),
        }
    })
    .await;
    let gateway = Setup::new().names(&names).with_clock().start().await;
    let clock = gateway.clock().await;
    let tenant = gateway.tenant("acme").await;
    let endpoint = Receiver::start().await;
    let mut waiting = Vec::new();
    for (host, reason) in [
        ("none", "the name does not exist"),
        ("empty", "the name does not exist, or has no address"),
        ("failed", "name server"),
        ("refused", "name server"),
        ("garbage", "name server"),
        ("silent", "no name server answered in time"),
    ] {
        let url = format!("http://{host}.test:{}/{host}", endpoint.address().port());
        let schedule = [vec!["0s"], vec!["1m"; 20]].concat();
        let policy = json!({"schedule": schedule, "jitter": 0});
        tenant.subscribe(json!({"url": url, "events": [host], "retry_policy": policy})).await;
        let event = tenant.post(host, json!(1)).await;
        waiting.push((host, reason, event));
    }
    for (host, reason, event) in &waiting {
        let delivery = tenant.delivery(event, "an attempt", |delivery| delivery["attempt_count"] != 0).await;
        let attempt = &delivery["attempts"][0];
        assert_eq!((&attempt["outcome"], &delivery["status"]), (&json!("unreachable"), &json!("pending")), "{attempt}");
        assert_eq!(attempt["blame"], "network", "{host}: {attempt}");
        let detail = attempt["detail"].as_str().unwrap();
        assert!(detail.contains(reason) && detail.contains("(dns)"), "{host}: {detail}");
    }
    mended.store(true, Ordering::SeqCst);
    for (host, _, event) in &waiting {
        // What a name server denied is believed for a while, by the machine's clock.
        eventually("it is delivered", async || {
            clock.advance("1m").await;
            let found = tenant.deliveries(&format!("event_id={}", event["id"].as_str().unwrap())).await;
            (found[0]["status"] == "delivered").then_some(())
        })
        .await;
        assert_eq!(endpoint.count(&format!("/{host}")), 1);
    }
}

/// The address that was judged is the one that is connected to: there is no second question whose answer could be
/// another, and what is bad in an answer is not tried because something good is beside it.
#[tokio::test]
async fn names_that_change_their_mind() {
    let script = |_: &hookmill_tests::Received, _| Answer::Full(200, vec![("connection", "close".into())], "".into());
    let good = Receiver::scripted(script).await;
    let port = good.address().port();
    let at = |ip: [u8; 4]| Receiver::on(SocketAddr::from((ip, port)), script);
    let bad = [at([127, 0, 0, 2]).await, at([127, 0, 0, 3]).await];
    let names = NameServer::scripted(|name, before| match name.split('.').nth(1) {
        // First what is allowed, to whoever asks first; from then on what is not.
        Some("turns") if before == 0 => Said::leads(&["127.0.0.1"]),
        Some("turns") => Said::leads(&["127.0.0.2"]),
        Some("mixed") => Said::leads(&["127.0.0.2", "10.0.0.1", "127.0.0.1", "::1", "::ffff:127.0.0.3"]),
        _ => Said::NoSuchName,
    })
    .await;
    let gateway = Setup::closed().allow("127.0.0.1/32").names(&names).start().await;
    let tenant = gateway.tenant("acme").await;
    for kind in ["turns", "mixed"] {
        for number in 0..10 {
            let host = format!("n{number}.{kind}.test");
            let subscription = tenant.subscribe(made(&format!("http://{host}:{port}/{kind}"))).await;
            let (status, attempt) = sent(&tenant, &subscription).await;
            assert_eq!(status, "delivered", "{host}: {attempt}");
            assert_eq!(names.asked(&host), 1, "{host}");
        }
        assert_eq!(good.count(&format!("/{kind}")), 10);
    }
    // The next connection asks again, and is judged again. A time to live of 0 is taken for a second.
    let host = "again.turns.test";
    tenant.subscribe(made(&format!("http://{host}:{port}/again"))).await;
    let mut delivered = 0;
    let blocked = eventually("the name has turned", async || {
        let event = tenant.post("a", json!(1)).await;
        let delivery = tenant.delivery(&event, "an attempt", |delivery| delivery["attempt_count"] == 1).await;
        let attempt = &delivery["attempts"][0];
        delivered += usize::from(attempt["outcome"] == "delivered");
        (attempt["outcome"] != "delivered").then(|| attempt.clone())
    })
    .await;
    assert_eq!(blocked["outcome"], "blocked", "{blocked}");
    assert!(blocked["detail"].as_str().unwrap().contains("loopback"), "{blocked}");
    assert!(delivered > 0 && good.count("/again") == delivered, "{delivered}");
    for bad in &bad {
        assert_eq!(bad.all().len(), 0, "{}", bad.address());
    }
}

/// No redirect is followed, wherever it leads and whatever kind it is.
#[tokio::test]
async fn redirects() {
    let wire = Tripwire::lay().await;
    let places = [
        format!("http://127.0.0.1:{}/", wire.port()),
        format!("https://127.0.0.1:{}/", wire.port()),
        format!("http://127.0.0.2:{}/", wire.port()),
        format!("http://[::1]:{}/", wire.port()),
        format!("//localhost:{}/", wire.port()),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "file:///etc/passwd".to_owned(),
        "/elsewhere".to_owned(),
    ];
    let endpoint = Receiver::scripted({
        let places = places.clone();
        move |request, _| {
            let mut parts = request.path.trim_start_matches('/').split('-').map(|part| part.parse::<usize>().unwrap());
            let (code, place) = (parts.next().unwrap(), places[parts.next().unwrap()].clone());
            let headers = vec![("location", place.clone()), ("refresh", format!("0; url={place}"))];
            Answer::Full(code.try_into().unwrap(), headers, String::new())
        }
    })
    .await;
    let gateway = Gateway::start().await;
    let tenant = gateway.tenant("acme").await;
    let codes = [300, 301, 302, 303, 304, 305, 307, 308];
    for code in codes {
        for (number, place) in places.iter().enumerate() {
            let subscription = tenant.subscribe(made(&endpoint.url(&format!("/{code}-{number}")))).await;
            let (_, attempt) = sent(&tenant, &subscription).await;
            assert_eq!(attempt["outcome"], "refused", "{code} to {place}: {attempt}");
            let detail = attempt["detail"].as_str().unwrap();
            assert!(detail.contains(&code.to_string()), "{code} to {place}: {detail}");
            let moves = matches!(code, 301 | 302 | 303 | 307 | 308);
            assert_eq!(detail.contains("a redirect, which is not followed"), moves, "{code} to {place}: {detail}");
        }
    }
    assert_eq!(endpoint.all().len(), codes.len() * places.len(), "each was asked once, and nowhere else");
    wire.untouched().await;
}

/// What the operator allows is reached, in every spelling, and nothing beside it; what was allowed and is no longer
/// is not reached either.
#[tokio::test]
async fn what_the_operator_allows() {
    let endpoint = Receiver::start().await;
    let port = endpoint.address().port();
    let mut gateway = Setup::new().start().await;
    let tenant = gateway.tenant("acme").await;
    let spellings = [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "[::ffff:7f00:1]",
        "localhost",
        "localhost.",
        "foo.localhost",
    ];
    for (number, host) in spellings.into_iter().enumerate() {
        let subscription = tenant.subscribe(made(&format!("http://{host}:{port}/{number}"))).await;
        let (status, attempt) = sent(&tenant, &subscription).await;
        assert_eq!(status, "delivered", "{host}: {attempt}");
        assert_eq!(endpoint.count(&format!("/{number}")), 1, "{host}");
    }
    let beside = ["10.1.2.3", "169.254.169.254", "0.0.0.0", "[::1]", "[::7f00:1]", "[2002:7f00:1::]", "[fd00::1]"];
    for host in beside {
        let reply = tenant.api.post("/v1/subscriptions", made(&format!("https://{host}:{port}/x"))).await;
        assert_eq!(reply.problem(422, "invalid"), ["#/url"], "{host}: {}", reply.text);
    }

    let withdrawn = [
        tenant.subscribe(made(&format!("http://127.0.0.1:{port}/withdrawn"))).await,
        tenant.subscribe(made(&format!("https://localhost:{port}/withdrawn"))).await,
        tenant.subscribe(made(&format!("https://foo.localhost:{port}/withdrawn"))).await,
    ];
    gateway.restart_as(Setup::closed()).await;
    let tenant = gateway.again(&tenant);
    // They wait for someone to change the URL; what is no trouble does not wait for them.
    let inbox = tenant.api.poke("/v1/inboxes").await.json(201);
    let inbox = tenant.subscribe(made(inbox["url"].as_str().unwrap())).await;
    tenant.post("a", json!(1)).await;
    let id = inbox["id"].as_str().unwrap();
    eventually("the inbox has it", async || {
        tenant.deliveries(&format!("subscription_id={id}&status=delivered")).await.pop()
    })
    .await;
    for subscription in &withdrawn {
        let id = subscription["id"].as_str().unwrap();
        let delivery = &tenant.deliveries(&format!("subscription_id={id}")).await[0];
        assert_eq!((&delivery["status"], &delivery["attempt_count"]), (&json!("held"), &json!(0)), "{delivery}");
        let reason = delivery["reason"].as_str().unwrap();
        assert!(reason.contains("/url: the ") && reason.contains("from here"), "{reason}");
    }
    assert_eq!(endpoint.count("/withdrawn"), 0);
}
