//! Names the concrete parts and joins them into a gateway that runs.
//!
//! **Who acts.** [`Gateway::start`] looks at the operator's own key, opens the vault and the store, binds the
//! listeners, compiles the presets, loads the configuration and starts the pipeline, in this order: nothing is
//! answered before everything it may need is there. **What is promised.** A store that may not be served ends
//! the start with a sentence that says why and what to do. [`Gateway::stop`] takes no more, lets what is under
//! way end, and closes the store; whatever it interrupts is made again. **What is deliberately not.** No room is
//! built here; this one only knows their names.

mod first;
mod measures;
mod presets;
pub mod test_clock;
pub mod upkeep;

use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio::sync::watch;
use url::Url;

use crate::clock::Clock;
use crate::config::{self, Config};
use crate::control::{Control, load_profiles};
use crate::domain::Secret;
use crate::egress::{Authenticator, Egress, EgressConfig, Names};
use crate::engine::{CompilerConfig, Engine, EngineConfig, Reuse};
use crate::http::{self, AppState, Doors, HttpConfig, Readiness};
use crate::pipeline::{self, ParseLimits, Pipeline};
use crate::registry::{PluginLimits, Registry, Shelf, Surroundings};
use crate::store::sled::{Opened, SledOptions, SledStore};
use crate::store::{self, Record, Store};
use crate::vault::Vault;

/// What a gateway is started with, beside its settings.
#[derive(Debug)]
pub struct Options {
    /// The settings.
    pub config: Config,
    /// The time.
    pub clock: Clock,
    /// The operator's key, if the operator chose it.
    pub operator_key: Option<Secret>,
    /// The master key, if it does not come from a file.
    pub master_key: Option<Secret>,
    /// Plugins beside the presets.
    pub plugins: Vec<Vec<u8>>,
    /// The operator's word that a store may be served although it is behind its own mark.
    pub accept_rollback_to: Option<u64>,
    /// Whether a first start makes a tenant and an inbox for the newcomer.
    pub welcome: bool,
}

impl Options {
    /// The usual ones: the machine's clock, keys from files, presets only.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            clock: Clock::system(),
            operator_key: None,
            master_key: None,
            plugins: Vec::new(),
            accept_rollback_to: None,
            welcome: false,
        }
    }
}

/// A gateway that runs.
pub struct Gateway {
    /// Where the public listener is.
    pub address: SocketAddr,
    /// Where the admin listener is.
    pub admin_address: SocketAddr,
    /// What it is called from outside.
    pub public_url: String,
    /// What a first start made.
    pub first: Option<first::Made>,
    control: Control,
    pipeline: Pipeline,
    store: Arc<SledStore>,
    readiness: watch::Sender<Readiness>,
    stop: watch::Sender<bool>,
    serving: Vec<tokio::task::JoinHandle<()>>,
    drain: Duration,
}

pub use crate::http::run_alone;
pub use first::Made;

