//! What an operator can set: one struct a concern, read once, checked as a whole.
//!
//! `defaults.toml` is compiled in and lists every setting; a file, the environment and the command line go
//! over it, in this order. An unknown setting is refused, and every setting at fault is reported at once. Nothing
//! else in the gateway reads the environment but `cli`, for the two keys that are secrets and for the log, and no
//! setting has a default anywhere but in that file.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::providers::{Env, Format, Serialized, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use ipnet::IpNet;
use serde::Deserialize;
use url::Url;

use crate::domain::duration;

/// The compiled-in defaults, which are also the documentation.
pub const DEFAULTS: &str = include_str!("defaults.toml");

/// Everything an operator can set. Field by field explained in `defaults.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "explained in defaults.toml, the one place")]
pub struct Config {
    pub server: Server,
    pub store: Storage,
    pub delivery: Delivery,
    pub plugins: Plugins,
    pub profiles: Profiles,
    pub egress: Egress,
}

/// Listeners and requests.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "explained in defaults.toml, the one place")]
pub struct Server {
    pub listen: SocketAddr,
    pub admin_listen: SocketAddr,
    pub public_url: String,
    pub max_body: usize,
    pub bodies: usize,
    pub max_batch: usize,
    #[serde(with = "duration")]
    pub body_timeout: Duration,
    #[serde(with = "duration")]
    pub drain: Duration,
    pub metrics_by_tenant: bool,
    pub egress_ips: Vec<IpNet>,
}

/// What is kept, and where.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "explained in defaults.toml, the one place")]
pub struct Storage {
    pub data: PathBuf,
    pub master_key: PathBuf,
    pub cache: u64,
    #[serde(with = "duration")]
    pub retention: Duration,
    pub ballast: u64,
}

/// Bounds of the pipeline.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "explained in defaults.toml, the one place")]
pub struct Delivery {
    pub in_flight: usize,
    pub in_flight_per_endpoint: usize,
    pub in_flight_per_host: usize,
    pub waiting_bytes: usize,
    pub waiting_per_lane: usize,
    pub breaker_timeouts: u32,
    #[serde(with = "duration")]
    pub breaker_rest: Duration,
    pub events_per_second: u32,
    pub subscriptions_per_tenant: u32,
    #[serde(with = "duration")]
    pub dedupe_window: Duration,
}

/// Bounds of plugins.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "explained in defaults.toml, the one place")]
pub struct Plugins {
    pub files: Vec<PathBuf>,
    #[serde(with = "duration")]
    pub time: Duration,
    pub memory: usize,
    pub output: usize,
    pub log: usize,
    pub hostcall_fuel: usize,
    pub component: usize,
    pub instances: u32,
    pub reuse_instances: u32,
    pub reuse_per_tenant: u32,
    pub reuse_memory: usize,
    pub reuse_calls: u32,
    #[serde(with = "duration")]
    pub compile_time: Duration,
    pub compile_memory: u64,
    pub per_tenant: u32,
    pub bytes_per_tenant: u64,
    #[serde(with = "duration")]
    pub compile_per_hour: Duration,
    #[serde(with = "duration")]
    pub cpu_per_minute: Duration,
    pub shadow_waiting: usize,
    pub shadow_bytes: usize,
}

/// Products beside those that come with Hookmill.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "explained in defaults.toml, the one place")]
pub struct Profiles {
    pub dir: PathBuf,
}

/// How the gateway dials out.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "explained in defaults.toml, the one place")]
pub struct Egress {
    pub dangerous_allow_targets: Vec<IpNet>,
    pub dangerous_map_hosts: Vec<String>,
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    #[serde(with = "duration")]
    pub idle_timeout: Duration,
    pub extra_roots: PathBuf,
    pub dns_servers: Vec<SocketAddr>,
}

/// Settings that can't be used: every fault, a line each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Error(pub Vec<String>);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration can't be used:")?;
        self.0.iter().try_for_each(|fault| write!(f, "\n  - {fault}"))
    }
}

/// Variables that are no settings: read by `cli`, by these names.
const NOT_SETTINGS: [&str; 6] = ["operator_key", "master_key", "log", "server", "key", "profile"];

