//! What happened, put together from the API and from what the endpoints saw.

use anyhow::Context;
use serde_json::{Value, json};

use super::endpoints::{Arrival, Endpoints};
use super::samples::Sample;
use super::wanted::Wanted;
use crate::cli::client::Api;
use crate::domain::{Secret, Signing};
use crate::signing::{Scheme, VerifyParts};

/// A subscription, with what came of it.
pub(super) struct Chapter {
    pub(super) wanted: Wanted,
    /// `sub_…`
    pub(super) id: String,
    scheme: Scheme,
    secret: Option<Secret>,
    /// What arrived, and whether it is genuine.
    pub(super) arrivals: Vec<(Arrival, Proof)>,
    /// Deliveries with their attempts, oldest first, as the API shows them.
    pub(super) deliveries: Vec<Value>,
}

/// Whether a request proves where it comes from, checked as its receiver would.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Proof {
    /// The signature in this header is right.
    Signed(String),
    /// It is not, and why.
    Broken(String),
    /// It has none, by the subscription's own word or its connector's.
    Unsigned,
}

/// A sample that was posted.
pub(super) struct Posted {
    pub(super) sample: Sample,
    /// `evt_…`
    pub(super) id: String,
    /// To how many subscriptions it is owed.
    pub(super) deliveries: u64,
}

impl Chapter {
    /// Makes the subscription through the API.
    pub(super) async fn begin(api: &mut Api, mut wanted: Wanted) -> anyhow::Result<Self> {
        wanted.body["name"] = json!(wanted.name);
        let made = api.post("/v1/subscriptions", wanted.body.to_string()).await;
        let made = made.with_context(|| format!("the subscription `{}` could not be made", wanted.name))?;
        let signing: Signing = serde_json::from_value(made["signing"].clone())?;
        let scheme = Scheme::for_delivery(&signing).map_err(|mistakes| anyhow::anyhow!("{mistakes:?}"))?;
        let secret = made["secret"].as_str().map(|secret| Secret::new(secret.to_owned()));
        let id = text(&made, "id").to_owned();
        Ok(Self { wanted, id, scheme, secret, arrivals: Vec::new(), deliveries: Vec::new() })
    }

    /// Looks up what came of it.
    pub(super) async fn end(&mut self, api: &mut Api, endpoints: &Endpoints) -> anyhow::Result<()> {
        if !self.wanted.at.is_empty() {
            let arrivals = endpoints.arrived_at(self.wanted.at);
            self.arrivals = arrivals.into_iter().map(|arrival| (arrival.clone(), self.prove(&arrival))).collect();
        }
        let mut deliveries = api.list(&format!("/v1/deliveries?limit=200&subscription_id={}", self.id)).await?;
        deliveries.reverse();
        for delivery in deliveries {
            self.deliveries.push(api.get(&format!("/v1/deliveries/{}", text(&delivery, "id"))).await?);
        }
        Ok(())
    }

    /// What a receiver that knows the secret makes of a request.
    fn prove(&self, arrival: &Arrival) -> Proof {
        let Some(header) = self.scheme.signature_header() else { return Proof::Unsigned };
        let Some(secret) = &self.secret else { return Proof::Broken("no secret is known".to_owned()) };
        let parts = VerifyParts {
            headers: &arrival.headers,
            body: &arrival.body,
            unpacked: None,
            url: self.wanted.body["url"].as_str().unwrap_or_default(),
            method: &arrival.method,
            now: arrival.at,
        };
        match self.scheme.keys(secret, None).map(|keys| self.scheme.verify(&keys, &parts)) {
            Ok(Ok(_)) => Proof::Signed(header.to_string()),
            Ok(Err(rejection)) => Proof::Broken(rejection.to_string()),
            Err(error) => Proof::Broken(error.to_string()),
        }
    }

    /// How many deliveries have this status.
    pub(super) fn count(&self, status: &str) -> usize {
        self.deliveries.iter().filter(|delivery| text(delivery, "status") == status).count()
    }

