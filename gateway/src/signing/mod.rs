//! Signing: proof of where a request comes from, made and checked by one description.
//!
//! **Who acts.** `pipeline::deliver` asks a [`Scheme`] to [sign](Scheme::sign) each attempt;
//! `pipeline::ingest` asks one to [verify](Scheme::verify) what a source posted, and the inbox does the
//! same to show a verdict. `control` compiles schemes when they are saved, so that a mistake is refused at
//! once and with its place, and makes and checks secrets.
//!
//! **How it works.** A [`Scheme`] is data: which headers there are, what is signed (a template over
//! `{body} {timestamp} {id} {url} {method} {form} {header:NAME}`), how the signature's header is written (a template
//! again), where the time is and how it is written, which algorithm and which encoding. Standard Webhooks is one such
//! description and not a special case of the code. Signing writes a template, verifying reads the same template
//! backwards; what one side can say the other understands, and a test holds that for any scheme. Only to verify are
//! several headers or families of them, a time in the body, a hash of the body in the query, ECDSA, and secrets that
//! are sent along as they are (`shared`). From the same description `receiver` writes programs that verify,
//! and `doctor` says what a receiver made wrong that does not believe what was signed.
//!
//! **What is promised.**
//! - The bytes that are signed are the bytes that are sent or that came in: nothing is parsed, decoded or unpacked
//!   first (but a form that is signed by its parameters), and nothing has to be UTF-8.
//! - A request passes only if a signature made with a configured secret is on it. No secret, an empty
//!   secret, a scheme that signs nothing: all of these are refusals, never "valid".
//! - Every candidate is compared with every secret, over decoded bytes and in constant time; how long that
//!   takes tells nothing about which one matched or how nearly.
//! - Malformed input is a [`Rejection`] that says what is wrong, never a panic. Lists and headers have limits.
//! - A timestamp counts only if it is signed, and its tolerance holds in both directions.
//!
//! **What is deliberately not here.** No request bodies are limited (whoever buffers them does that), no
//! ids are remembered (deduplication is the store's), and no clock is read. Schemes whose signed text is
//! not a template (certificates to be fetched, signatures inside the body, plain hashes with a secret in front) are
//! not covered. `{url}` is the URL as configured with the query as it came, never one put together from a `Host`
//! header, which whoever sends the request can choose. Templates without separators are taken as products have them:
//! where `{header:NAME}{timestamp}` could be cut elsewhere, it is the form of the time that holds the two apart.

mod claim;
mod compile;
mod doctor;
mod key;
mod public;
mod receiver;
mod scheme;
mod secret;
mod shared;
mod sign;
mod template;
mod time;
mod verify;

#[cfg(test)]
mod tests;

pub use compile::SchemeError;
pub use doctor::{Case, Code, Diagnosis, Finding, KnownSecret, SentRequest, Standing};
pub use key::{KeyError, Keys, MAX_KEYS};
pub use receiver::{Language, Receiver};
pub use scheme::Scheme;
pub use sign::{SignError, SignParts};
pub use verify::{MAX_HEADER_LEN, MAX_SIGNATURES, Place, Rejection, Verified, VerifyParts};
