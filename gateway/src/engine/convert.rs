//! Between the bindings' words and the domain's. Texts are moved out of what a guest gave back; what goes in
//! is copied once here and once into the guest's memory.

use std::time::Duration;

use super::bindings::{connector, transform, types};
use super::fault::sentence;
use crate::domain::{
    AuthNeed, Batching, Decision, Fault, FaultKind, Interprets, Kind, Manifest, OnUnknown, PluginEvent, PluginPayload,
    PluginRate, PluginRequest, PluginResponse, PluginVerdict, Rendered, RetryScope, Verdicts,
};

pub(super) fn event_in(event: &PluginEvent) -> types::Event {
    types::Event {
        id: event.id.clone(),
        type_: event.event_type.clone(),
        source: event.source.clone(),
        timestamp: event.timestamp.clone(),
        data: event.data.clone(),
        attributes: event.attributes.clone(),
    }
}

pub(super) fn response_in(response: &PluginResponse) -> types::Response {
    types::Response {
        status: response.status,
        headers: response.headers.clone(),
        body: response.body.clone(),
        truncated: response.truncated,
    }
}

pub(super) fn decision(decision: transform::Decision) -> Decision {
    match decision {
        transform::Decision::Keep(events) => Decision::Keep(events.into_iter().map(event_out).collect()),
        transform::Decision::Drop(reason) => Decision::Drop(reason),
    }
}

fn event_out(event: types::Event) -> PluginEvent {
    PluginEvent {
        id: event.id,
        event_type: event.type_,
        source: event.source,
        timestamp: event.timestamp,
        data: event.data,
        attributes: event.attributes,
    }
}

pub(super) fn rendered(outcome: connector::Outcome) -> Rendered {
    match outcome {
        connector::Outcome::Send(requests) => Rendered::Send(requests.into_iter().map(request).collect()),
        connector::Outcome::Drop(reason) => Rendered::Drop(reason),
    }
}

fn request(request: types::Request) -> PluginRequest {
    PluginRequest {
        method: request.method,
        url: request.url,
        headers: request.headers,
        body: match request.body {
            types::Payload::Text(text) => PluginPayload::Text(text),
            types::Payload::Bytes(bytes) => PluginPayload::Bytes(bytes),
        },
        content_type: request.content_type,
    }
}

pub(super) fn verdicts(verdicts: connector::Verdicts) -> Verdicts {
    match verdicts {
        connector::Verdicts::All(one) => Verdicts::All(verdict(one)),
        connector::Verdicts::Each(list) => Verdicts::Each(list.into_iter().map(verdict).collect()),
    }
}

fn verdict(verdict: types::Verdict) -> PluginVerdict {
    match verdict {
        types::Verdict::Delivered => PluginVerdict::Delivered,
        types::Verdict::Retry(retry) => PluginVerdict::Retry {
            after: retry.after_ms.map(Duration::from_millis),
            scope: match retry.scope {
                types::Scope::Endpoint => RetryScope::Endpoint,
                types::Scope::Host => RetryScope::Host,
            },
        },
        types::Verdict::Rejected(reason) => PluginVerdict::Rejected(reason),
        types::Verdict::Gone(reason) => PluginVerdict::Gone(reason),
        types::Verdict::Unknown(reason) => PluginVerdict::Unknown(reason),
    }
}

pub(super) fn fault(fault: types::Fault) -> Fault {
    Fault { kind: FaultKind::Reported, message: sentence(fault.message), retryable: fault.retryable }
}

pub(super) fn manifest(manifest: types::Manifest) -> Manifest {
    Manifest {
        name: manifest.name,
        version: manifest.version,
        title: manifest.title,
        description: manifest.description,
        kind: match manifest.kind {
            types::Kind::Transform => Kind::Transform,
            types::Kind::Connector => Kind::Connector,
        },
        config_schema: manifest.config_schema,
        hosts: manifest.hosts,
        auth: match manifest.auth {
            types::Auth::None => AuthNeed::None,
            types::Auth::GoogleServiceAccount(google) => {
                AuthNeed::GoogleServiceAccount { config_field: google.config_field, scopes: google.scopes }
            }
        },
        interprets: match manifest.interprets {
            types::Interprets::Never => Interprets::Never,
            types::Interprets::Errors => Interprets::Errors,
            types::Interprets::Always => Interprets::Always,
        },
        batching: Batching {
            max_events: manifest.batching.max_events,
            max_bytes: manifest.batching.max_bytes,
            max_wait_ms: manifest.batching.max_wait_ms,
        },
        idempotency: manifest.idempotency,
        on_unknown: match manifest.on_unknown {
            types::OnUnknown::Retry => OnUnknown::Retry,
            types::OnUnknown::Hold => OnUnknown::Hold,
        },
        rate: manifest.rate.map(|rate| PluginRate { max: rate.max, per_ms: rate.per_ms }),
        contract: manifest.contract,
    }
}