    /// How many attempts were made.
    pub(super) fn attempts(&self) -> u64 {
        self.deliveries.iter().filter_map(|delivery| delivery["attempt_count"].as_u64()).sum()
    }

    /// What is not as it must be.
    pub(super) fn shortfalls(&self) -> Vec<String> {
        let name = self.wanted.name;
        let counts = [("delivered", self.wanted.delivered), ("failed", self.wanted.failed)];
        let counts = counts.into_iter().filter_map(|(status, wanted)| {
            let found = self.count(status);
            (found != wanted).then(|| format!("{name}: {found} {status} instead of {wanted}{}", self.reasons()))
        });
        let proofs = self.arrivals.iter().filter_map(|(_, proof)| match proof {
            Proof::Broken(why) => Some(format!("{name}: {why}")),
            Proof::Signed(_) | Proof::Unsigned => None,
        });
        counts.chain(proofs).collect()
    }

    fn reasons(&self) -> String {
        let reasons: Vec<&str> = self.deliveries.iter().filter_map(|delivery| delivery["reason"].as_str()).collect();
        if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join("; ")) }
    }
}

/// A field that is a text; empty if it is none.
pub(super) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use hyper::HeaderMap;
    use jiff::Timestamp;

    use super::*;
    use crate::signing::SignParts;

    fn chapter(signing: Value, secret: &str) -> Chapter {
        let signing: Signing = serde_json::from_value(signing).unwrap();
        let wanted = Wanted {
            name: "A webhook",
            at: "/a",
            about: "",
            body: json!({"url": "http://a.example/a"}),
            delivered: 1,
            failed: 0,
        };
        Chapter {
            wanted,
            id: "sub_1".to_owned(),
            scheme: Scheme::for_delivery(&signing).unwrap(),
            secret: Some(Secret::new(secret.to_owned())),
            arrivals: Vec::new(),
            deliveries: Vec::new(),
        }
    }

    fn arrival(headers: HeaderMap) -> Arrival {
        Arrival {
            at: Timestamp::UNIX_EPOCH,
            method: "POST".to_owned(),
            path: "/a".to_owned(),
            headers,
            body: Bytes::from_static(b"{}"),
            status: 200,
        }
    }

    #[test]
    fn a_signature_is_believed_only_if_it_is_right() {
        let chapter = chapter(json!({"scheme": "hmac", "header": "x-sig", "value": "sha256={signature}"}), "secret");
        let keys = chapter.scheme.keys(chapter.secret.as_ref().unwrap(), None).unwrap();
        let sign = |body: &[u8]| {
            let parts =
                SignParts { id: "evt_1", timestamp_s: 0, body, url: "", method: "POST", headers: &HeaderMap::new() };
            HeaderMap::from_iter(chapter.scheme.sign(&keys, &parts).unwrap())
        };
        assert_eq!(chapter.prove(&arrival(sign(b"{}"))), Proof::Signed("x-sig".to_owned()));
        for wrong in [sign(b"{ }"), HeaderMap::new()] {
            assert!(matches!(chapter.prove(&arrival(wrong)), Proof::Broken(_)));
        }
        let unsigned = self::chapter(json!({"scheme": "none"}), "secret");
        assert_eq!(unsigned.prove(&arrival(HeaderMap::new())), Proof::Unsigned);
    }

    #[test]
    fn what_is_missing_is_named_with_its_reason() {
        let mut chapter = chapter(json!({"scheme": "none"}), "secret");
        chapter.deliveries = vec![json!({"status": "failed", "reason": "the endpoint answered 500"})];
        chapter.arrivals = vec![(arrival(HeaderMap::new()), Proof::Broken("no signature matched".to_owned()))];
        assert_eq!(
            chapter.shortfalls(),
            [
                "A webhook: 0 delivered instead of 1 (the endpoint answered 500)",
                "A webhook: 1 failed instead of 0 (the endpoint answered 500)",
                "A webhook: no signature matched",
            ]
        );
        chapter.deliveries = vec![json!({"status": "delivered"})];
        chapter.arrivals.clear();
        assert!(chapter.shortfalls().is_empty());
    }
}
