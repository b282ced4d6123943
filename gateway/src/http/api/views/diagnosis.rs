//! What is wrong with a request that a receiver did not believe.

use serde::Serialize;
use utoipa::ToSchema;

use crate::control::Examined;
use crate::signing::Finding;

/// What was found.
#[derive(Serialize, ToSchema)]
#[schema(as = Diagnosis)]
pub(in crate::http) struct DiagnosisView {
    /// Whether the request, as it was pasted, is one that receivers should believe.
    genuine: bool,
    /// The first finding's: `genuine`, `stale`, `future`, `old_secret`, `next_secret`, `header_renamed`,
    /// `header_missing`, `header_malformed`, `header_changed`, `other_scheme`, `body_reserialized`, `body_changed`,
    /// `id_changed`, `timestamp_changed`, `other_target`, `signature_changed`, `unexplained`; of `computed`:
    /// `computed_right`, `key_misread`, `wrong_algorithm`, `wrong_content`, `wrong_encoding`, `computed_unexplained`;
    /// of the looking: `not_recorded`, `computed_not_compared`.
    code: &'static str,
    /// The first finding's.
    detail: String,
    /// The cause first.
    findings: Vec<FindingView>,
    /// What it was compared with; `null` if nothing is recorded that it could be.
    delivery_id: Option<String>,
    /// The same delivery's event.
    event_id: Option<String>,
}

/// One thing that was found.
#[derive(Serialize, ToSchema)]
#[schema(as = Finding)]
struct FindingView {
    code: &'static str,
    /// What it is and what to do.
    detail: String,
    /// The header that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    header: Option<String>,
    /// The first byte of the body that differs from what was sent, counted from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<usize>,
    /// The first place in the body's JSON that differs from what was sent, as a pointer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<String>,
    /// By how many seconds the timestamp is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    off_s: Option<u64>,
}

impl From<&Finding> for FindingView {
    fn from(finding: &Finding) -> Self {
        Self {
            code: finding.code.as_str(),
            detail: finding.detail.clone(),
            header: finding.header.as_ref().map(ToString::to_string),
            offset: finding.offset,
            pointer: finding.pointer.as_ref().map(|pointer| format!("#{pointer}")),
            off_s: finding.off_s,
        }
    }
}

impl From<&Examined> for DiagnosisView {
    fn from(examined: &Examined) -> Self {
        let findings: Vec<FindingView> = examined.diagnosis.findings.iter().map(FindingView::from).collect();
        let (code, detail) = findings.first().map(|first| (first.code, first.detail.clone())).unwrap_or_default();
        Self {
            genuine: examined.diagnosis.is_genuine,
            code,
            detail,
            findings,
            delivery_id: examined.delivery.as_ref().map(|delivery| delivery.id.to_string()),
            event_id: examined.delivery.as_ref().map(|delivery| delivery.event_id.to_string()),
        }
    }
}
