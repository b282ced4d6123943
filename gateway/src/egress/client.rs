//! Sending a request.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use ipnet::IpNet;
use moka::sync::Cache;
use rustls::ClientConfig;
use url::Url;

use super::body::watched;
use super::dial::{self, Client};
use super::failure::{Failure, FailureClass, LibraryError};
use super::policy::AddressPolicy;
use super::resolver::{Directory, JudgingResolver, Names};
use super::target::{self, UrlError, Way};
use super::tls;
use crate::clock::{Clock, since};
use crate::domain::TenantId;

/// The most bytes of an answer's headers that are kept. What is beyond is dropped, header by header.
const ANSWER_HEADER_LIMIT: usize = 64 * 1024;

/// A client without requests for this long is forgotten, with the tenant's TLS sessions.
const CLIENT_IDLE: Duration = Duration::from_secs(300);

/// How this gateway dials out.
#[derive(Debug, Clone)]
pub struct EgressConfig {
    /// Ranges exempt from the address policy (`--dangerous-allow-targets`), also in clear.
    pub allow: Vec<IpNet>,
    /// This gateway's own addresses, which nobody may post to.
    pub own: Vec<IpAddr>,
    /// Hosts whose requests go to a double instead (`--dangerous-map-host sheets.googleapis.com=http://…`):
    /// path and query are appended to the base, the `Host` header stays that of the URL. The double's address
    /// is not judged.
    pub map_hosts: Vec<(String, Url)>,
    /// Where names are looked up.
    pub names: Names,
    /// Certificate authorities trusted beside the machine's, in PEM; empty for none.
    pub extra_roots: Vec<u8>,
    /// The `User-Agent` of requests that bring none.
    pub user_agent: HeaderValue,
    /// How long look-up, connect and TLS handshake may take together. By the machine's clock.
    pub connect_timeout: Duration,
    /// How long a connection stays open without a request. Short, because it is not judged again while open.
    pub idle_timeout: Duration,
    /// The most connections kept open without a request, for each tenant and host.
    pub idle_per_host: usize,
    /// The most bytes of an answer's body that are read.
    pub response_limit: usize,
    /// The most clients, that is sets of connections of one tenant; the longest unused goes first.
    pub max_clients: u64,
}

impl EgressConfig {
    /// The values that are right unless an operator knows better: nothing exempt, nothing mapped, 5 s to
    /// connect, 15 s idle, 16 KiB of an answer.
    #[must_use]
    pub fn usual() -> Self {
        Self {
            allow: vec![],
            own: vec![],
            map_hosts: vec![],
            names: Names::System,
            extra_roots: vec![],
            user_agent: HeaderValue::from_static(concat!("Hookmill/", env!("CARGO_PKG_VERSION"))),
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(15),
            idle_per_host: 256,
            response_limit: 16 * 1024,
            max_clients: 10_000,
        }
    }
}

