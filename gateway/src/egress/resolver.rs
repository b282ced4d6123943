//! Look-ups, every address of which is judged before anyone connects to it.
//!
//! The HTTP client connects to the very addresses this resolver returned, so that a name cannot mean one thing
//! when it is checked and another when it is dialled. Each new connection asks again; answers are cached by
//! their time to live.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::system_conf::read_system_conf;
use hyper_util::client::legacy::connect::dns::Name;
use parking_lot::Mutex;
use tower::Service;

use super::policy::{AddressPolicy, Blocked};
use super::target::Way;

/// The longest a look-up may take. By the machine's clock: a name server is a socket.
const LOOKUP_LIMIT: Duration = Duration::from_secs(2);

/// Where names are looked up.
#[derive(Debug, Clone, Default)]
pub enum Names {
    /// In `/etc/hosts`, then at the name servers of `/etc/resolv.conf`. Search domains are not used: the name
    /// in a URL is a full one.
    #[default]
    System,
    /// In `/etc/hosts`, then at these name servers, over UDP and TCP.
    Servers(Vec<SocketAddr>),
    /// In a table, for tests.
    Static(Arc<StaticNames>),
}

/// A table of names, for tests: each name has a sequence of answers, of which every look-up takes the next
/// and the last one stays.
#[derive(Debug, Default)]
pub struct StaticNames(Mutex<HashMap<String, VecDeque<Vec<IpAddr>>>>);

impl StaticNames {
    /// An empty table, in which no name exists.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a name's answers, in the order in which look-ups get them.
    pub fn set(&self, name: &str, answers: impl IntoIterator<Item = Vec<IpAddr>>) {
        self.0.lock().insert(name.to_owned(), answers.into_iter().collect());
    }

    fn next(&self, name: &str) -> Result<Vec<IpAddr>, LookupError> {
        let mut table = self.0.lock();
        let answers = table.get_mut(name).ok_or(LookupError::NoSuchName)?;
        if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() }.ok_or(LookupError::NoSuchName)
    }
}

/// Why a look-up gave no address.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookupError {
    /// The name does not exist, or has no address.
    #[error("the name does not exist, or has no address")]
    NoSuchName,
    /// No name server answered in time.
    #[error("no name server answered in time")]
    TimedOut,
    /// A name server said that it failed, or what it said made no sense.
    #[error("the name server failed")]
    Failed,
    /// This process may open no more sockets.
    #[error("too many open files")]
    TooManyFiles,
}

/// A source of addresses, shared by all clients. Judges nothing.
#[derive(Clone)]
pub(super) enum Directory {
    Servers(Arc<TokioResolver>),
    Static(Arc<StaticNames>),
}

impl Directory {
    pub(super) fn new(names: Names) -> Result<Self, NetError> {
        match names {
            Names::Static(table) => Ok(Self::Static(table)),
            Names::System => resolver(system_servers()).map(|resolver| Self::Servers(Arc::new(resolver))),
            Names::Servers(servers) => {
                let servers = (servers.into_iter().map(name_server).collect(), ResolverOpts::default());
                resolver(servers).map(|resolver| Self::Servers(Arc::new(resolver)))
            }
        }
    }

    async fn look_up(&self, name: &str) -> Result<Vec<IpAddr>, LookupError> {
        match self {
            Self::Static(table) => table.next(name),
            Self::Servers(resolver) => match tokio::time::timeout(LOOKUP_LIMIT, resolver.lookup_ip(name)).await {
                Ok(Ok(found)) => Ok(found.iter().collect()),
                Ok(Err(error)) => Err(classify(&error)),
                Err(_) => Err(LookupError::TimedOut),
            },
        }
    }
}

fn system_servers() -> (Vec<NameServerConfig>, ResolverOpts) {
    match read_system_conf() {
        Ok((config, options)) => (config.name_servers().to_vec(), options),
        Err(error) => {
            tracing::warn!(%error, "/etc/resolv.conf gives no name server: asking 127.0.0.1, as resolv.conf(5) says");
            (vec![NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into())], ResolverOpts::default())
        }
    }
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut server.connections {
        connection.port = address.port();
    }
    server
}

fn resolver((servers, mut options): (Vec<NameServerConfig>, ResolverOpts)) -> Result<TokioResolver, NetError> {
    let config = ResolverConfig::from_parts(None, vec![], servers);
    options.timeout = Duration::from_millis(900);
    options.attempts = 2;
    options.try_tcp_on_error = true;
    // Endpoints that admit a gateway by its address mostly know its IPv4 one.
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.cache_size = 4096;
    options.positive_min_ttl = Some(Duration::from_secs(1));
    options.positive_max_ttl = Some(Duration::from_secs(300));
    // A record that is set up while its owner presses "test" again and again should be seen soon.
    options.negative_max_ttl = Some(Duration::from_secs(5));
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).with_options(options).build()
}

fn classify(error: &NetError) -> LookupError {
    match error {
        error if error.is_no_records_found() => LookupError::NoSuchName,
        NetError::Timeout => LookupError::TimedOut,
        NetError::Io(error) if is_out_of_files(error) => LookupError::TooManyFiles,
        _ => LookupError::Failed,
    }
}

