//! Where requests may go.

use super::server::{ok, serve};
use super::*;

/// Blocked, not sent, and without a word about an address the tenant did not name.
fn assert_blocked(result: Result<Answer, Failure>, reason: &str) {
    let failure = result.unwrap_err();
    assert_eq!((failure.class, failure.sent), (FailureClass::Blocked, false), "{failure}");
    assert!(failure.detail.contains(reason), "{failure}");
}

#[tokio::test]
async fn literals_are_refused_in_every_spelling() {
    let server = serve(|_, _| ok("")).await;
    let port = server.address.port();
    let egress = egress(EgressConfig::usual());
    for host in ["127.0.0.1", "127.1", "2130706433", "0x7f.1", "0177.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"] {
        for scheme in ["http", "https"] {
            let result = egress.send(tenant(), post(&format!("{scheme}://{host}:{port}/"))).await;
            assert_blocked(result, if host == "0.0.0.0" { "this network" } else { "loopback" });
        }
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_name_that_leads_inside_is_refused() {
    let server = serve(|_, _| ok("")).await;
    let port = server.address.port();
    let names = names(&[
        ("loop.test", &[&["127.0.0.1"]]),
        ("mapped.test", &[&["::ffff:127.0.0.1"]]),
        ("private.test", &[&["10.1.2.3", "192.168.0.1"]]),
        ("metadata.test", &[&["169.254.169.254"]]),
    ]);
    let egress = egress(EgressConfig { names, ..EgressConfig::usual() });
    for (host, reason) in
        [("loop", "loopback"), ("mapped", "loopback"), ("private", "private"), ("metadata", "cloud metadata")]
    {
        let result = egress.send(tenant(), post(&format!("https://{host}.test:{port}/"))).await;
        assert!(!result.as_ref().unwrap_err().detail.contains("10.1"));
        assert_blocked(result, reason);
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn localhost_is_refused_without_a_table_too() {
    let egress = egress(EgressConfig::usual());
    assert_blocked(egress.send(tenant(), post("https://localhost/")).await, "loopback");
}

#[tokio::test]
async fn a_name_is_judged_at_every_connection() {
    let server = serve(|_, _| super::server::answer("200 OK", "connection: close\r\n", "")).await;
    let names = names(&[("turns.test", &[&["127.0.0.1"], &["127.0.0.2"]])]);
    let egress = egress(EgressConfig { allow: vec!["127.0.0.1/32".parse().unwrap()], names, ..EgressConfig::usual() });
    let url = format!("http://turns.test:{}/", server.address.port());
    let tenant = tenant();
    assert!(egress.check_url(&url.parse().unwrap()).is_ok());
    assert_eq!(egress.send(tenant, post(&url)).await.unwrap().status, 200);
    assert_blocked(egress.send(tenant, post(&url)).await, "loopback");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn of_several_addresses_only_the_reachable_ones_are_tried() {
    let server = serve(|_, _| ok("")).await;
    let names = names(&[("mixed.test", &[&["10.0.0.1", "127.0.0.1", "169.254.169.254"]])]);
    let egress = egress(EgressConfig { names, ..lenient() });
    let url = format!("http://mixed.test:{}/", server.address.port());
    egress.send(tenant(), post(&url)).await.unwrap();
    assert!(server.requests.lock()[0].contains(&format!("host: mixed.test:{}\r\n", server.address.port())));
}

#[tokio::test]
async fn in_clear_nothing_goes_to_the_public_internet() {
    let names = names(&[("public.test", &[&["8.8.8.8"]])]);
    let strict = egress(EgressConfig { names: names.clone(), ..EgressConfig::usual() });
    assert_blocked(strict.send(tenant(), post("http://public.test/")).await, "https://");
    assert_blocked(strict.send(tenant(), post("http://8.8.8.8/")).await, "https://");
    let lenient = egress(EgressConfig { names, ..lenient() });
    assert_blocked(lenient.send(tenant(), post("http://public.test/")).await, "not encrypted");
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_a_dns_failure() {
    let egress = egress(EgressConfig { names: names(&[("empty.test", &[&[]])]), ..EgressConfig::usual() });
    for host in ["nowhere.test", "empty.test"] {
        let failure = egress.send(tenant(), post(&format!("https://{host}/"))).await.unwrap_err();
        assert_eq!((failure.class, failure.sent), (FailureClass::Dns, false), "{failure}");
    }
}

#[tokio::test]
async fn a_mapped_host_goes_to_its_double_and_nobody_else_does() {
    let server = serve(|_, _| ok("double")).await;
    for (base, path) in [("", "/v4/a%20b"), ("/", "/v4/a%20b"), ("/under/", "/under/v4/a%20b")] {
        let base = server.url(base).parse().unwrap();
        let egress = egress(EgressConfig {
            map_hosts: vec![("Sheets.googleapis.com".to_owned(), base)],
            ..EgressConfig::usual()
        });
        let url = "https://sheets.googleapis.com/v4/a%20b?x=1";
        assert!(egress.check_url(&url.parse().unwrap()).is_ok());
        assert_eq!(egress.send(tenant(), post(url)).await.unwrap().body, "double");
        let request = server.requests.lock().last().unwrap().clone();
        assert!(request.starts_with(&format!("POST {path}?x=1 HTTP/1.1\r\n")), "{request}");
        assert!(request.contains("host: sheets.googleapis.com\r\n"), "{request}");
        assert_blocked(egress.send(tenant(), post(&server.url("/"))).await, "loopback");
    }
}

#[tokio::test]
async fn a_double_may_be_named_by_a_name_that_tenants_may_not_use() {
    let server = serve(|_, _| ok("double")).await;
    let base = format!("http://inside.test:{}", server.address.port());
    let egress = egress(EgressConfig {
        map_hosts: vec![("hooks.slack.com".to_owned(), base.parse().unwrap())],
        names: names(&[("inside.test", &[&["127.0.0.1"]])]),
        ..EgressConfig::usual()
    });
    assert_eq!(egress.send(tenant(), post("https://hooks.slack.com/x")).await.unwrap().body, "double");
    let direct = format!("https://inside.test:{}/", server.address.port());
    assert_blocked(egress.send(tenant(), post(&direct)).await, "loopback");
}

#[test]
fn a_host_cannot_be_mapped_to_nowhere() {
    for base in ["ftp://127.0.0.1/", "data:x"] {
        let map_hosts = vec![("a.test".to_owned(), base.parse().unwrap())];
        let error = Egress::new(EgressConfig { map_hosts, ..EgressConfig::usual() }, clock()).err().unwrap();
        assert!(error.to_string().contains(base), "{error}");
    }
}

#[tokio::test]
async fn the_gateway_does_not_post_to_itself() {
    let own = vec!["203.0.114.7".parse().unwrap()];
    let names = names(&[("self.test", &[&["203.0.114.7"]])]);
    let egress = egress(EgressConfig { own, names, ..EgressConfig::usual() });
    for host in ["203.0.114.7", "self.test", "[::ffff:203.0.114.7]"] {
        assert_blocked(egress.send(tenant(), post(&format!("https://{host}/"))).await, "gateway itself");
    }
}
