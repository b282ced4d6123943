//! An attack under way: its endpoints, and the clients that post.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use hyper::StatusCode;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::slow::{BODY, LET_GO, Slow};
use super::{Attack, Pace, Wave, endpoint};
use crate::cli::client::{Api, problem};
use crate::domain::{Secret, plugin_name};

/// Connections that make the subscriptions.
const MAKING: usize = 32;
/// How often a paced wave posts.
const BEAT: Duration = Duration::from_millis(20);
/// How often a tenant looks for what was disabled.
const LOOK: Duration = Duration::from_millis(250);
/// What even an attacker waits after a refusal, or it would measure nothing but refusals.
const REST: Duration = Duration::from_millis(5);
/// What a slow client waits when it has been let go.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a slow client is let at most, and afterwards what is still under way.
const PATIENCE: Duration = Duration::from_secs(300);
/// Deliveries that are looked at afterwards, of all waves and of each at least, and the pages in which they are looked for.
const LOOKED_AT: usize = 200;
const LOOKED_AT_OF_EACH: usize = 8;
const PAGES: usize = 100;

/// Where an attack is aimed, and by whom.
#[derive(Clone)]
struct Aim {
    gateway: SocketAddr,
    key: Secret,
}

impl Aim {
    fn api(&self) -> Api {
        Api::new(self.gateway, self.key.clone())
    }
}

/// What the clients of an attack share.
#[derive(Default)]
struct Seen {
    over: AtomicBool,
    posted: AtomicUsize,
    /// What requests were answered with.
    answers: Mutex<BTreeMap<String, u64>>,
}

impl Seen {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn count(&self, answer: String) {
        *self.answers.lock().entry(answer).or_default() += 1;
    }
}

/// An attack, set up. What it does itself is done on a thread of its own.
pub(in crate::cli::bench) struct Assault {
    attack: Attack,
    aim: Aim,
    waves: Vec<Arc<Wave>>,
    /// Plugins that are uploaded again and again.
    refused: Vec<(&'static str, Bytes)>,
    seen: Arc<Seen>,
    /// Whoever posts, uploads and dawdles.
    clients: JoinSet<()>,
    runtime: Option<Runtime>,
}

impl Assault {
    /// Opens the endpoints and makes the subscriptions.
    pub(in crate::cli::bench) async fn prepare(
        attack: Attack,
        gateway: SocketAddr,
        key: Secret,
    ) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let waves = attack.waves().into_iter().map(Arc::new).collect();
        let refused = attack.refused_plugins().into_iter().map(|(name, component)| (name, component.into())).collect();
        let (aim, seen) = (Aim { gateway, key }, Arc::default());
        let clients = JoinSet::new();
        let assault = Self { attack, aim, waves, refused, seen, clients, runtime: Some(runtime) };
        let mut api = assault.aim.api();
        for (name, component) in attack.plugins() {
            let (status, answer) = api.try_upload(component.into()).await?;
            ensure!(status == StatusCode::CREATED, "the plugin `{name}` was answered {status}: {}", problem(&answer));
        }
        for (at, wave) in assault.waves.iter().enumerate() {
            assault.subscribe(at, wave).await?;
        }
        Ok(assault)
    }

