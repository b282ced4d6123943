//! What a receiver's own code computed, held against what the usual mistakes yield.
//!
//! A mistake is one of four: another key (another secret, or the right one read in another way), another hash, another
//! text around the body, another body. All single ones are tried, then all pairs, over the request that was sent, until
//! one yields the value or so much has been hashed that it is enough.

mod content;
mod keys;
mod values;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{Code, Doctor, Finding, KnownSecret, SentRequest};
use crate::signing::claim::Grammar;
use crate::signing::key::{Hash, Key};
use crate::signing::scheme::Family;
use crate::signing::template::{Parts, Placeholder, Template, form};
use crate::signing::verify::VerifyParts;

/// Most bytes that are hashed for one question: about a tenth of a second.
const MOST_HASHED: usize = 64 << 20;
/// What a hash costs beside the bytes that it is of.
const ALWAYS_HASHED: usize = 256;
/// Most mistakes at one time that are looked for.
const MOST_MISTAKES: usize = 2;

/// One of the ways to do something; the right one has no mistake.
struct Way<T> {
    mistake: Option<Finding>,
    is: T,
}

impl<T> Way<T> {
    fn right(is: T) -> Self {
        Self { mistake: None, is }
    }

    fn wrong(code: Code, detail: impl Into<String>, is: T) -> Self {
        Self { mistake: Some(Finding::new(code, detail)), is }
    }
}

/// What is signed around a body.
struct Frame {
    template: Template,
    timestamp: Vec<u8>,
    url: Vec<u8>,
}

/// A key, and the mistakes that lead to it.
struct KeyWay {
    mistakes: Vec<Finding>,
    bytes: Zeroizing<Vec<u8>>,
}

/// All that is tried.
struct Ways {
    keys: Vec<KeyWay>,
    hashes: Vec<Way<Hash>>,
    frames: Vec<Way<Frame>>,
    bodies: Vec<Way<Vec<u8>>>,
}

/// One way to compute a signature.
#[derive(Clone, Copy)]
struct Tried<'a> {
    key: &'a KeyWay,
    hash: &'a Way<Hash>,
    frame: &'a Way<Frame>,
    body: &'a Way<Vec<u8>>,
}

impl Ways {
    /// Those with so many mistakes.
    fn with(&self, mistakes: usize) -> impl Iterator<Item = Tried<'_>> {
        let keys = self.keys.iter().flat_map(|key| self.hashes.iter().map(move |hash| (key, hash)));
        let framed = keys.flat_map(|(key, hash)| self.frames.iter().map(move |frame| (key, hash, frame)));
        let all =
            framed.flat_map(|(key, hash, frame)| self.bodies.iter().map(move |body| Tried { key, hash, frame, body }));
        all.filter(move |tried| tried.mistakes().count() == mistakes)
    }
}

impl<'a> Tried<'a> {
    fn mistakes(self) -> impl Iterator<Item = &'a Finding> {
        self.key.mistakes.iter().chain(&self.hash.mistake).chain(&self.frame.mistake).chain(&self.body.mistake)
    }
}

