//! The doctor: from a request that a receiver did not believe to what is wrong with it, in words.
//!
//! **What it is given.** What the receiver got, as its developer pastes it; what was really sent, as it is recorded; the
//! secrets that counted lately; and, if the developer has it, the value that their own code computed.
//!
//! **How it works.** What is pasted is verified like any other request, under each secret in turn and whatever its age,
//! once the headers that it has under another name are back in their places (`header`). What does not verify is compared
//! with what was sent, part by part (`body`). A computed value says more than a signature: it is held against what
//! the usual mistakes would yield (`computed`).
//!
//! **What is promised.** Nothing that is found contains a signature or a secret. Values are computed only over what was
//! really sent, and spelled by this room, never over a text that somebody gives: nobody can have anything signed here,
//! and all that can be learnt of a signature is whether one that is already known is right. Comparisons are
//! made in constant time, and how much is hashed for one question is bounded.

mod body;
mod computed;
mod finding;
mod header;
mod spelling;
mod unproven;

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::{SignedDuration, Timestamp};

pub use self::finding::{Code, Finding};
use super::claim::Grammar;
use super::scheme::{Carrier, Layout, Scheme};
use super::verify::{Rejection, VerifyParts, only};
use crate::domain::{Secret, rfc3339};

/// A signing secret, and what it is to a subscription.
#[derive(Debug, Clone)]
pub struct KnownSecret {
    /// The secret.
    pub secret: Secret,
    /// What it is.
    pub standing: Standing,
}

/// What a secret is to a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It signs.
    Current,
    /// It is being rotated in.
    Next {
        /// From when on it alone counts.
        from: Timestamp,
    },
    /// It was replaced.
    Previous {
        /// Until when it counted.
        until: Timestamp,
    },
}

/// A request as it is recorded with the attempt that sent it.
#[derive(Debug, Clone)]
pub struct SentRequest {
    /// Its headers; credentials among them are masked.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
    /// Where it went.
    pub url: String,
    /// The HTTP method, upper case.
    pub method: String,
}

/// What the doctor looks at.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// What the receiver got, and when.
    pub received: VerifyParts<'a>,
    /// What was sent of the same delivery, in order; empty if none is recorded.
    pub sent: &'a [SentRequest],
    /// The secrets of the subscription, the current one first.
    pub secrets: &'a [KnownSecret],
    /// What the receiver's own code computed.
    pub computed: Option<&'a str>,
    /// Headers that carry the signatures of products, and the products' names.
    pub products: &'a [(HeaderName, String)],
}

/// What the doctor found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// Whether the request, as it was pasted, is one that receivers should believe.
    pub is_genuine: bool,
    /// What was found, the cause first; never empty.
    pub findings: Vec<Finding>,
}

impl Scheme {
    /// Says what is wrong with a request that this scheme signed; `None` if the scheme signs nothing.
    #[must_use]
    pub fn diagnose(&self, case: &Case<'_>) -> Option<Diagnosis> {
        let layout = self.layout()?;
        let carrier = layout.carriers.first()?;
        let doctor = Doctor { scheme: self, layout, carrier, secrets: case.secrets };
        let mut findings = Vec::new();
        let headers = doctor.in_place(case, &mut findings);
        let received = VerifyParts { headers: &headers, ..case.received };
        let sent = doctor.same(&headers, case.sent);
        doctor.signature(&received, sent, &mut findings);
        let is_genuine = findings.is_empty();
        if let Some(computed) = case.computed {
            findings.extend(doctor.computed(computed, sent));
        }
        if findings.iter().all(|finding| finding.code.is_remark()) {
            findings.insert(0, doctor.genuine(&received));
        }
        Some(Diagnosis { is_genuine, findings })
    }
}

/// A scheme with the secrets of one subscription.
struct Doctor<'a> {
    scheme: &'a Scheme,
    layout: &'a Layout,
    carrier: &'a Carrier,
    secrets: &'a [KnownSecret],
}

/// What the headers of a request say, taken as they are.
#[derive(Debug, Default)]
struct Stated<'a> {
    signatures: Vec<&'a [u8]>,
    timestamp: Option<&'a [u8]>,
    id: Option<&'a [u8]>,
}

/// Which secret signed a request, or why none did.
struct Proof<'a> {
    by: Result<&'a KnownSecret, Rejection>,
    /// Whether it is too old or too new.
    age: Option<Rejection>,
}

