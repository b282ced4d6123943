//! Objects for the tests of this room.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::{Accepted, Dedupe};
use crate::domain::{
    Attempt, AttemptId, AttemptRequest, AttemptResponse, AuthNeed, Batching, Delivery, DeliveryId, Digest, Event,
    EventId, EventType, Frozen, Interprets, Kind, Lane, Manifest, OnUnknown, Only, Outcome, PluginId, PluginRun,
    PluginVersion, Replay, ReplayId, ReplaySpec, ReplayState, State, Status, Subscription, SubscriptionId, TenantId,
    Trigger, Verdict,
};

/// So many milliseconds after the first of January 2026.
pub(super) fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(1_767_225_600_000 + ms).unwrap()
}

pub(super) fn event(tenant_id: TenantId, now: Timestamp, data: &str) -> Event {
    Event {
        id: EventId::new(now),
        tenant_id,
        external_id: Some("ext-1".into()),
        event_type: EventType::parse("event.purchase_complete").unwrap(),
        source_id: None,
        source: Some("shop".into()),
        timestamp: now,
        received_at: now,
        data: data.into(),
        attributes: vec![("x-request-id".into(), "r-1".into())],
    }
}

/// A plugin whose bytes these are.
pub(super) fn plugin_version(tenant_id: TenantId, bytes: &[u8]) -> PluginVersion {
    PluginVersion {
        id: PluginId::new(at(0)),
        tenant_id,
        name: "stamp".to_owned(),
        digest: Digest(Sha256::digest(bytes).into()),
        size: bytes.len() as u64,
        manifest: Manifest {
            name: "stamp".to_owned(),
            version: "1.0.0".to_owned(),
            title: "Stamp".to_owned(),
            description: String::new(),
            kind: Kind::Transform,
            config_schema: "{}".to_owned(),
            hosts: Vec::new(),
            auth: AuthNeed::None,
            interprets: Interprets::Never,
            batching: Batching { max_events: 1, max_bytes: 0, max_wait_ms: 0 },
            idempotency: None,
            on_unknown: OnUnknown::Retry,
            rate: None,
            contract: "0.1.0".to_owned(),
        },
        created_at: at(0),
    }
}

/// A subscription to everything.
pub(super) fn subscription(tenant_id: TenantId, id: SubscriptionId) -> Subscription {
    Subscription {
        id,
        tenant_id,
        revision: 1,
        spec: serde_json::from_value(serde_json::json!({"events": ["*"]})).unwrap(),
        secrets: BTreeMap::new(),
        hosts: None,
        next_secret: None,
        previous_secrets: Vec::new(),
        state: State::Active,
        state_reason: None,
        state_since: at(0),
        created_at: at(0),
        updated_at: at(0),
    }
}

pub(super) fn owed(event: &Event, lane: Lane) -> Delivery {
    Delivery {
        id: DeliveryId::new(event.received_at),
        tenant_id: event.tenant_id,
        event_id: event.id,
        event_type: event.event_type.clone(),
        subscription_id: lane.subscription_id,
        revision: 3,
        lane,
        status: Status::Pending,
        reason: None,
        trigger: Trigger::Automatic,
        attempt_count: 0,
        created_at: event.received_at,
        next_attempt_at: Some(event.received_at),
        finished_at: None,
        last_status_code: None,
        frozen: None,
        begun: false,
        fresh_id: false,
    }
}

pub(super) fn delivery() -> Delivery {
    let now = at(0);
    owed(&event(TenantId::new(now), now, "{}"), Lane::of(SubscriptionId::new(now)))
}

/// An event owed to each of these lanes, nothing of it in hand.
pub(super) fn accepted(tenant: TenantId, now: Timestamp, lanes: &[Lane]) -> Accepted {
    accepted_with(tenant, now, lanes, r#"{"amount":120}"#)
}

pub(super) fn accepted_with(tenant: TenantId, now: Timestamp, lanes: &[Lane], data: &str) -> Accepted {
    let event = event(tenant, now, data);
    let deliveries = lanes.iter().map(|lane| owed(&event, *lane)).collect();
    Accepted { event: Arc::new(event), deliveries, in_hand: 0, dedupe: None }
}

pub(super) fn dedupe(key: &str, content: u8, until: Timestamp) -> Option<Dedupe> {
    Some(Dedupe { scope: "client".to_owned(), key: key.to_owned(), content: [content; 32], until })
}

pub(super) fn attempt(number: u32, now: Timestamp, outcome: Outcome, verdict: Verdict) -> Attempt {
    Attempt {
        id: AttemptId::new(now),
        number,
        trigger: Trigger::Automatic,
        outcome,
        started_at: now,
        duration: Duration::from_millis(12),
        since_received: Duration::from_millis(20),
        request: Some(AttemptRequest {
            method: "POST".to_owned(),
            url: "https://example.com/hook".to_owned(),
            headers: vec![("webhook-id".to_owned(), "evt_1".to_owned())],
            body: None,
        }),
        response: Some(AttemptResponse {
            status_code: 200,
            headers: vec![("content-type".to_owned(), "text/plain".to_owned())],
            body: b"ok".to_vec(),
            truncated: false,
        }),
        plugins: vec![PluginRun {
            plugin: "redact@1.2.0".to_owned(),
            digest: crate::domain::Digest([7; 32]),
            cpu_us: 90,
            log: Vec::new(),
        }],
        verdict,
        because: "the endpoint answered 200".to_owned(),
    }
}

pub(super) fn frozen(bytes: usize) -> Frozen {
    Frozen {
        method: Some("PUT".to_owned()),
        url: None,
        headers: vec![("x-a".to_owned(), "b".to_owned())],
        content_type: "application/json".to_owned(),
        body: vec![b'f'; bytes],
        event_type: "event.purchase_complete".to_owned(),
        timestamp: "2026-01-01T00:00:00.000Z".to_owned(),
        plugins: vec![("redact@1.2.0".to_owned(), crate::domain::Digest([7; 32]))],
    }
}

/// A replay of everything, with new ids.
pub(super) fn replay(tenant_id: TenantId) -> Replay {
    let (since, until) = (at(0), at(1_000));
    let spec = ReplaySpec { since, until, only: Only::All, filter: None, subscription_id: None, fresh_ids: true };
    Replay {
        id: ReplayId::new(at(0)),
        tenant_id,
        spec,
        state: ReplayState::Running,
        reason: None,
        events_seen: 0,
        events_matched: 0,
        deliveries_made: 4,
        cursor: None,
        started_at: at(0),
        finished_at: None,
    }
}

/// The delivery as a success leaves it.
pub(super) fn delivered(mut delivery: Delivery, now: Timestamp) -> Delivery {
    delivery.status = Status::Delivered;
    delivery.attempt_count += 1;
    delivery.next_attempt_at = None;
    delivery.finished_at = Some(now);
    delivery.last_status_code = Some(200);
    delivery
}

/// The delivery as a failure leaves it that is to be tried again.
pub(super) fn failed_once(mut delivery: Delivery, again: Timestamp, frozen: Option<Frozen>) -> Delivery {
    delivery.attempt_count += 1;
    delivery.reason = Some("the endpoint answered 500".to_owned());
    delivery.next_attempt_at = Some(again);
    delivery.last_status_code = Some(500);
    delivery.frozen = frozen.map(Box::new);
    delivery
}