    async fn subscribe(&self, at: usize, wave: &Arc<Wave>) -> anyhow::Result<()> {
        let manner = wave.manner;
        let addresses = self.spawn(async move { endpoint::open(manner).await })?.await??;
        let next = Arc::new(AtomicUsize::new(0));
        let mut making = JoinSet::new();
        for _ in 0..MAKING {
            let (mut api, wave, next, addresses) = (self.aim.api(), wave.clone(), next.clone(), addresses.clone());
            making.spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= wave.subscriptions {
                        return anyhow::Ok(());
                    }
                    let url = format!("http://{}/{number}", addresses[number % addresses.len()]);
                    api.post("/v1/subscriptions", wave.subscription(at, number, &url).to_string()).await?;
                }
            });
        }
        while let Some(made) = making.join_next().await {
            made??;
        }
        Ok(())
    }

    fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> anyhow::Result<tokio::task::JoinHandle<T>> {
        Ok(self.runtime.as_ref().context("the attack is over")?.spawn(work))
    }

    /// Sets a client going.
    fn send(&mut self, client: impl Future<Output = ()> + Send + 'static) -> anyhow::Result<()> {
        let runtime = self.runtime.as_ref().context("the attack is over")?;
        self.clients.spawn_on(client, runtime.handle());
        Ok(())
    }

    /// Begins; `deliveries` is how many a second others get.
    pub(in crate::cli::bench) fn begin(&mut self, deliveries: f64) -> anyhow::Result<()> {
        let (aim, seen) = (self.aim.clone(), self.seen.clone());
        // A twentieth of all, of which each such wave takes one.
        let paced = self.waves.iter().filter(|wave| matches!(wave.pace, Pace::Twentieth)).count();
        let twentieth = deliveries / (20.0 - paced as f64);
        for (at, wave) in self.waves.clone().into_iter().enumerate() {
            let connections = if let Pace::Closed(connections) = wave.pace { connections } else { 1 };
            for _ in 0..connections {
                self.send(post(aim.clone(), at, wave.clone(), twentieth, seen.clone()))?;
            }
        }
        if self.plugins() > 0 {
            self.send(enable(aim.clone(), seen.clone()))?;
        }
        for (name, component) in self.refused.clone() {
            self.send(upload(aim.clone(), name, component, seen.clone()))?;
        }
        let slow = self.attack.slow_clients();
        for number in 0..slow {
            // All the time as many come as go: it is not haste that they do harm by.
            let wait = (LET_GO + PAUSE).mul_f64(number as f64 / slow as f64);
            self.send(dawdle(aim.clone(), number, wait, seen.clone()))?;
        }
        Ok(())
    }

    /// How many plugins its deliveries go through.
    fn plugins(&self) -> usize {
        self.waves.iter().filter(|wave| wave.through.is_some()).count()
    }

    /// Posts no more; the endpoints stay as they are.
    pub(in crate::cli::bench) fn end(&self) {
        self.seen.over.store(true, Ordering::Relaxed);
    }

    /// When it is over: what its requests were answered with, how its plugins ended, and what some of its attempts came to,
    /// by name. What is under way is waited for.
    pub(in crate::cli::bench) async fn faults(&mut self) -> anyhow::Result<BTreeMap<String, u64>> {
        let clients = &mut self.clients;
        let ending = async { while clients.join_next().await.is_some() {} };
        if tokio::time::timeout(PATIENCE, ending).await.is_err() {
            self.seen.count("clients that did not come to an end".to_owned());
        }
        let mut faults = self.seen.answers.lock().clone();
        let mut api = self.aim.api();
        if self.plugins() > 0 {
            self.look_at_plugins(&mut api, &mut faults).await?;
        }
        for (at, wave) in self.waves.iter().enumerate() {
            if wave.filters.is_some() {
                let events = api.get("/v1/events?limit=1").await?;
                let id = events.pointer("/data/0/id").and_then(|id| id.as_str()).context("nothing was accepted")?;
                let explained = api.get(&format!("/v1/events/{id}/explain?limit=1")).await?;
                let why = explained.pointer("/data/0/why").and_then(|why| why.as_str()).unwrap_or_default();
                faults.insert(why.split(':').next().unwrap_or(why).to_owned(), 1);
                continue;
            }
            let of_type = if wave.all { format!("&type={}", wave.event_type(at, 0)) } else { String::new() };
            let waves = if wave.all { 1 } else { self.waves.len() };
            self.look_at(&mut api, &of_type, waves, &mut faults).await?;
            if !wave.all {
                // What was looked at is of all such waves.
                break;
            }
        }
        Ok(faults)
    }

    /// What each plugin's runs came to, once each has faulted.
    async fn look_at_plugins(&self, api: &mut Api, faults: &mut BTreeMap<String, u64>) -> anyhow::Result<()> {
        let began = Instant::now();
        let usage = loop {
            let usage = api.get("/v1/usage").await?;
            let used = usage["plugins"].as_array().into_iter().flatten();
            let faulted = used.filter(|plugin| plugin["faults"].as_object().is_some_and(|faults| !faults.is_empty()));
            if faulted.count() >= self.plugins() || began.elapsed() > PATIENCE {
                break usage;
            }
            tokio::time::sleep(LOOK).await;
        };
        for plugin in usage["plugins"].as_array().into_iter().flatten() {
            let reference = plugin["plugin"].as_str().unwrap_or_default();
            let name = plugin_name(reference);
            for (kind, count) in plugin["faults"].as_object().into_iter().flatten() {
                faults.insert(format!("`{name}` run: {kind}"), count.as_u64().unwrap_or_default());
            }
        }
        Ok(())
    }

    /// Looks at some of the newest deliveries that were tried, once some of each of so many waves were.
    async fn look_at(
        &self,
        api: &mut Api,
        of_type: &str,
        waves: usize,
        faults: &mut BTreeMap<String, u64>,
    ) -> anyhow::Result<()> {
        let began = Instant::now();
        let mut tried = self.tried(api, of_type, waves).await?;
        while tried.len() < waves && began.elapsed() < PATIENCE {
            tokio::time::sleep(LOOK).await;
            tried = self.tried(api, of_type, waves).await?;
        }
        for id in tried.into_values().flatten() {
            let detail = api.get(&format!("/v1/deliveries/{id}")).await?;
            for attempt in detail["attempts"].as_array().into_iter().flatten() {
                *faults.entry(name(attempt)).or_default() += 1;
            }
        }
        Ok(())
    }

    /// The ids of some of the newest deliveries that were tried, by the word in their type that is the wave's.
    async fn tried(&self, api: &mut Api, of_type: &str, waves: usize) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
        let most = (LOOKED_AT / self.waves.len().max(1)).max(LOOKED_AT_OF_EACH);
        let list = format!("/v1/deliveries?min_attempts=1&limit=200{of_type}");
        let (mut path, mut tried) = (list.clone(), BTreeMap::<String, Vec<String>>::new());
        for _ in 0..PAGES {
            let page = api.get(&path).await?;
            for delivery in page["data"].as_array().into_iter().flatten() {
                let text = |field: &str| delivery[field].as_str().unwrap_or_default();
                let wave = text("event_type").split('.').nth(1).unwrap_or_default();
                let of_wave = tried.entry(wave.to_owned()).or_default();
                if of_wave.len() < most {
                    of_wave.push(text("id").to_owned());
                }
            }
            let enough = tried.len() >= waves && tried.values().all(|of_wave| of_wave.len() >= most);
            match page["next"].as_str() {
                Some(next) if !enough => path = format!("{list}&cursor={next}"),
                _ => break,
            }
        }
        Ok(tried)
    }
}

