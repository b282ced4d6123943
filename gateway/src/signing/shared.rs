//! A secret that is sent along as it is: no signature, so nothing vouches for the body or the time. That is all that
//! some products can do.

use base64::Engine;
use http::{HeaderMap, HeaderName, header};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::key::{Key, Keys};
use super::secret::LENIENT;
use super::verify::{Rejection, only, parameter};
use crate::domain::SharedPlace;

/// Where the secret is.
#[derive(Debug)]
pub(super) enum Shared {
    /// The value of this header.
    Header(HeaderName),
    /// `Authorization: Bearer …`.
    Bearer,
    /// The password in `Authorization: Basic …`, of this user if one is named.
    Basic(Option<String>),
    /// This parameter of the query.
    Query(String),
}

impl Shared {
    /// The header that carries it.
    pub(super) fn header(&self) -> Option<&HeaderName> {
        match self {
            Self::Header(name) => Some(name),
            Self::Bearer | Self::Basic(_) => Some(&header::AUTHORIZATION),
            Self::Query(_) => None,
        }
    }

    /// What it looks like on the request, for people.
    pub(super) fn form(&self) -> String {
        match self {
            Self::Header(name) => format!("{name}: <secret>"),
            Self::Bearer => "Bearer <secret>".to_owned(),
            Self::Basic(user) => format!("Basic <base64 of {}:<secret>>", user.as_deref().unwrap_or("<any user>")),
            Self::Query(name) => format!("?{name}=<secret>"),
        }
    }

    /// Whether one of the secrets is on the request.
    pub(super) fn verify(&self, keys: &Keys, headers: &HeaderMap, url: &str) -> Result<(), Rejection> {
        let found = match self {
            Self::Header(name) => only(headers, name)?.to_vec(),
            Self::Bearer => self.after("bearer", headers)?.to_vec(),
            Self::Basic(user) => {
                let malformed = || self.malformed(header::AUTHORIZATION);
                let decoded = LENIENT.decode(self.after("basic", headers)?).map_err(|_| malformed())?;
                let colon = decoded.iter().position(|byte| *byte == b':').ok_or_else(malformed)?;
                let (name, password) = decoded.split_at_checked(colon).ok_or_else(malformed)?;
                // A name is nothing secret.
                if user.as_deref().is_some_and(|user| user.as_bytes() != name) {
                    return Err(Rejection::WrongUser(header::AUTHORIZATION));
                }
                password.get(1..).unwrap_or_default().to_vec()
            }
            Self::Query(name) => parameter(url, name)?.into_bytes(),
        };
        // Hashes have one length, so neither the length nor the place of a difference can be told from the time.
        let found = Sha256::digest(&found);
        let matched = keys.0.iter().fold(Choice::from(0), |matched, key| match key {
            Key::Token(hash) => matched | hash.as_slice().ct_eq(&found),
            _ => matched,
        });
        if matched.into() { Ok(()) } else { Err(Rejection::WrongSecret(self.form())) }
    }

    /// What follows the name of an authentication scheme (RFC 9110, section 11.1: in any case).
    fn after<'a>(&self, scheme: &str, headers: &'a HeaderMap) -> Result<&'a [u8], Rejection> {
        let value = only(headers, &header::AUTHORIZATION)?;
        let split = value.split_at_checked(scheme.len());
        match split {
            Some((name, rest)) if name.eq_ignore_ascii_case(scheme.as_bytes()) && rest.first() == Some(&b' ') => {
                Ok(rest.trim_ascii())
            }
            _ => Err(self.malformed(header::AUTHORIZATION)),
        }
    }

    fn malformed(&self, header: HeaderName) -> Rejection {
        Rejection::Malformed { header, form: self.form() }
    }
}

/// Makes sense of the two fields of a description.
pub(super) fn compile(place: Option<SharedPlace>, name: Option<&str>) -> Result<Shared, (&'static str, String)> {
    let needed = |what: &str| ("/name", format!("must be given: the {what}'s name"));
    match (place, name) {
        (None, _) => Err(("/in", "must say where the secret is: `header`, `bearer`, `basic` or `query`".to_owned())),
        (Some(SharedPlace::Header), None) => Err(needed("header")),
        (Some(SharedPlace::Header), Some(name)) => match HeaderName::from_bytes(name.as_bytes()) {
            Ok(header) => Ok(Shared::Header(header)),
            Err(_) => Err(("/name", format!("`{name}` is no header name: use letters, digits and `-`"))),
        },
        (Some(SharedPlace::Bearer), None) => Ok(Shared::Bearer),
        (Some(SharedPlace::Bearer), Some(_)) => {
            Err(("/name", "must be left out: a bearer token is in `Authorization`".to_owned()))
        }
        (Some(SharedPlace::Basic), name) if name.is_some_and(|name| name.contains(':')) => {
            Err(("/name", "must not contain `:`, which ends a user's name".to_owned()))
        }
        (Some(SharedPlace::Basic), name) => Ok(Shared::Basic(name.map(str::to_owned))),
        (Some(SharedPlace::Query), Some(name)) if !name.is_empty() => Ok(Shared::Query(name.to_owned())),
        (Some(SharedPlace::Query), _) => Err(needed("parameter")),
    }
}
