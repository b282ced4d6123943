//! Headers that are not where they should be.
//!
//! Servers and proxies rename headers: CGI and its heirs write `HTTP_WEBHOOK_ID`, some frameworks underscores, and some
//! proxies drop or prefix what they do not know. What is found under another name is put back, so that the rest of the
//! request can be looked at; what is not there at all is said, with what is there in its place.

use http::{HeaderMap, HeaderName};

use super::{Case, Code, Doctor, Finding, moved};
use crate::signing::claim::Grammar;
use crate::signing::key::Signature;
use crate::signing::template::Placeholder;
use crate::signing::verify::VerifyParts;

/// Most headers that are taken for the signature's: each costs a hash of the body for each secret.
const MOST_TRIED: usize = 4;

impl Doctor<'_> {
    /// The headers with those in their places that are there under another name.
    pub(super) fn in_place(&self, case: &Case<'_>, findings: &mut Vec<Finding>) -> HeaderMap {
        let mut headers = case.received.headers.clone();
        if self.layout.grammar == Grammar::Versions {
            self.other_family(&mut headers, findings);
        }
        for needed in self.needed() {
            // While a single-value scheme is rotated, the header beside it will do.
            let beside =
                needed == self.carrier.header && self.layout.carriers.iter().any(|it| headers.contains_key(&it.header));
            if beside || headers.contains_key(&needed) {
                continue;
            }
            let found = headers.keys().find(|name| plain(name) == plain(&needed)).cloned();
            match found {
                Some(found) => {
                    findings.push(renamed(&found, &needed));
                    moved(&mut headers, &found, &needed);
                }
                None => findings.push(self.missing(&needed, &mut headers, case)),
            }
        }
        headers
    }

    /// The headers without which nothing can be verified.
    fn needed(&self) -> Vec<HeaderName> {
        let content = &self.layout.content;
        let beside = [
            (Placeholder::Id, self.carrier.id_header.as_ref()),
            (Placeholder::Timestamp, self.carrier.timestamp_headers.first()),
        ];
        let beside = beside.into_iter().filter(|(placeholder, _)| content.has(*placeholder));
        let beside = beside.filter_map(|(_, name)| name);
        std::iter::once(&self.carrier.header).chain(beside).chain(content.headers()).cloned().collect()
    }

    /// The three headers of Standard Webhooks with another prefix than the subscription's.
    fn other_family(&self, headers: &mut HeaderMap, findings: &mut Vec<Finding>) {
        const SUFFIXES: [&str; 3] = ["-signature", "-id", "-timestamp"];
        let prefix = |name: &HeaderName| name.as_str().strip_suffix(SUFFIXES[0]).map(str::to_owned);
        let Some(own) = prefix(&self.carrier.header).filter(|_| !headers.contains_key(&self.carrier.header)) else {
            return;
        };
        let named = |prefix: &str| SUFFIXES.map(|suffix| HeaderName::try_from(format!("{prefix}{suffix}")).ok());
        let is_whole = |prefix: &String| {
            *prefix != own && named(prefix).iter().all(|name| name.as_ref().is_some_and(|it| headers.contains_key(it)))
        };
        let Some(other) = headers.keys().filter_map(prefix).find(is_whole) else { return };
        for (from, to) in named(&other).into_iter().zip(named(&own)) {
            if let (Some(from), Some(to)) = (from, to) {
                moved(headers, &from, &to);
            }
        }
        let detail = format!(
            "The headers are called `{other}-…`, and this subscription sends `{own}-…`: something on the way renames them, \
             or they are another sender's. The subscription's `signing.header_prefix` says what they are called."
        );
        findings.push(Finding::new(Code::HeaderRenamed, detail).about(&self.carrier.header));
    }

    /// A header that is not there under any name like its own.
    fn missing(&self, needed: &HeaderName, headers: &mut HeaderMap, case: &Case<'_>) -> Finding {
        let is_signature = *needed == self.carrier.header;
        if is_signature && let Some(found) = self.elsewhere(headers, case) {
            moved(headers, &found, needed);
            return renamed(&found, needed);
        }
        let product = case.products.iter().find(|(name, _)| name != needed && headers.contains_key(name));
        if is_signature && let Some((name, title)) = product {
            let detail = format!(
                "There is no `{needed}`, but `{name}`, which carries the signatures of {title}: the request is another \
                 sender's, or your code looks for another sender's header. This subscription signs in `{needed}`."
            );
            return Finding::new(Code::OtherScheme, detail).about(needed);
        }
        let detail = format!(
            "The header `{needed}` is not there. It is sent with every request: a proxy, a firewall or a framework dropped \
             it, or it was not passed on to the code that verifies."
        );
        Finding::new(Code::HeaderMissing, detail).about(needed)
    }

    /// The header that holds what belongs into the signature's: there, the request is believed.
    fn elsewhere(&self, headers: &HeaderMap, case: &Case<'_>) -> Option<HeaderName> {
        let tried = |from: &HeaderName| {
            let mut tried = headers.clone();
            moved(&mut tried, from, &self.carrier.header);
            tried
        };
        let signs = |text: &&[u8]| Signature::decode(text, self.layout.encoding).is_some();
        let could = |from: &&HeaderName| self.stated(&tried(from)).signatures.iter().any(signs);
        let fits = |from: &&HeaderName| self.proof(&VerifyParts { headers: &tried(from), ..case.received }).by.is_ok();
        headers.keys().filter(could).take(MOST_TRIED).find(fits).cloned()
    }
}

/// A name as the usual renamings leave it recognisable.
fn plain(name: &HeaderName) -> String {
    let name = name.as_str().replace('_', "-");
    name.strip_prefix("http-").map(str::to_owned).unwrap_or(name)
}

fn renamed(found: &HeaderName, needed: &HeaderName) -> Finding {
    let detail = format!(
        "The header `{needed}` came as `{found}`: a server or a proxy renamed it. Look for it under that name, or keep the \
         name on the way (nginx drops names with `_` unless `underscores_in_headers` is on)."
    );
    Finding::new(Code::HeaderRenamed, detail).about(needed)
}
