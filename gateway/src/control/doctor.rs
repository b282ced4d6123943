//! A request that a receiver did not believe, compared with what was sent.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use serde_json::Value;

use super::{AttemptBody, Control, DeliveryDetail, Error, Result};
use crate::domain::{AttemptRequest, Delivery, DeliveryId, EventId, Subscription, SubscriptionId, TenantId};
use crate::registry::Plan;
use crate::signing::{Case, Diagnosis, KnownSecret, Scheme, SentRequest, Standing, VerifyParts};
use crate::store::DeliveryFilter;

/// How many of a subscription's last deliveries are looked through for a request that does not say which it is.
const LOOKED_THROUGH: usize = 50;

/// A request as a receiver got it, with what else its developer can say.
#[derive(Debug, Default)]
pub struct Complaint {
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
    /// The URL that the receiver holds it against; the subscription's, unless given.
    pub url: Option<String>,
    /// Its method; that which was sent, unless given.
    pub method: Option<String>,
    /// The delivery that it is of, where the request does not say so itself.
    pub delivery_id: Option<DeliveryId>,
    /// What the receiver's code computed as the signature.
    pub computed: Option<String>,
    /// When the receiver looked at it; now, unless given.
    pub received_at: Option<Timestamp>,
}

/// What was found, and with what the request was compared.
#[derive(Debug)]
pub struct Examined {
    /// What was found.
    pub diagnosis: Diagnosis,
    /// The recorded delivery that it was compared with.
    pub delivery: Option<Delivery>,
}

impl Control {
    /// Says why a receiver does not believe a request of this subscription.
    ///
    /// # Errors
    /// If there is no such subscription, it does not sign, or `delivery_id` names no delivery of it.
    pub async fn diagnose(&self, tenant: TenantId, id: SubscriptionId, complaint: Complaint) -> Result<Examined> {
        let plan = self.subscription(tenant, id)?;
        let scheme = Scheme::for_delivery(&plan.spec.signing())
            .map_err(|errors| Error::Internal(format!("the stored signing scheme does not compile: {errors:?}")))?;
        if !scheme.signs() {
            return Err(Error::Conflict(
                "this subscription does not sign, so there is no signature to be wrong: set its `signing`".to_owned(),
            ));
        }
        let recorded = self.recorded(&plan, &scheme, &complaint).await?;
        let secrets = self.known_secrets(&plan.subscription);
        let products = self.signature_headers();
        let (delivery, attempts) = match recorded {
            Some(DeliveryDetail { delivery, attempts }) => (Some(delivery), attempts),
            None => (None, Vec::new()),
        };
        let own_url = plan.url.as_ref().map(ToString::to_string).unwrap_or_default();
        let sent: Vec<SentRequest> = attempts.into_iter().filter_map(|attempt| sent(attempt, &own_url)).collect();
        let now = complaint.received_at.unwrap_or_else(|| self.clock.now());
        // Many hashes of a body of a mebibyte are more than a thread that serves others should do, and more than many at
        // a time should ask for; it is over when the work is, even if the client has gone away.
        let one = self.diagnosing.clone().lock_owned().await;
        let examining = tokio::task::spawn_blocking(move || {
            let _one = one;
            let last = sent.last();
            let case = Case {
                received: VerifyParts {
                    headers: &complaint.headers,
                    body: &complaint.body,
                    unpacked: None,
                    url: complaint.url.as_deref().unwrap_or_else(|| last.map_or(&own_url, |sent| &sent.url)),
                    method: complaint.method.as_deref().unwrap_or_else(|| last.map_or("POST", |sent| &sent.method)),
                    now,
                },
                sent: &sent,
                secrets: &secrets,
                computed: complaint.computed.as_deref(),
                products: &products,
            };
            scheme.diagnose(&case)
        });
        let diagnosis = examining.await.map_err(|error| Error::Internal(format!("a diagnosis: {error}")))?;
        let diagnosis = diagnosis.ok_or_else(|| Error::Internal("a scheme that signs has no layout".to_owned()))?;
        Ok(Examined { diagnosis, delivery })
    }

    /// The secrets that count or counted, the current one first.
    fn known_secrets(&self, subscription: &Arc<Subscription>) -> Vec<KnownSecret> {
        let subscription = self.with_finished_rotation(subscription);
        let current = self.registry.open_secret(&subscription, "/secret");
        let mut known: Vec<KnownSecret> =
            current.into_iter().map(|secret| KnownSecret { secret, standing: Standing::Current }).collect();
        if let Some(next) = &subscription.next_secret
            && let Some(secret) = self.registry.open_next_secret(&subscription)
        {
            known.push(KnownSecret { secret, standing: Standing::Next { from: next.from } });
        }
        let previous = self.registry.open_previous_secrets(&subscription).into_iter();
        known.extend(previous.map(|(secret, until)| KnownSecret { secret, standing: Standing::Previous { until } }));
        known
    }