impl Gateway {
    /// Starts a gateway.
    ///
    /// # Errors
    /// A chain of sentences that says what could not be done and why.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        let started = Self::start_on_store(options).await;
        started.map_err(|error| {
            let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<store::Error>());
            match causes.any(|cause| matches!(cause, store::Error::Fatal(_))) {
                // It opened, and was found damaged by what was read then.
                true => error.context(
                    "nothing was served; `hookmill store check` tells what is wrong with the store, and `hookmill store \
                     salvage` makes a new one of what is left",
                ),
                false => error,
            }
        })
    }

    async fn start_on_store(options: Options) -> anyhow::Result<Self> {
        let Options { config, clock, .. } = &options;
        // Before anything is written.
        if let Some(key) = &options.operator_key {
            Control::check_operator_key(key).map_err(anyhow::Error::msg).context("HOOKMILL_OPERATOR_KEY")?;
        }
        let recorder = metrics_recorder()?;
        let vault = open_vault(&options)?;
        let (store, opened) = open_store(&options)?;
        let mut records = store.configuration().await.context("the configuration can't be read")?;
        check_key(&*store, &records, &vault).await?;
        let of_pipeline = taken_out(&mut records, |record| matches!(record, Record::Seen(_) | Record::Replay(_)));
        let refusals = taken_out(&mut records, |record| matches!(record, Record::Refusals(_)));
        let listener = bind(config.server.listen, "server.listen").await?;
        let admin_listener = bind(config.server.admin_listen, "server.admin_listen").await?;
        let address = listener.local_addr()?;
        let admin_address = admin_listener.local_addr()?;
        let mut config = config.clone();
        config.server.listen = address;
        let public_url = config.public_url();

        let engine = Engine::new(engine_config(&config)).context("the plugin engine could not be started")?;
        let plugins = presets::install(&engine, &config.plugins.files, &options.plugins).await?;
        let egress =
            Egress::new(egress_config(&config)?, clock.clone()).context("outbound HTTP could not be set up")?;
        let own_inboxes = Egress::new(own_inbox_config(&public_url, address)?, clock.clone())?;
        let dyn_store: Arc<dyn Store> = store.clone();
        let surroundings = Surroundings {
            egress: egress.clone(),
            inbox_prefix: format!("{public_url}/inbox/"),
            subscriptions_per_tenant: config.delivery.subscriptions_per_tenant,
            plugins: PluginLimits {
                versions: config.plugins.per_tenant,
                bytes: config.plugins.bytes_per_tenant,
                compile: config.plugins.compile_per_hour,
                cpu: config.plugins.cpu_per_minute,
            },
            retention: config.store.retention,
            max_body: config.server.max_body,
            profiles: Arc::new(load_profiles(config.profile_folder())),
        };
        let registry = Registry::load(
            dyn_store.clone(),
            vault.clone(),
            Shelf::new(engine.clone(), plugins),
            surroundings,
            clock.clone(),
            records,
        )
        .await?;
        let pipeline = Pipeline::start(pipeline::Setup {
            clock: clock.clone(),
            store: dyn_store.clone(),
            registry: registry.clone(),
            engine,
            authenticator: Authenticator::new(egress.clone(), clock.clone()),
            egress,
            own_inboxes,
            limits: pipeline_limits(&config),
            records: of_pipeline,
        })
        .await?;
        let mut control = Control::new(registry.clone(), dyn_store.clone(), pipeline.clone(), clock.clone());
        if let Some(folder) = config.profile_folder() {
            control = control.with_profile_folder(folder.to_owned());
        }
        if let Some(key) = &options.operator_key {
            control = control.with_operator_key(key).map_err(anyhow::Error::msg)?;
        }
        control.keep_refusals(refusals);
        let first = first::make(&control, &registry, &options, &public_url).await?;
        let (readiness, ready) = watch::channel(Readiness::Ready);
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(tend_metrics(recorder.clone(), stopped.clone()));
        let state = |ready: watch::Receiver<Readiness>| AppState {
            control: control.clone(),
            pipeline: pipeline.clone(),
            config: Arc::new(http_config(&config, &public_url)),
            readiness: ready,
            metrics: {
                let (recorder, pipeline) = (recorder.clone(), pipeline.clone());
                Arc::new(move || {
                    pipeline.measure();
                    // Anew each time, as a recorder forgets no series, and tenants and plugins come and go.
                    let plugins = PrometheusBuilder::new().build_recorder();
                    metrics::with_local_recorder(&plugins, || {
                        measures::describe();
                        pipeline.measure_plugins();
                    });
                    recorder.render() + &measures::declared(&plugins.handle().render())
                })
            },
        };
        let serving = vec![
            http::serve(listener, Doors::new(state(ready.clone())), stopped.clone(), config.server.body_timeout),
            http::serve(admin_listener, Doors::for_admin(state(ready)), stopped, config.server.body_timeout),
        ];
        tracing::info!(%address, %admin_address, public_url, store = ?opened, "ready");
        Ok(Self {
            address,
            admin_address,
            public_url,
            first,
            control,
            pipeline,
            store,
            readiness,
            stop,
            serving,
            drain: config.server.drain,
        })
    }

    /// What a tenant or operator can do, for callers in this process.
    #[must_use]
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// The data's way, for callers in this process.
    #[must_use]
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// Returns when the store has failed: the process must end then, and be started anew.
    pub async fn failed(&self) -> String {
        let mut fatal = self.store.fatal();
        let reason = match fatal.wait_for(Option::is_some).await {
            Ok(reason) => reason.as_deref().unwrap_or_default().to_owned(),
            // The committer is gone, which it never is while the store is held here.
            Err(_) => "its thread has ended".to_owned(),
        };
        self.readiness.send_replace(Readiness::Failed(reason.clone()));
        reason
    }

    /// Stops: takes no more, lets attempts under way end, closes the store.
    ///
    /// # Errors
    /// If the store could not be closed; nothing acknowledged is lost then either.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.readiness.send_replace(Readiness::Draining);
        self.stop.send_replace(true);
        self.pipeline.drain(self.drain).await;
        for serving in self.serving {
            // Connections that do not end are cut: whoever was not answered knows that it was not taken.
            let _ = tokio::time::timeout(self.drain, serving).await;
        }
        self.control.write_refusals().await;
        self.store.close().await.context("the store could not be closed")?;
        Ok(())
    }
}