/// Why egress could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The extra certificate authorities are not PEM certificates.
    #[error("the extra certificate authorities are not certificates in PEM")]
    ExtraRoots,
    /// The TLS library refused its configuration.
    #[error("TLS could not be set up: {0}")]
    Tls(#[source] rustls::Error),
    /// The resolver could not be set up.
    #[error("the resolver could not be set up: {0}")]
    Resolver(#[source] hickory_resolver::net::NetError),
    /// A host is mapped to something that is no http or https URL.
    #[error("the host {host} is mapped to {base}, which is no http:// or https:// URL with a host")]
    MapHost {
        /// The host.
        host: String,
        /// What it is mapped to.
        base: Url,
    },
}

/// A request to be sent as it is.
#[derive(Debug, Clone)]
pub struct Outbound {
    /// The method.
    pub method: Method,
    /// Where to.
    pub url: Url,
    /// All headers but `Host` and `Content-Length`, which follow from the rest, and `Accept: */*` and
    /// `User-Agent`, which are added where absent.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// How long look-up, connect, sending and the whole answer may take together. By the gateway's clock.
    pub timeout: Duration,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers, at most 64 KiB of them.
    pub headers: HeaderMap,
    /// The body up to [`EgressConfig::response_limit`].
    pub body: Bytes,
    /// Whether there was more of the body.
    pub truncated: bool,
    /// From the call to the last byte read.
    pub duration: Duration,
}

/// The way out. Cheap to clone.
#[derive(Clone)]
pub struct Egress(Arc<Inner>);

struct Inner {
    policy: Arc<AddressPolicy>,
    mapped: HashMap<String, Url>,
    directory: Directory,
    tls: ClientConfig,
    config: EgressConfig,
    clock: Clock,
    /// One for each tenant and way: what is pooled for one is never used for another.
    clients: Cache<(TenantId, Way), Client>,
}

impl Egress {
    /// Sets egress up. Reads the machine's certificate authorities, `/etc/resolv.conf` and `/etc/hosts`, once.
    ///
    /// # Errors
    /// [`Error`] if something in the configuration cannot be used.
    pub fn new(mut config: EgressConfig, clock: Clock) -> Result<Self, Error> {
        let mut mapped = HashMap::new();
        for (host, base) in std::mem::take(&mut config.map_hosts) {
            if !matches!(base.scheme(), "http" | "https") || !base.has_host() {
                return Err(Error::MapHost { host, base });
            }
            mapped.insert(host.to_ascii_lowercase(), base);
        }
        let inner = Inner {
            policy: Arc::new(AddressPolicy::new(std::mem::take(&mut config.allow), std::mem::take(&mut config.own))),
            mapped,
            directory: Directory::new(std::mem::take(&mut config.names)).map_err(Error::Resolver)?,
            tls: tls::config(&config.extra_roots)?,
            clock,
            clients: Cache::builder().max_capacity(config.max_clients).time_to_idle(CLIENT_IDLE).build(),
            config,
        };
        Ok(Self(Arc::new(inner)))
    }

    /// Judges a URL when it is saved, for a friendly answer. Passing is no promise: what the name leads to is
    /// judged when a connection is opened.
    ///
    /// # Errors
    /// [`UrlError`] if a request to it would be refused whatever the name leads to.
    pub fn check_url(&self, url: &Url) -> Result<(), UrlError> {
        if self.maps(url) { Ok(()) } else { target::judge(&self.0.policy, url).map(drop) }
    }

    /// Whether the requests to this URL's host go to a double.
    #[must_use]
    pub fn maps(&self, url: &Url) -> bool {
        url.host_str().is_some_and(|host| self.0.mapped.contains_key(host))
    }

    /// Sends a request over one of the tenant's connections, or a new one, and reads what comes back.
    ///
    /// Nothing is tried twice, except on a new connection after a kept one turned out to be closed before the
    /// first byte was written.
    ///
    /// # Errors
    /// [`Failure`] if no whole answer came. Every status is an answer, redirects too.
    pub async fn send(&self, tenant: TenantId, request: Outbound) -> Result<Answer, Failure> {
        let inner = &*self.0;
        let started = inner.clock.now();
        let Outbound { method, url, mut headers, body, timeout } = request;
        let (way, url) = inner.route(url, &mut headers)?;
        let client = inner.client(tenant, way);
        if body.is_empty() && matches!(method, Method::POST | Method::PUT | Method::PATCH) {
            // The library leaves it out, and there are servers that refuse a POST without it (411).
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        headers.entry(header::ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        headers.entry(header::USER_AGENT).or_insert_with(|| inner.config.user_agent.clone());
        let uri = Uri::try_from(url.as_str())
            .map_err(|_| Failure::unsent(FailureClass::Blocked, "the URL has characters that HTTP cannot carry"))?;
        let (body, departure) = watched(body);
        let mut request = http::Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;

        let mut status = None;
        let done = {
            // In its place: a future that is handed on is kept in both places.
            let exchange = pin!(async {
                let (head, body) = client.request(request).await?.into_parts();
                status = Some(head.status);
                let (body, truncated) = read_up_to(inner.config.response_limit, body).await?;
                Ok::<_, LibraryError>((head.headers, body, truncated))
            });
            inner.clock.timeout(timeout, exchange).await
        };
        match done {
            Ok(Ok((mut headers, body, truncated))) => {
                limit_headers(&mut headers);
                let duration = since(started, inner.clock.now());
                let status = status.expect("set before the body was read");
                Ok(Answer { status, headers, body, truncated, duration })
            }
            Ok(Err(error)) => Err(Failure::from_library(&error, departure.has_begun(), status)),
            Err(_) => Err(Failure::timed_out(timeout, departure.has_begun(), status)),
        }
    }
}

impl Inner {
    /// Where the request really goes, and on which way.
    fn route(&self, url: Url, headers: &mut HeaderMap) -> Result<(Way, Url), Failure> {
        if !self.mapped.is_empty()
            && let Some(base) = url.host_str().and_then(|host| self.mapped.get(host))
        {
            return Ok((Way::Mapped, redirect_to_double(base, &url, headers)));
        }
        match target::judge(&self.policy, &url) {
            Ok(way) => Ok((way, url)),
            Err(error) => Err(Failure::unsent(FailureClass::Blocked, error.to_string())),
        }
    }

    fn client(&self, tenant: TenantId, way: Way) -> Client {
        let key = (tenant, way);
        // The closure below takes a lock; nearly every request is served before it.
        self.clients.get(&key).unwrap_or_else(|| self.clients.get_with(key, || self.build(way)))
    }

    fn build(&self, way: Way) -> Client {
        let resolver = JudgingResolver::new(self.directory.clone(), self.policy.clone(), way);
        dial::client(resolver, tls::apart(&self.tls), &self.config)
    }
}

/// The URL at the double, with the `Host` the endpoint itself would have seen.
fn redirect_to_double(base: &Url, url: &Url, headers: &mut HeaderMap) -> Url {
    let host = url.authority().rsplit('@').next().and_then(|host| HeaderValue::from_str(host).ok());
    if let Some(host) = host {
        headers.insert(header::HOST, host);
    }
    let mut double = base.clone();
    double.set_path(&format!("{}{}", base.path().trim_end_matches('/'), url.path()));
    double.set_query(url.query());
    double.set_fragment(None);
    double
}

/// Reads a body until its end or the limit. Beyond it nothing is read: dropping the body closes its
/// connection.
async fn read_up_to(limit: usize, mut body: Incoming) -> hyper::Result<(Bytes, bool)> {
    // Nearly every answer is one piece, which is kept as it is.
    let mut first = Bytes::new();
    let mut joined: Option<BytesMut> = None;
    while let Some(frame) = body.frame().await {
        // Trailers say nothing that is read here.
        let Ok(mut piece) = frame?.into_data() else { continue };
        let room = limit - joined.as_ref().map_or(first.len(), BytesMut::len);
        let truncated = piece.len() > room;
        piece.truncate(room);
        match &mut joined {
            Some(joined) => joined.extend_from_slice(&piece),
            None if first.is_empty() => first = piece,
            None => {
                let mut both = BytesMut::with_capacity(first.len() + piece.len());
                both.extend_from_slice(&first);
                both.extend_from_slice(&piece);
                joined = Some(both);
            }
        }
        if truncated {
            return Ok((joined.map_or(first, BytesMut::freeze), true));
        }
    }
    Ok((joined.map_or(first, BytesMut::freeze), false))
}

fn limit_headers(headers: &mut HeaderMap) {
    let size =
        |headers: &HeaderMap| headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>();
    if size(headers) <= ANSWER_HEADER_LIMIT {
        return;
    }
    let mut left = ANSWER_HEADER_LIMIT;
    let mut kept = HeaderMap::new();
    for (name, value) in &*headers {
        if let Some(rest) = left.checked_sub(name.as_str().len() + value.len()) {
            left = rest;
            kept.append(name, value.clone());
        }
    }
    *headers = kept;
}