impl Drop for Assault {
    fn drop(&mut self) {
        self.end();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// An attempt's outcome, with what the API says of its kind.
fn name(attempt: &Value) -> String {
    let outcome = attempt["outcome"].as_str().unwrap_or("no outcome");
    let detail = attempt["detail"].as_str().unwrap_or_default();
    let kind = detail.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map(|(kind, _)| kind.to_owned());
    let status = attempt["response"]["status_code"].as_u64().map(|status| status.to_string());
    match (outcome, kind, status) {
        ("delivered", _, _) if attempt["response"]["truncated"] == true => "delivered, answer cut".to_owned(),
        ("delivered", _, _) => "delivered".to_owned(),
        (_, Some(kind), _) | (_, None, Some(kind)) => format!("{outcome} ({kind})"),
        _ => outcome.to_owned(),
    }
}

/// Posts until it is over.
async fn post(aim: Aim, at: usize, wave: Arc<Wave>, twentieth: f64, seen: Arc<Seen>) {
    let mut api = aim.api();
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut due = 0.0;
    while !seen.is_over() {
        let events = match wave.pace {
            Pace::Closed(_) => 1,
            Pace::Twentieth => {
                beat.tick().await;
                due += twentieth * BEAT.as_secs_f64();
                let events = due.floor();
                due -= events;
                events as usize
            }
        };
        let events: Vec<String> = (0..events)
            .map(|_| {
                let number = seen.posted.fetch_add(1, Ordering::Relaxed);
                format!(r#"{{"type":"{}","data":{}}}"#, wave.event_type(at, number), wave.data)
            })
            .collect();
        if events.is_empty() {
            continue;
        }
        let body = if events.len() == 1 { events.concat() } else { format!("[{}]", events.join(",")) };
        let answered = api.try_post("/v1/events", body).await;
        let accepted = matches!(answered, Ok((StatusCode::ACCEPTED, _)));
        seen.count(answered.map_or_else(|_| "posted, no answer".to_owned(), |(status, _)| format!("posted: {status}")));
        if !accepted {
            tokio::time::sleep(REST).await;
        }
    }
}

/// Uploads a plugin until it is over, and until it has been answered once.
async fn upload(aim: Aim, name: &'static str, component: Bytes, seen: Arc<Seen>) {
    let (mut api, mut answered) = (aim.api(), false);
    while !answered || !seen.is_over() {
        let said = match api.try_upload(component.clone()).await {
            Ok((_, answer)) => {
                answered = true;
                answer["type"].as_str().unwrap_or("taken").trim_start_matches("/problems/").to_owned()
            }
            Err(_) => "no answer".to_owned(),
        };
        seen.count(format!("`{name}` uploaded: {said}"));
        tokio::time::sleep(REST).await;
    }
}

/// Enables what was disabled, until it is over.
async fn enable(aim: Aim, seen: Arc<Seen>) {
    let mut api = aim.api();
    while !seen.is_over() {
        for subscription in api.list("/v1/subscriptions?limit=200&state=disabled").await.unwrap_or_default() {
            if let Some(id) = subscription["id"].as_str()
                && api.patch(&format!("/v1/subscriptions/{id}"), json!({"enabled": true}).to_string()).await.is_ok()
            {
                seen.count("disabled, and enabled again".to_owned());
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Keeps a connection without ever coming to the point, until it is let go; then again.
async fn dawdle(aim: Aim, number: usize, wait: Duration, seen: Arc<Seen>) {
    let slow = Slow::of(number);
    tokio::time::sleep(wait).await;
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\ncontent-length: {BODY}\r\n",
        aim.gateway,
        aim.key.expose()
    );
    while !seen.is_over() {
        let Ok(mut stream) = TcpStream::connect(aim.gateway).await else {
            seen.count("connection refused".to_owned());
            tokio::time::sleep(LOOK).await;
            continue;
        };
        let end = match tokio::time::timeout(PATIENCE, slow.keep(&mut stream, &head)).await {
            Ok(said) => format!("let go, {}", said.split(' ').nth(1).unwrap_or("no answer")),
            Err(_) => "never let go".to_owned(),
        };
        seen.count(format!("{}: {end}", slow.name()));
        tokio::time::sleep(PAUSE).await;
    }
}