async fn bind(address: SocketAddr, setting: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("can't listen on {address}; another program may: choose another with {setting}"))
}

fn open_vault(options: &Options) -> anyhow::Result<Arc<Vault>> {
    let vault = match &options.master_key {
        Some(key) => Vault::from_key_text(key.expose()).context("HOOKMILL_MASTER_KEY")?,
        None => {
            let file = options.config.master_key_file();
            if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                std::fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))?;
            }
            Vault::from_key_file(&file)?
        }
    };
    Ok(Arc::new(vault))
}

fn open_store(options: &Options) -> anyhow::Result<(Arc<SledStore>, Opened)> {
    let storage = &options.config.store;
    // What tenants post is in it: nobody else on the machine reads it.
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&storage.data)
        .with_context(|| format!("can't make the folder {}", storage.data.display()))?;
    let commits = metrics::histogram!("hookmill_store_commit_seconds");
    let mut sled = SledOptions {
        cache_capacity: storage.cache,
        accept_rollback_to: options.accept_rollback_to,
        on_commit: Some(Box::new(move |took: Duration, _| commits.record(took.as_secs_f64()))),
        ..SledOptions::default()
    };
    sled.disk.ballast = storage.ballast;
    let (store, opened) = SledStore::open(&store_folder(&storage.data), sled)?;
    Ok((Arc::new(store), opened))
}

/// Where the store lies in the data folder.
fn store_folder(data: &Path) -> PathBuf {
    data.join("sled")
}

/// One room's part of the configuration, which is read once for all.
fn taken_out(records: &mut Vec<Record>, wanted: impl Fn(&Record) -> bool) -> Vec<Record> {
    records.extract_if(.., |record| wanted(record)).collect()
}

/// A store is bound to its master key: with another, every secret in it would be lost one by one.
async fn check_key(store: &dyn Store, records: &[Record], vault: &Vault) -> anyhow::Result<()> {
    const NAME: &str = "master-key";
    let known = records.iter().find_map(|record| match record {
        Record::Setting(name, value) if name == NAME => Some(value),
        _ => None,
    });
    match known {
        Some(value) if *value != vault.fingerprint() => anyhow::bail!(
            "this store was made with another master key than `{}`: give that one (store.master_key or \
             HOOKMILL_MASTER_KEY), or its secrets can't be opened",
            vault.key_id()
        ),
        Some(_) => Ok(()),
        None => Ok(store
            .configure(vec![Record::Setting(NAME.to_owned(), vault.fingerprint().to_vec())], Vec::new())
            .await?),
    }
}

fn engine_config(config: &Config) -> EngineConfig {
    let plugins = &config.plugins;
    EngineConfig {
        time: plugins.time,
        memory: plugins.memory,
        output: plugins.output,
        log: plugins.log,
        hostcall_fuel: plugins.hostcall_fuel,
        component: plugins.component,
        instances: plugins.instances,
        concurrency: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        reuse: Reuse {
            instances: plugins.reuse_instances,
            per_tenant: plugins.reuse_per_tenant,
            memory: plugins.reuse_memory,
            calls: plugins.reuse_calls,
        },
        cache_dir: Some(config.store.data.join("compiled")),
        compiler: Some(CompilerConfig {
            // This very program, also where its file has been replaced by a newer one since.
            program: "/proc/self/exe".into(),
            time: plugins.compile_time,
            memory: plugins.compile_memory,
        }),
    }
}