/// Whether the process (EMFILE) or the machine (ENFILE) has no file descriptor left.
pub(super) fn is_out_of_files(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// The resolver of the clients of one [`Way`]: it passes on only the addresses that may be reached on it.
#[derive(Clone)]
pub(super) struct JudgingResolver {
    directory: Directory,
    policy: Arc<AddressPolicy>,
    way: Way,
}

impl JudgingResolver {
    pub(super) fn new(directory: Directory, policy: Arc<AddressPolicy>, way: Way) -> Self {
        Self { directory, policy, way }
    }
}

/// Those of the addresses that may be reached; if there are none, why the first may not.
fn admit(policy: &AddressPolicy, way: Way, mut found: Vec<IpAddr>) -> Result<Vec<IpAddr>, Blocked> {
    let mut refused = None;
    found.retain(|ip| {
        let verdict = match way {
            Way::Encrypted => policy.check(*ip),
            Way::Plain => policy.check(*ip).and_then(|()| policy.check_plain(*ip)),
            Way::Mapped => Ok(()),
        };
        if let Err(blocked) = verdict {
            refused.get_or_insert(blocked);
        }
        verdict.is_ok()
    });
    match refused {
        Some(blocked) if found.is_empty() => Err(blocked),
        _ => Ok(found),
    }
}

impl Service<Name> for JudgingResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (directory, policy, way) = (self.directory.clone(), self.policy.clone(), self.way);
        Box::pin(async move {
            let found = directory.look_up(name.as_str()).await?;
            if found.is_empty() {
                return Err(LookupError::NoSuchName.into());
            }
            let admitted = admit(&policy, way, found)?;
            // The connector puts the URL's port in its place.
            let addresses: Vec<_> = admitted.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect();
            Ok(addresses.into_iter())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn addresses_that_may_not_be_reached_are_left_out() {
        let policy = AddressPolicy::new(ips(&[]).into_iter().map(Into::into).collect(), vec![]);
        let mixed = ips(&["10.0.0.1", "8.8.8.8", "::1", "2606:4700::1"]);
        assert_eq!(admit(&policy, Way::Encrypted, mixed.clone()), Ok(ips(&["8.8.8.8", "2606:4700::1"])));
        assert_eq!(admit(&policy, Way::Mapped, mixed.clone()), Ok(mixed.clone()));
        assert!(admit(&policy, Way::Plain, mixed).is_err());
        let reason = admit(&policy, Way::Encrypted, ips(&["10.0.0.1", "::1"])).unwrap_err().reason;
        assert_eq!(reason, "a private network (RFC 1918)");
    }

    #[test]
    fn in_clear_only_allowed_addresses_are_left() {
        let policy = AddressPolicy::new(vec!["127.0.0.0/8".parse().unwrap()], vec![]);
        let found = ips(&["8.8.8.8", "127.0.0.1"]);
        assert_eq!(admit(&policy, Way::Plain, found.clone()), Ok(ips(&["127.0.0.1"])));
        assert_eq!(admit(&policy, Way::Encrypted, found.clone()), Ok(found));
    }

    #[test]
    fn a_table_gives_one_answer_after_the_other() {
        let names = StaticNames::new();
        names.set("a.test", [ips(&["1.1.1.1"]), ips(&["10.0.0.1"])]);
        assert_eq!(names.next("a.test").unwrap(), ips(&["1.1.1.1"]));
        assert_eq!(names.next("a.test").unwrap(), ips(&["10.0.0.1"]));
        assert_eq!(names.next("a.test").unwrap(), ips(&["10.0.0.1"]));
        assert!(matches!(names.next("b.test"), Err(LookupError::NoSuchName)));
    }

    #[tokio::test]
    async fn localhost_is_known_without_a_name_server() {
        let found = Directory::new(Names::System).unwrap().look_up("localhost").await.unwrap();
        assert!(!found.is_empty() && found.iter().all(IpAddr::is_loopback), "{found:?}");
    }

    #[test]
    fn a_name_server_is_asked_at_its_port() {
        for address in ["192.0.2.53:53", "[2001:db8::53]:5353"] {
            let address: SocketAddr = address.parse().unwrap();
            let server = name_server(address);
            assert_eq!((server.ip, server.connections.len()), (address.ip(), 2));
            assert!(server.connections.iter().all(|connection| connection.port == address.port()), "{server:?}");
        }
    }

    #[test]
    fn running_out_of_files_is_told_from_other_trouble() {
        assert!(is_out_of_files(&io::Error::from_raw_os_error(libc::EMFILE)));
        assert!(is_out_of_files(&io::Error::from_raw_os_error(libc::ENFILE)));
        assert!(!is_out_of_files(&io::Error::from_raw_os_error(libc::ECONNREFUSED)));
        let error = NetError::Io(Arc::new(io::Error::from_raw_os_error(libc::EMFILE)));
        assert!(matches!(classify(&error), LookupError::TooManyFiles));
    }
}