impl Config {
    /// The settings: defaults, then `file`, then the environment, then `flags` (by `section.key`).
    ///
    /// # Errors
    /// Every fault, with where it came from.
    pub fn load(file: Option<&Path>, flags: &[(&str, Value)]) -> Result<Self, Error> {
        if let Some(file) = file.filter(|file| !file.is_file()) {
            return Err(Error(vec![format!("there is no file {}", file.display())]));
        }
        let (mut faults, mut left_out) = (Vec::new(), Vec::<Vec<String>>::new());
        // The reader stops at the first that it can't read: it is left out, and the rest is read again.
        let config = loop {
            let error = match layers(file, flags, &left_out).extract::<Self>() {
                Ok(config) => break config,
                Err(error) => error,
            };
            let before = left_out.len();
            for fault in error {
                faults.push(fault.to_string());
                if !fault.path.is_empty() && !left_out.contains(&fault.path) {
                    left_out.push(fault.path);
                }
            }
            // It is about no setting: the file is no TOML.
            if left_out.len() == before {
                return Err(Error(faults));
            }
        };
        // In place of what was left out stands its default, which says nothing about what must go with it.
        let goes_with = |fault: &String| left_out.iter().any(|path| fault.contains(&path.join(".")));
        faults.extend(config.faults().into_iter().filter(|fault| !goes_with(fault)));
        if faults.is_empty() { Ok(config) } else { Err(Error(faults)) }
    }

    /// What fits its type and can't be used all the same.
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut check = |fine: bool, fault: String| {
            if !fine {
                faults.push(fault);
            }
        };
        let Self { server, store, delivery, plugins, profiles, egress } = self;
        check(
            server.public_url.is_empty() || Url::parse(&server.public_url).is_ok_and(|url| url.has_host()),
            format!(
                "server.public_url: `{}` is not an absolute URL such as https://hooks.example.com",
                server.public_url
            ),
        );
        check((1024..=64 << 20).contains(&server.max_body), "server.max_body: between 1024 and 67108864".to_owned());
        check(server.bodies >= server.max_body, "server.bodies: at least server.max_body".to_owned());
        check((1..=10_000).contains(&server.max_batch), "server.max_batch: between 1 and 10000".to_owned());
        check(store.retention >= Duration::from_secs(60), "store.retention: at least 1m".to_owned());
        check(store.cache >= 1 << 20, "store.cache: at least 1048576".to_owned());
        check(delivery.in_flight_per_endpoint > 0, "delivery.in_flight_per_endpoint: at least 1".to_owned());
        check(delivery.in_flight_per_host > 0, "delivery.in_flight_per_host: at least 1".to_owned());
        check(delivery.waiting_per_lane > 0, "delivery.waiting_per_lane: at least 1".to_owned());
        check(delivery.breaker_timeouts > 0, "delivery.breaker_timeouts: at least 1".to_owned());
        check(plugins.time >= Duration::from_millis(1), "plugins.time: at least 1ms".to_owned());
        check(plugins.instances > 0, "plugins.instances: at least 1".to_owned());
        check(plugins.reuse_per_tenant > 0, "plugins.reuse_per_tenant: at least 1".to_owned());
        check(plugins.reuse_calls > 0, "plugins.reuse_calls: at least 1".to_owned());
        check(
            (Duration::from_secs(1)..=Duration::from_secs(600)).contains(&plugins.compile_time),
            "plugins.compile_time: between 1s and 10m".to_owned(),
        );
        check(plugins.compile_memory >= 64 << 20, "plugins.compile_memory: at least 67108864".to_owned());
        check(plugins.hostcall_fuel > plugins.output, "plugins.hostcall_fuel: more than plugins.output".to_owned());
        check(
            profiles.dir.as_os_str().is_empty() || profiles.dir.is_dir(),
            format!("profiles.dir: there is no folder {}", profiles.dir.display()),
        );
        for entry in &egress.dangerous_map_hosts {
            if let Err(fault) = mapped_host(entry) {
                check(false, format!("egress.dangerous_map_hosts: {fault}"));
            }
        }
        check(
            egress.dns_servers.iter().all(|server| server.port() != 0 && !server.ip().is_unspecified()),
            "egress.dns_servers: each an address and a port that can be asked, such as 192.0.2.53:53".to_owned(),
        );
        faults
    }

    /// What this gateway is called from outside, without a slash at the end.
    #[must_use]
    pub fn public_url(&self) -> String {
        if self.server.public_url.is_empty() {
            format!("http://{}", self.server.listen)
        } else {
            self.server.public_url.trim_end_matches('/').to_owned()
        }
    }

    /// The folder of the operator's own profiles, if there is one.
    #[must_use]
    pub fn profile_folder(&self) -> Option<&Path> {
        Some(self.profiles.dir.as_path()).filter(|dir| !dir.as_os_str().is_empty())
    }

    /// The master key's file.
    #[must_use]
    pub fn master_key_file(&self) -> PathBuf {
        if self.store.master_key.as_os_str().is_empty() {
            key_file_beside(&self.store.data)
        } else {
            self.store.master_key.clone()
        }
    }
}