fn egress_config(config: &Config) -> anyhow::Result<EgressConfig> {
    let egress = &config.egress;
    let mut dial = EgressConfig::usual();
    dial.allow.clone_from(&egress.dangerous_allow_targets);
    dial.own = own_addresses(config);
    if !egress.dns_servers.is_empty() {
        dial.names = Names::Servers(egress.dns_servers.clone());
    }
    dial.connect_timeout = egress.connect_timeout;
    dial.idle_timeout = egress.idle_timeout;
    for entry in &egress.dangerous_map_hosts {
        dial.map_hosts.push(config::mapped_host(entry).map_err(anyhow::Error::msg)?);
    }
    if !egress.extra_roots.as_os_str().is_empty() {
        dial.extra_roots = std::fs::read(&egress.extra_roots)
            .with_context(|| format!("egress.extra_roots: can't read {}", egress.extra_roots.display()))?;
    }
    Ok(dial)
}

/// Addresses that lead back to this gateway.
fn own_addresses(config: &Config) -> Vec<std::net::IpAddr> {
    let named =
        config.server.egress_ips.iter().filter(|net| net.prefix_len() == net.max_prefix_len()).map(|net| net.addr());
    [config.server.listen.ip(), config.server.admin_listen.ip()].into_iter().chain(named).collect()
}

/// For our own inboxes: whatever host we are called by, the connection goes to our own listener.
fn own_inbox_config(public_url: &str, address: SocketAddr) -> anyhow::Result<EgressConfig> {
    let mut dial = EgressConfig::usual();
    let host = Url::parse(public_url)?.host_str().unwrap_or_default().to_owned();
    let ip = match address.ip() {
        ip if ip.is_unspecified() => std::net::Ipv4Addr::LOCALHOST.into(),
        ip => ip,
    };
    dial.map_hosts.push((host, Url::parse(&format!("http://{}", SocketAddr::new(ip, address.port())))?));
    Ok(dial)
}

fn pipeline_limits(config: &Config) -> pipeline::Limits {
    let delivery = &config.delivery;
    pipeline::Limits {
        in_flight: if delivery.in_flight == 0 { in_flight_by_files() } else { delivery.in_flight },
        in_flight_per_endpoint: delivery.in_flight_per_endpoint,
        in_flight_per_host: delivery.in_flight_per_host,
        waiting_bytes: delivery.waiting_bytes,
        waiting_per_lane: delivery.waiting_per_lane,
        breaker_timeouts: delivery.breaker_timeouts,
        breaker_rest: delivery.breaker_rest,
        events_per_second: delivery.events_per_second,
        dedupe_window: delivery.dedupe_window,
        retention: config.store.retention,
        shadow_waiting: config.plugins.shadow_waiting,
        shadow_bytes: config.plugins.shadow_bytes,
        measure_tenants: config.server.metrics_by_tenant,
    }
}

/// Half of the files that may be open, after as many as may be are asked for; the other half is for clients
/// and the store.
fn in_flight_by_files() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let files = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let files = files.map_or(4096, |files| usize::try_from(files).unwrap_or(usize::MAX));
    (files.saturating_sub(256) / 2).clamp(32, 2048)
}

fn http_config(config: &Config, public_url: &str) -> HttpConfig {
    HttpConfig {
        #[expect(clippy::expect_used, reason = "checked when the configuration was loaded")]
        public_url: Url::parse(public_url).expect("the configuration's public_url is a URL"),
        max_body: config.server.max_body,
        max_plugin: config.plugins.component,
        bodies: config.server.bodies,
        body_timeout: config.server.body_timeout,
        egress_ips: config.server.egress_ips.iter().map(ToString::to_string).collect(),
        parse: ParseLimits { batch: config.server.max_batch },
    }
}

/// What is measured is kept as it came until somebody asks, or until this is done: where nobody ever asks, memory would
/// grow with every event.
async fn tend_metrics(metrics: PrometheusHandle, mut stopped: watch::Receiver<bool>) {
    const EVERY: Duration = Duration::from_secs(5);
    let stopped = stopped.wait_for(|stopped| *stopped);
    tokio::pin!(stopped);
    while tokio::time::timeout(EVERY, &mut stopped).await.is_err() {
        metrics.run_upkeep();
    }
}

/// One recorder a process; several gateways in one (tests, the demo) share it.
fn metrics_recorder() -> anyhow::Result<PrometheusHandle> {
    static HANDLE: std::sync::OnceLock<PrometheusHandle> = std::sync::OnceLock::new();
    static MAKING: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _making = MAKING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(handle) = HANDLE.get() {
        return Ok(handle.clone());
    }
    const SECONDS: [f64; 14] =
        [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 60.0];
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .install_recorder()?;
    measures::describe();
    metrics::gauge!("hookmill_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(HANDLE.get_or_init(|| handle).clone())
}