impl Doctor<'_> {
    /// What a computed value says of the code that computed it.
    pub(super) fn computed(&self, computed: &str, sent: Option<&SentRequest>) -> Vec<Finding> {
        let not_compared = |why: &str| vec![Finding::new(Code::ComputedNotCompared, why)];
        let hash = match &self.layout.family {
            Family::Symmetric => Hash::Sha256,
            Family::Hmac(hash, _) => *hash,
            _ => {
                return not_compared(
                    "`computed` was not looked at: this subscription signs with a private key, so a receiver computes no \
                     signature, it verifies the one that is there with the subscription's `public_key`.",
                );
            }
        };
        let Some(sent) = sent else {
            return not_compared(
                "`computed` was not looked at: it is held only against a request that was really sent. Give the \
                 `delivery_id` of a recorded one.",
            );
        };
        let Some(signer) = self.signer_of(sent) else {
            return not_compared(
                "`computed` was not looked at: the recorded request was signed with a secret or with settings that are no \
                 longer known, or what is recorded is masked. Send the event again, and compare that.",
            );
        };
        let values = values::readings(self.layout, computed);
        if values.is_empty() {
            return vec![Finding::new(
                Code::ComputedUnexplained,
                "`computed` is no signature: it is neither hexadecimal nor base64 of a hash. Give what your code computes, \
                 as a text.",
            )];
        }
        let ways = Ways {
            keys: self.keys_of(signer),
            hashes: hashes(hash),
            frames: self.frames(sent),
            bodies: content::bodies(&sent.body),
        };
        self.mistakes(&values, sent, &ways)
    }

    /// The secret that a recorded request was signed with; `None` if what is recorded is not what was signed.
    fn signer_of(&self, sent: &SentRequest) -> Option<&KnownSecret> {
        let at = self.stated(&sent.headers).timestamp.and_then(|text| self.layout.written.read(text));
        let now = jiff::Timestamp::from_second(at.unwrap_or_default()).ok()?;
        let SentRequest { headers, body, url, method } = sent;
        self.proof(&VerifyParts { headers, body, unpacked: None, url, method, now }).by.ok()
    }

    fn mistakes(&self, values: &[Way<Vec<u8>>], sent: &SentRequest, ways: &Ways) -> Vec<Finding> {
        let id = self.stated(&sent.headers).id.unwrap_or_default();
        let mut hashed = 0_usize;
        for tried in (0..=MOST_MISTAKES).flat_map(|mistakes| ways.with(mistakes)) {
            hashed = hashed.saturating_add(ALWAYS_HASHED + tried.body.is.len());
            if hashed > MOST_HASHED {
                break;
            }
            let frame = &tried.frame.is;
            let form = if frame.template.has(Placeholder::Form) { form(&tried.body.is) } else { Vec::new() };
            let parts = Parts {
                body: &tried.body.is,
                timestamp: &frame.timestamp,
                id,
                form: &form,
                headers: Some(&sent.headers),
                url: &frame.url,
                method: sent.method.as_bytes(),
                signature: b"",
            };
            let Some(made) = Key::hmac(tried.hash.is, &tried.key.bytes).sign(&frame.template, &parts) else { continue };
            let same = |value: &&Way<Vec<u8>>| bool::from(value.is.as_slice().ct_eq(made.bytes()));
            if let Some(value) = values.iter().find(same) {
                let found: Vec<Finding> = tried.mistakes().chain(&value.mistake).cloned().collect();
                return if found.is_empty() { vec![self.right()] } else { found };
            }
        }
        vec![unexplained()]
    }

    fn right(&self) -> Finding {
        let value = match self.layout.grammar {
            Grammar::Versions => "`v1,<signature>`, several of them apart by spaces".to_owned(),
            _ => format!("`{}`", self.layout.value),
        };
        Finding::new(
            Code::ComputedRight,
            format!(
                "Your code computes the right signature for the request that was sent. So what it compares it with is \
                 another: the value of `{}` has the form {value}. Compare with the signature in it, without what stands \
                 around it, and as bytes or in the same case.",
                self.carrier.header
            ),
        )
        .about(&self.carrier.header)
    }
}

fn unexplained() -> Finding {
    Finding::new(
        Code::ComputedUnexplained,
        "`computed` is not the signature of the request that was sent, and none of the usual mistakes yields it (another \
         secret, the secret read in another way, another hash, other content, a body written anew): compare your code with \
         GET …/verifier, step by step.",
    )
}

fn name_of(hash: Hash) -> &'static str {
    match hash {
        Hash::Sha1 => "SHA-1",
        Hash::Sha256 => "SHA-256",
        Hash::Sha512 => "SHA-512",
    }
}

/// The right hash first.
fn hashes(right: Hash) -> Vec<Way<Hash>> {
    let others = [Hash::Sha256, Hash::Sha1, Hash::Sha512].into_iter().filter(|other| *other != right);
    let wrong = others.map(|other| {
        let detail = format!("Your code uses HMAC-{}, and the scheme HMAC-{}.", name_of(other), name_of(right));
        Way::wrong(Code::WrongAlgorithm, detail, other)
    });
    std::iter::once(Way::right(right)).chain(wrong).collect()
}
