//! Tests over real sockets on the loopback interface.

mod connection;
mod exchange;
mod google;
mod server;
mod targets;
mod tls;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use jiff::Timestamp;

use super::*;
use crate::clock::Clock;
use crate::domain::TenantId;

/// How long the requests of these tests may take, by a clock that stands still.
const TIMEOUT: Duration = Duration::from_secs(30);

fn clock() -> Clock {
    Clock::test("2026-01-01T00:00:00Z".parse().unwrap())
}

fn tenant() -> TenantId {
    TenantId::new(Timestamp::UNIX_EPOCH)
}

/// The loopback network allowed, and nothing else unusual.
fn lenient() -> EgressConfig {
    EgressConfig { allow: vec!["127.0.0.0/8".parse().unwrap()], ..EgressConfig::usual() }
}

fn egress(config: EgressConfig) -> Egress {
    Egress::new(config, clock()).unwrap()
}

fn names(table: &[(&str, &[&[&str]])]) -> Names {
    let names = StaticNames::new();
    for (name, answers) in table {
        let parse = |ips: &&[&str]| ips.iter().map(|ip| ip.parse::<IpAddr>().unwrap()).collect();
        names.set(name, answers.iter().map(parse));
    }
    Names::Static(Arc::new(names))
}

fn post(url: &str) -> Outbound {
    Outbound {
        method: Method::POST,
        url: url.parse().unwrap(),
        headers: HeaderMap::new(),
        body: Bytes::from_static(b"{\"event\":1}"),
        timeout: TIMEOUT,
    }
}