impl<'a> Doctor<'a> {
    fn stated<'h>(&self, headers: &'h HeaderMap) -> Stated<'h> {
        let claim = self.layout.claim(headers, &self.carrier.header).unwrap_or_default();
        let named = |name: Option<&HeaderName>| name.and_then(|name| only(headers, name).ok());
        Stated {
            signatures: claim.signatures.iter().map(|candidate| candidate.text).collect(),
            timestamp: named(self.carrier.timestamp_headers.first()).or(claim.timestamp),
            id: named(self.carrier.id_header.as_ref()).or(claim.id),
        }
    }

    /// Which secret's signature is on a request, however old it is.
    fn proof(&self, request: &VerifyParts<'_>) -> Proof<'a> {
        let mut why = Proof { by: Err(Rejection::NoSecret), age: None };
        for known in self.secrets {
            // One of other settings is no key for these.
            let Ok(keys) = self.scheme.keys_of([&known.secret]) else { continue };
            let first = self.scheme.verify(&keys, request);
            let signed_at = match &first {
                Err(Rejection::Stale { age_s, .. }) => back(request.now, *age_s),
                Err(Rejection::Future { ahead_s, .. }) => ahead(request.now, *ahead_s),
                _ => None,
            };
            let (found, age) = match signed_at {
                Some(now) => (self.scheme.verify(&keys, &VerifyParts { now, ..*request }), first.err()),
                None => (first, None),
            };
            match found {
                Ok(_) => return Proof { by: Ok(known), age },
                Err(rejection) => why = Proof { by: Err(rejection), age },
            }
        }
        why
    }

    /// The recorded request that was received: the one with the same signature, else the last.
    fn same<'s>(&self, headers: &HeaderMap, sent: &'s [SentRequest]) -> Option<&'s SentRequest> {
        let received = self.stated(headers).signatures;
        let shares = |sent: &&SentRequest| {
            self.stated(&sent.headers).signatures.iter().any(|signature| received.contains(signature))
        };
        sent.iter().find(shares).or_else(|| sent.last())
    }

    /// Whether the signature is right, and what is in its way.
    fn signature(&self, received: &VerifyParts<'_>, sent: Option<&SentRequest>, findings: &mut Vec<Finding>) {
        let proof = self.proof(received);
        match proof.by {
            Ok(known) => findings.extend(self.signed_with(known.standing)),
            Err(rejection) => self.unproven(&rejection, received, sent, findings),
        }
        findings.extend(proof.age.map(|age| aged(&age)));
    }

    /// What there is to say of a signature that is right.
    fn signed_with(&self, standing: Standing) -> Option<Finding> {
        let Standing::Previous { until } = standing else { return None };
        Some(Finding::new(
            Code::OldSecret,
            format!(
                "The request was signed with the secret that counted until {}, and not with the present one. Whoever \
                 verifies what was sent before then needs that secret too; a rotation with an `overlap` lets both count.",
                rfc3339(until)
            ),
        ))
    }

    fn genuine(&self, received: &VerifyParts<'_>) -> Finding {
        let mut detail =
            "The request is genuine: its signature is right, and so is its time. If your code refuses it, give \
                          what it computes as `computed`; GET …/verifier gives code to compare it with."
                .to_owned();
        let next = self.secrets.iter().find_map(|known| match known.standing {
            Standing::Next { from } => Some(from),
            _ => None,
        });
        if let Some(from) = next {
            detail.push_str(&match self.layout.carriers.get(1).filter(|_| self.layout.rotates_beside) {
                Some(beside) => format!(
                    " A rotation is under way: until {}, `{}` is signed with the old secret and `{}` with the new one.",
                    rfc3339(from),
                    self.carrier.header,
                    beside.header
                ),
                None => format!(
                    " A rotation is under way: until {}, the header has a signature by each of both secrets, and one that \
                     fits is enough.",
                    rfc3339(from)
                ),
            });
        } else if self.layout.grammar == Grammar::Versions && self.stated(received.headers).signatures.len() > 1 {
            detail.push_str(" The header lists several signatures: one that fits is enough.");
        }
        Finding::new(Code::Genuine, detail)
    }
}

fn back(now: Timestamp, seconds: u64) -> Option<Timestamp> {
    now.checked_sub(SignedDuration::from_secs(i64::try_from(seconds).ok()?)).ok()
}

fn ahead(now: Timestamp, seconds: u64) -> Option<Timestamp> {
    now.checked_add(SignedDuration::from_secs(i64::try_from(seconds).ok()?)).ok()
}

/// What there is to say of a timestamp that is too old or too new.
fn aged(rejection: &Rejection) -> Finding {
    match rejection {
        Rejection::Stale { age_s, tolerance_s } => Finding {
            off_s: Some(*age_s),
            ..Finding::new(
                Code::Stale,
                format!(
                    "The request is {age_s} s stale: receivers tolerate {tolerance_s} s. If it was verified when it came \
                     in, give that time as `received_at`; if it was that old even then, it waited in a queue before it was \
                     verified, or the receiver's clock is fast. A retry has a new timestamp."
                ),
            )
        },
        Rejection::Future { ahead_s, tolerance_s } => Finding {
            off_s: Some(*ahead_s),
            ..Finding::new(
                Code::Future,
                format!(
                    "The request is {ahead_s} s from the future, and receivers tolerate {tolerance_s} s: the receiver's \
                     clock is slow, or `received_at` is not the time at which it came."
                ),
            )
        },
        other => Finding::new(Code::HeaderMalformed, sentence(&other.to_string())),
    }
}

/// A text as a sentence.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(chars).chain(['.']).collect()
}

/// A header's values under another name.
fn moved(headers: &mut HeaderMap, from: &HeaderName, to: &HeaderName) {
    let values: Vec<HeaderValue> = headers.get_all(from).iter().cloned().collect();
    headers.remove(from);
    for value in values {
        headers.append(to.clone(), value);
    }
}
