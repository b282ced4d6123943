//! A signature that does not fit: what came, part by part beside what was sent.

use super::{Code, Doctor, Finding, SentRequest, body, sentence, spelling};
use crate::signing::template::Placeholder;
use crate::signing::verify::{Rejection, VerifyParts};

impl Doctor<'_> {
    /// What is in the way of a signature that no secret made.
    pub(super) fn unproven(
        &self,
        rejection: &Rejection,
        received: &VerifyParts<'_>,
        sent: Option<&SentRequest>,
        findings: &mut Vec<Finding>,
    ) {
        let before = findings.len();
        match rejection {
            // What is missing has been said by `in_place`, and why nothing matches is yet to be found.
            Rejection::MissingHeader(_) | Rejection::NoMatch => {}
            _ => {
                let finding = Finding::new(Code::HeaderMalformed, sentence(&rejection.to_string()));
                findings.push(match rejection.header() {
                    Some(header) => finding.about(header),
                    None => finding,
                });
            }
        }
        match sent {
            Some(sent) => self.compared(received, sent, findings),
            None => {
                findings.extend(self.respelled(received));
                findings.push(Finding::new(
                    Code::NotRecorded,
                    "No delivery of this subscription is recorded that this could be, so there is nothing to compare it \
                     with: give its `delivery_id`, or paste a newer one.",
                ));
            }
        }
        let explained = findings.iter().skip(before).any(|finding| !finding.code.is_remark());
        if !explained && *rejection == Rejection::NoMatch {
            findings.insert(before, unexplained(sent.is_some()));
        }
    }

    /// What differs between what came and what was sent.
    fn compared(&self, received: &VerifyParts<'_>, sent: &SentRequest, findings: &mut Vec<Finding>) {
        if !sent.headers.contains_key(&self.carrier.header) {
            findings.push(
                Finding::new(
                    Code::OtherScheme,
                    format!(
                        "The recorded request has no header `{}`: it was sent before the subscription's `signing` was \
                         changed. Verify it as it was signed then, or send the event again.",
                        self.carrier.header
                    ),
                )
                .about(&self.carrier.header),
            );
            return;
        }
        let (is, was) = (self.stated(received.headers), self.stated(&sent.headers));
        if !is.signatures.is_empty() && !is.signatures.iter().any(|signature| was.signatures.contains(signature)) {
            findings.push(
                Finding::new(
                    Code::SignatureChanged,
                    format!(
                        "The signature in `{}` is none that was sent with this delivery: it was changed on its way, or it \
                         belongs to another request.",
                        self.carrier.header
                    ),
                )
                .about(&self.carrier.header),
            );
        }
        for (code, what, name, is, was) in [
            (Code::IdChanged, "id", self.carrier.id_header.as_ref(), is.id, was.id),
            (Code::TimestampChanged, "timestamp", self.carrier.timestamp_headers.first(), is.timestamp, was.timestamp),
        ] {
            if let (Some(is), Some(was)) = (is, was)
                && is != was
            {
                let (is, was) = (String::from_utf8_lossy(is), String::from_utf8_lossy(was));
                let detail = format!(
                    "The {what} is `{is}`, and `{was}` was sent. It is part of what is signed: take it from the request \
                     as it is, and do not make, round or convert it."
                );
                findings.push(Finding::new(code, detail).about(name.unwrap_or(&self.carrier.header)));
            }
        }
        for name in self.layout.content.headers() {
            let (is, was) = (received.headers.get(name), sent.headers.get(name));
            if let (Some(is), Some(was)) = (is, was)
                && is != was
            {
                let detail = format!("The header `{name}` is signed, and it was sent with another value.");
                findings.push(Finding::new(Code::HeaderChanged, detail).about(name));
            }
        }
        self.compare_target(received, sent, findings);
        if let Some(change) = body::compare(&sent.body, received.body) {
            findings.push(change);
        }
    }

    fn compare_target(&self, received: &VerifyParts<'_>, sent: &SentRequest, findings: &mut Vec<Finding>) {
        for (placeholder, what, is, was) in [
            (Placeholder::Url, "URL", received.url, sent.url.as_str()),
            (Placeholder::Method, "method", received.method, sent.method.as_str()),
        ] {
            if self.layout.content.has(placeholder) && is != was {
                findings.push(Finding::new(
                    Code::OtherTarget,
                    format!(
                        "The {what} is part of what is signed, as the subscription has it and not as the server behind a \
                         proxy sees it; the one given here is another."
                    ),
                ));
            }
        }
    }

    /// With nothing to compare it with, a body may still be one that some usual writer of JSON has spelled anew: then
    /// it verifies in another spelling.
    fn respelled(&self, received: &VerifyParts<'_>) -> Option<Finding> {
        let fits = |body: &[u8]| self.proof(&VerifyParts { body, ..*received }).by.is_ok();
        let spelling = spelling::all(received.body).into_iter().find(|spelling| fits(&spelling.body))?;
        let offset = body::first_difference(&spelling.body, received.body);
        let detail = format!(
            "The signature fits this body spelled differently: {}. It was parsed and written anew, or changed at its end, \
             before it was verified: verify the bytes as they came in.",
            spelling.how
        );
        Some(Finding { offset: Some(offset), ..Finding::new(Code::BodyReserialized, detail) })
    }
}

fn unexplained(is_recorded: bool) -> Finding {
    Finding::new(
        Code::Unexplained,
        match is_recorded {
            true => {
                "The request is as it is recorded, and no secret that is still known made its signature: it was sent before \
                 the last rotations, or what is recorded is masked, since it contains a secret."
            }
            false => {
                "No signature matches: the request was changed on its way, or it was signed for another subscription."
            }
        },
    )
}
