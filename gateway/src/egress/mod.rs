//! Outbound HTTP: the only room that dials out.
//!
//! **Who acts.** The pipeline hands over a finished request ([`Outbound`]) in a tenant's name and gets what
//! came back ([`Answer`]) or how it failed ([`Failure`]); control asks [`Egress::check_url`] while a person
//! still sits before the form; [`Authenticator`] makes the headers that a request authenticates itself with,
//! and fetches tokens where that is needed.
//!
//! **What is promised.** No connection is opened to an address that [`AddressPolicy`] refuses, whether it
//! came as an IP literal in any spelling or from a look-up, and every connection is judged anew: what a name
//! meant when it was saved counts for nothing. An `http://` request leaves only for addresses the operator
//! allowed. Nothing follows a redirect, reads a proxy from the environment, decompresses, or repeats a request
//! that may have been read. An answer costs a bounded number of bytes and a bounded time, whatever the
//! endpoint does. A failure says truthfully whether the endpoint may have got the request
//! ([`Failure::sent`]), and nothing in it tells a tenant more about the gateway's network than the tenant
//! said itself. Tenants share no connection and no TLS session.
//!
//! **What is deliberately not.** Nothing here counts requests in flight, limits a rate, opens a breaker, signs
//! or decides what an answer means: that is the pipeline's. There is no switch that turns certificates off.
//!
//! **How the parts lie.** [`policy`](AddressPolicy) is the table of addresses, `target` judges URLs by it,
//! `resolver` judges look-ups; `tls` decides whom to trust; `dial` builds the HTTP client;
//! `client` joins them; `body` knows whether a request has left; `failure` turns what a library says into words;
//! `headers` guards the names a user may set; `auth` and `google` make credentials.
//!
//! The address policy stands in three places because the HTTP client has three ways to an address: IP
//! literals never reach its resolver and are judged before each request, names are judged inside the
//! resolver, and whether a request is plain or encrypted is known only by which client it is given to.

mod auth;
mod body;
mod client;
mod dial;
mod failure;
mod google;
mod headers;
mod policy;
mod resolver;
mod target;
mod tls;

#[cfg(test)]
mod tests;

pub use auth::{AuthFailure, Authenticator, Credential, static_header};
pub use client::{Answer, Egress, EgressConfig, Error, Outbound};
pub use failure::{Failure, FailureClass};
pub use google::check_service_account;
pub use headers::check_header;
pub use policy::{AddressPolicy, Blocked};
pub use resolver::{Names, StaticNames};
pub use target::UrlError;
pub use tls::config as trust;