    /// The headers in which known products sign, and the products' names.
    fn signature_headers(&self) -> Vec<(HeaderName, String)> {
        let mut headers = Vec::new();
        for profile in self.registry.profiles().iter() {
            let fields = profile.source.as_ref().and_then(|half| half.fields.get("verification"));
            let listed = match fields {
                Some(Value::Array(several)) => several.as_slice(),
                Some(one) => std::slice::from_ref(one),
                None => &[],
            };
            let schemes =
                listed.iter().filter_map(|one| Scheme::for_source(&serde_json::from_value(one.clone()).ok()?).ok());
            for header in schemes.filter_map(|scheme| scheme.signature_header().cloned()) {
                headers.push((header, profile.title.clone()));
            }
        }
        headers
    }

    /// The delivery that a request is of: the one that is named, the one whose id is in it, or the one of the last that
    /// was sent with the same signature.
    async fn recorded(&self, plan: &Plan, scheme: &Scheme, complaint: &Complaint) -> Result<Option<DeliveryDetail>> {
        let (tenant, subscription) = (plan.subscription.tenant_id, plan.subscription.id);
        let own = |delivery: &Delivery| delivery.subscription_id == subscription;
        if let Some(id) = complaint.delivery_id {
            let found = self.store.delivery(tenant, id).await?.filter(own);
            let found = found.ok_or_else(|| {
                Error::field(
                    "/delivery_id",
                    "there is no such delivery of this subscription; GET /v1/deliveries lists them",
                )
            })?;
            return Ok(Some(self.delivery(tenant, found.id).await?));
        }
        let texts: Vec<&str> = complaint.headers.values().filter_map(|value| value.to_str().ok()).collect();
        if let Some(id) = texts.iter().find_map(|text| text.parse::<DeliveryId>().ok())
            && let Some(found) = self.store.delivery(tenant, id).await?.filter(own)
        {
            return Ok(Some(self.delivery(tenant, found.id).await?));
        }
        let event_id = texts.iter().find_map(|text| text.parse::<EventId>().ok()).or_else(|| id_in(&complaint.body));
        let filter = DeliveryFilter { subscription_id: Some(subscription), event_id, ..Default::default() };
        let page = self.store.deliveries(tenant, &filter, LOOKED_THROUGH, None).await?;
        let mut newest = None;
        for delivery in page.items {
            let attempts = self.store.attempts(tenant, delivery.id).await?;
            let requests: Vec<&AttemptRequest> =
                attempts.iter().filter_map(|attempt| attempt.request.as_ref()).collect();
            if requests.iter().any(|request| shares_signature(scheme, request, &texts)) {
                return Ok(Some(self.delivery(tenant, delivery.id).await?));
            }
            if newest.is_none() && !requests.is_empty() {
                newest = Some(delivery.id);
            }
        }
        match newest.filter(|_| event_id.is_some()) {
            Some(id) => Ok(Some(self.delivery(tenant, id).await?)),
            None => Ok(None),
        }
    }
}

/// Whether a value of the request is what was sent as its signature.
fn shares_signature(scheme: &Scheme, request: &AttemptRequest, texts: &[&str]) -> bool {
    let header = scheme.signature_header().map(HeaderName::as_str).unwrap_or_default();
    request.headers.iter().any(|(name, value)| name == header && texts.contains(&value.as_str()))
}

/// The event's id, where the body has it as its own.
fn id_in(body: &[u8]) -> Option<EventId> {
    serde_json::from_slice::<Value>(body).ok()?.get("id")?.as_str()?.parse().ok()
}

/// A recorded attempt as the request that was sent. `own_url` stands for a recorded one that is cut, as it is a
/// credential.
fn sent(attempt: AttemptBody, own_url: &str) -> Option<SentRequest> {
    let AttemptRequest { method, url, headers, .. } = attempt.attempt.request?;
    let pair =
        |(name, value): (String, String)| Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?));
    Some(SentRequest {
        headers: headers.into_iter().filter_map(pair).collect(),
        body: attempt.body?,
        url: if url.ends_with("/…") { own_url.to_owned() } else { url },
        method,
    })
}
