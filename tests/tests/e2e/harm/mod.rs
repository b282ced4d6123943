//! Plugins that mean harm, each through the real gateway: what can be seen in them is refused by name when they are
//! uploaded, what can't ends in a fault by name each time that they run, and nobody else notices.
//!
//! **Who acts.** An attacker uploads, runs and subscribes; a bystander's events go to two endpoints meanwhile, once
//! through a plugin. **What is promised.** After each single guest of the tables (`refused`, `faulted`) the bystander's
//! next event arrives, at once and once. **What is deliberately not.** How much slower anything becomes is the bench's to
//! say: `hookmill bench --against plugins`.

mod components;
mod faulted;
mod refused;

use hookmill_tests::{Gateway, Guest, Receiver, Setup, Tenant};
use serde_json::{Value, json};

/// The most resident memory that a gateway may have after all of it.
const MOST_MEMORY: u64 = 400 << 20;

/// A gateway, an attacker, and who must not notice.
struct Scene {
    gateway: Gateway,
    attacker: Tenant,
    bystander: Tenant,
    endpoint: Receiver,
    /// The bystander's events so far.
    events: usize,
}

impl Scene {
    async fn set(setup: Setup) -> Self {
        let (gateway, endpoint) = (setup.start().await, Receiver::start().await);
        let (attacker, bystander) = (gateway.tenant("attacker").await, gateway.tenant("bystander").await);
        let redacted = json!([{"plugin": "redact", "config": {"paths": ["$.data.email"]}}]);
        for (path, transforms) in [("/plain", json!([])), ("/redacted", redacted)] {
            let wanted = json!({
                "url": endpoint.url(path), "events": ["order.*"], "envelope": "none", "transforms": transforms,
            });
            bystander.subscribe(wanted).await;
        }
        Self { gateway, attacker, bystander, endpoint, events: 0 }
    }

    /// Another event of the bystander's arrives as it should.
    async fn nobody_notices(&mut self) {
        self.events += 1;
        self.bystander.post("order.paid", json!({"email": "dana@shop.example", "n": self.events})).await;
        for (path, email) in [("/plain", "dana@shop.example"), ("/redacted", "***")] {
            let arrived = self.endpoint.wait(path, self.events).await;
            assert_eq!(arrived.len(), self.events, "each once");
            let last = arrived.last().expect("one has arrived").json();
            assert_eq!(last, json!({"email": email, "n": self.events}), "{path}");
        }
    }

    /// All is as it was: the gateway answers, has no more memory than it should, has left nothing behind, and takes a
    /// plugin that means no harm.
    async fn all_is_well(&mut self) {
        self.nobody_notices().await;
        for path in ["/healthz", "/readyz"] {
            self.gateway.public().get(path).await.is(200);
        }
        let memory = self.gateway.memory();
        assert!(memory < MOST_MEMORY, "{} MiB", memory >> 20);
        let compiled = std::fs::read_dir(self.gateway.data().join("compiled")).unwrap();
        let left: Vec<_> = compiled
            .map(|file| file.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|name| name.ends_with(".tmp"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
        self.attacker.upload(Guest::new("harmless", "1.0.0").build()).await.is(201);
        let failed = self.bystander.deliveries("status=failed").await;
        assert!(failed.is_empty(), "{failed:?}");
    }

    /// How many plugins the attacker has.
    async fn taken(&self) -> usize {
        let listed = self.attacker.api.get("/v1/plugins?limit=200").await.json(200);
        listed["data"].as_array().unwrap().iter().filter(|plugin| plugin["preset"] == false).count()
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("no {field} in {value}"))
}