/// The defaults, and over them what was set, but for some settings.
fn layers(file: Option<&Path>, flags: &[(&str, Value)], left_out: &[Vec<String>]) -> Figment {
    let mut figment = Figment::from(Toml::string(DEFAULTS));
    if let Some(file) = file {
        figment = figment.merge(Without(Toml::file_exact(file), left_out));
    }
    let env = Env::prefixed("HOOKMILL_")
        .filter(|key| !NOT_SETTINGS.iter().any(|name| key.as_str().eq_ignore_ascii_case(name)))
        .split("__");
    figment = figment.merge(Without(env, left_out));
    for (key, value) in flags {
        figment = figment.merge(Without(Serialized::default(key, value), left_out));
    }
    figment
}

/// What sets settings, but for some of them.
struct Without<'a, P>(P, &'a [Vec<String>]);

impl<P: Provider> Provider for Without<'_, P> {
    fn metadata(&self) -> Metadata {
        self.0.metadata()
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let mut data = self.0.data()?;
        for settings in data.values_mut() {
            self.1.iter().for_each(|path| leave_out(settings, path));
        }
        Ok(data)
    }
}

/// Removes a setting, as a whole where the path leads into it.
fn leave_out(settings: &mut Dict, path: &[String]) {
    let Some((key, below)) = path.split_first() else { return };
    match settings.get_mut(key) {
        Some(Value::Dict(_, inner)) if !below.is_empty() => leave_out(inner, below),
        _ => {
            settings.remove(key);
        }
    }
}

/// Where the master key of a data folder lies unless the settings say otherwise.
#[must_use]
pub fn key_file_beside(data: &Path) -> PathBuf {
    let mut name = data.as_os_str().to_owned();
    name.push(".key");
    name.into()
}

/// Reads `host=http://address:port`.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub fn mapped_host(entry: &str) -> Result<(String, Url), String> {
    let (host, url) =
        entry.split_once('=').ok_or_else(|| format!("`{entry}` is not of the form host=http://address:port"))?;
    let url = Url::parse(url).map_err(|error| format!("`{entry}`: {error}"))?;
    Ok((host.to_ascii_lowercase(), url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_whole() {
        let config = Config::load(None, &[]).unwrap();
        assert_eq!(config.public_url(), "http://127.0.0.1:8080");
        assert_eq!(config.master_key_file(), Path::new("./hookmill-data.key"));
    }

    #[test]
    fn faults_are_reported_all_at_once() {
        let flags = [
            ("store.retention", "1s".into()),
            ("profiles.dir", "/there/is/no/such/folder".into()),
            ("server.public_url", "nowhere".into()),
            ("server.max_batch", 0.into()),
            ("egress.dns_servers", vec!["192.0.2.53:0"].into()),
        ];
        let Error(faults) = Config::load(None, &flags).unwrap_err();
        assert_eq!(faults.len(), 5, "{faults:?}");
    }

    /// What can't be read hides nothing: neither another setting that can't be, nor one that fits its type alone.
    #[test]
    fn faults_of_every_kind_are_reported_together() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("hookmill.toml");
        std::fs::write(&file, "[server]\nlissten = 1\nmax_body = \"large\"\n[servre]\nlisten = \"x\"\n").unwrap();
        let flags = [
            ("server.listen", "nowhere".into()),
            ("server.max_batch", 0.into()),
            // Too few for the usual `server.max_body`, of which nobody knows what it was to be.
            ("server.bodies", 1024.into()),
            ("store.retention", "soon".into()),
            ("egress.dns_servers", vec!["192.0.2.53"].into()),
        ];
        let Error(faults) = Config::load(Some(&file), &flags).unwrap_err();
        for named in [
            "server.listen",
            "server.lissten",
            "server.max_body",
            "server.max_batch",
            "servre",
            "store.retention",
            "egress.dns_servers",
        ] {
            assert_eq!(faults.iter().filter(|fault| fault.contains(named)).count(), 1, "{named}: {faults:#?}");
        }
        assert_eq!(faults.len(), 7, "{faults:#?}");
        std::fs::write(&file, "[server\n").unwrap();
        let Error(faults) = Config::load(Some(&file), &flags).unwrap_err();
        assert_eq!(faults.len(), 1, "a file that can't be read: {faults:#?}");
    }

    #[test]
    fn unknown_settings_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("hookmill.toml");
        std::fs::write(&file, "[server]\nlissten = \"1\"\n").unwrap();
        let error = Config::load(Some(&file), &[]).unwrap_err().to_string();
        assert!(error.contains("lissten") && error.contains("hookmill.toml"), "{error}");
        assert!(
            Config::load(Some(&folder.path().join("none")), &[]).unwrap_err().to_string().contains("there is no file")
        );
    }

    #[test]
    fn hosts_are_mapped() {
        let (host, url) = mapped_host("Hooks.Slack.com=http://127.0.0.1:9000").unwrap();
        assert_eq!((host.as_str(), url.as_str()), ("hooks.slack.com", "http://127.0.0.1:9000/"));
        assert!(mapped_host("hooks.slack.com").is_err());
    }
}
