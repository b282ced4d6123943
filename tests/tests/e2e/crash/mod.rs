//! What was acknowledged is delivered, whatever becomes of the process, and whatever becomes of the power.
//!
//! **Who acts.** Sixty-four clients post, singly and in batches, and remember what was acknowledged; an endpoint
//! counts what it takes, and refuses some events at first, so that there are retries. Then the process is killed
//! (`killed`), or the disk is left with what was synced (`power`), again and again, also while old events are removed
//! (`forgetting`). **What is promised.** Every acknowledged event is taken at least once; duplicates are counted.
//! **What is deliberately not.** Nothing here looks at a store's files: what counts is what arrives. And no run is like
//! another, since processes race; `HOOKMILL_CRASH_SEED` draws the same moments again.

mod forgetting;
mod killed;
mod power;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use hookmill_tests::{Answer, Gateway, Receiver, Tenant, is_long, unix_time, within};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::damage::{ids, list};

/// Clients that post at the same time.
const CLIENTS: usize = 64;
/// Of so many events one is refused at first.
const REFUSED: u64 = 10;

/// What is known on the outside.
#[derive(Default)]
struct Ledger {
    /// By their times, since ids sort by them.
    acknowledged: BTreeSet<String>,
    refused: HashSet<String>,
    taken: HashMap<String, usize>,
}

impl Ledger {
    fn missing(&self) -> usize {
        self.acknowledged.iter().filter(|id| !self.taken.contains_key(*id)).count()
    }

    /// Requests that were taken beyond one an event.
    fn duplicates(&self) -> usize {
        self.taken.values().sum::<usize>() - self.taken.len()
    }
}

/// An endpoint, its subscription, and what is known of them.
struct Scene {
    gateway: Gateway,
    tenant: Tenant,
    ledger: Arc<Mutex<Ledger>>,
    /// Its clock stands until it is moved.
    stands: bool,
}

impl Scene {
    async fn set(gateway: Gateway) -> Self {
        println!("moments drawn with HOOKMILL_CRASH_SEED={}", seed());
        let ledger = Arc::<Mutex<Ledger>>::default();
        let seen = ledger.clone();
        let endpoint = Receiver::scripted(move |request, _| {
            let id = request.header("webhook-id").to_owned();
            let mut seen = seen.lock().unwrap();
            let number = id.bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
            if number.is_multiple_of(REFUSED) && seen.refused.insert(id.clone()) {
                // Not 503, by which an endpoint asks to be left alone.
                return Answer::Status(500);
            }
            *seen.taken.entry(id).or_default() += 1;
            Answer::Status(200)
        })
        .await;
        let tenant = gateway.tenant("acme").await;
        let policy = json!({"schedule": ["0s", "1s", "1s", "2s", "5s"], "jitter": 0});
        tenant.subscribe(json!({"url": endpoint.url("/"), "events": ["*"], "retry_policy": policy})).await;
        Self { gateway, tenant, ledger, stands: false }
    }

    fn tenant(&self) -> Tenant {
        self.gateway.again(&self.tenant)
    }

    fn acknowledged(&self) -> usize {
        self.ledger.lock().unwrap().acknowledged.len()
    }

    fn all_acknowledged(&self) -> BTreeSet<String> {
        self.ledger.lock().unwrap().acknowledged.clone()
    }

    /// The events that the gateway has.
    async fn kept(&self) -> BTreeSet<String> {
        let events = list(&self.tenant(), "/v1/events").await.expect("it shows its events");
        ids(&events, "id")
    }

    /// Moves its clock on; gives the new time.
    async fn forward(&self, by: &str) -> Timestamp {
        self.gateway.clock().await.advance(by).await
    }

    /// Where time stands, no retry comes by itself.
    async fn tick(&self) {
        if self.stands {
            self.forward("1s").await;
        }
    }

    /// Starts clients, and waits until so many events are acknowledged in all.
    async fn load(&self, goal: usize) -> JoinSet<()> {
        let mut posting = JoinSet::new();
        for _ in 0..CLIENTS {
            posting.spawn(post_until_it_ends(self.tenant(), self.ledger.clone()));
        }
        let what = format!("{goal} events are acknowledged");
        within(Duration::from_secs(120), &what, async || (self.acknowledged() >= goal).then_some(())).await;
        posting
    }

    /// Waits until everything acknowledged has arrived, and nothing is owed any more.
    async fn all_arrive(&self) {
        let what = format!("all of {} acknowledged events arrive", self.acknowledged());
        within(patience(), &what, async || {
            self.tick().await;
            (self.ledger.lock().unwrap().missing() == 0).then_some(())
        })
        .await;
        self.nothing_is_owed().await;
    }

    async fn nothing_is_owed(&self) {
        let tenant = self.tenant();
        within(patience(), "nothing is owed any more", async || {
            self.tick().await;
            // All pages: one that has been looked through for long enough may be empty, and not the last.
            tenant.deliveries("status=pending").await.is_empty().then_some(())
        })
        .await;
    }

    /// Prints the account; gives the number of requests that were taken beyond one an event.
    fn account(&self, of: &str) -> usize {
        let ledger = self.ledger.lock().unwrap();
        println!(
            "{of}: {} events acknowledged, {} refused at first, none lost, {} taken again",
            ledger.acknowledged.len(),
            ledger.refused.len(),
            ledger.duplicates()
        );
        ledger.duplicates()
    }
}

/// Posts, singly and in batches by turns, until the gateway no longer answers.
async fn post_until_it_ends(tenant: Tenant, ledger: Arc<Mutex<Ledger>>) {
    for round in 0_u64.. {
        let single = round % 2 == 0;
        let event = r#"{"type":"load","data":{"some":"content","n":12345678901234567890}}"#;
        let (content_type, body) = match single {
            true => ("application/json", event.to_owned()),
            false => ("application/x-ndjson", vec![event; 20].join("\n")),
        };
        let reply = tenant.api.try_send("POST", "/v1/events", &[("content-type", content_type)], body).await;
        match reply {
            Some(reply) if reply.status == 202 => {
                let receipt: Value = reply.json(202);
                let ids = match single {
                    true => vec![&receipt["id"]],
                    false => receipt["data"].as_array().unwrap().iter().map(|one| &one["id"]).collect(),
                };
                let ids = ids.into_iter().filter_map(Value::as_str).map(str::to_owned);
                ledger.lock().unwrap().acknowledged.extend(ids);
            }
            // More than it can write just now.
            Some(reply) if reply.status == 503 => tokio::time::sleep(Duration::from_millis(5)).await,
            Some(reply) => panic!("{}: {}", reply.status, reply.text),
            None => return,
        }
    }
}

fn patience() -> Duration {
    Duration::from_secs(if is_long() { 600 } else { 60 })
}

/// What moments are drawn with: always the same, but another one in each long run, unless it is given.
fn seed() -> u64 {
    static SEED: LazyLock<u64> = LazyLock::new(|| match std::env::var("HOOKMILL_CRASH_SEED") {
        Ok(text) => text.parse().expect("HOOKMILL_CRASH_SEED is a number"),
        Err(_) if is_long() => unix_time(),
        Err(_) => 0,
    });
    *SEED
}

/// A number that looks like chance, the same for a seed.
fn chance(of: usize, below: u64) -> u64 {
    let place = (of as u64 + 1).wrapping_add(seed().wrapping_mul(0xD134_2543_DE82_EF95));
    let mixed = place.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    ((mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 33) % below
}
