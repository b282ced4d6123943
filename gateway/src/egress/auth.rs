//! Credentials: the header that a request authenticates itself with.
//!
//! Bearer, basic and header credentials are written from the settings alone. A Google token is fetched, kept
//! in memory until five minutes before its end, and fetched by one request at a time while others wait. A
//! token that still lives is used on when its renewal fails.
//!
//! Tokens are kept by tenant and by the whole key file, not by the account's name: whoever could write the
//! name of an account into a key file of their own would otherwise be given the token of its owner.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue, header};
use jiff::Timestamp;
use moka::sync::Cache;
use parking_lot::Mutex;
use ring::digest;
use zeroize::Zeroizing;

use super::client::Egress;
use super::google::{self, Fetched, TokenError};
use super::headers::check_header;
use crate::clock::{Clock, later};
use crate::domain::{Auth, TenantId};

/// A token is renewed so long before its end, or at half its life if that is shorter than twice this.
const RENEWAL: Duration = Duration::from_secs(300);
/// After a failed renewal of a token that still lives, the next try comes this much later.
const RENEWAL_PAUSE: Duration = Duration::from_secs(30);
/// The longest life of a token that is believed.
const LONGEST_LIFE: u64 = 24 * 3600;
/// The most accounts whose tokens are kept.
const ACCOUNTS: u64 = 10_000;

/// Why there is no credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthFailure {
    /// The token endpoint could not be reached or has trouble: the attempt should be made again later.
    #[error("{detail}")]
    Retryable {
        /// In words fit for a tenant.
        detail: String,
    },
    /// The settings are wrong: nothing changes until someone changes them.
    #[error("{detail}")]
    Configuration {
        /// In words fit for a tenant.
        detail: String,
    },
}

impl From<TokenError> for AuthFailure {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Later(detail) => Self::Retryable { detail },
            TokenError::Never(detail) => Self::Configuration { detail },
        }
    }
}

/// A header that authenticates a request. Its value never appears in debug output.
#[derive(Debug, Clone)]
pub struct Credential {
    /// The header's name.
    pub name: HeaderName,
    /// Its value, marked sensitive.
    pub value: HeaderValue,
    /// Which token it is, if it was fetched.
    token: Option<(TokenKey, u64)>,
}

/// The header of a credential that needs no fetching; `None` for one that does.
///
/// # Errors
/// A sentence that says what is wrong, without the secret.
pub fn static_header(auth: &Auth) -> Result<Option<(HeaderName, HeaderValue)>, String> {
    let (name, text) = match auth {
        Auth::Bearer { token } if token.is_empty() => return Err("`auth.token` is empty".to_owned()),
        Auth::Bearer { token } => (header::AUTHORIZATION, Zeroizing::new(format!("Bearer {token}"))),
        Auth::Basic { username, .. } if username.contains(':') => {
            return Err("`auth.username` must not contain a colon (RFC 7617)".to_owned());
        }
        Auth::Basic { username, password } => {
            let pair = Zeroizing::new(format!("{username}:{password}"));
            (header::AUTHORIZATION, Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes()))))
        }
        Auth::Header { name, value } => {
            let (name, mut value) = check_header(name, value)?;
            value.set_sensitive(true);
            return Ok(Some((name, value)));
        }
        Auth::GoogleServiceAccount { .. } => return Ok(None),
    };
    let mut value = HeaderValue::from_str(&text)
        .map_err(|_| "`auth.token` has a line break or another control character".to_owned())?;
    value.set_sensitive(true);
    Ok(Some((name, value)))
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct TokenKey {
    tenant: TenantId,
    /// The SHA-256 of key file and scopes.
    digest: [u8; 32],
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.tenant)
    }
}

impl TokenKey {
    fn new(tenant: TenantId, account: &str, scopes: &str) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        // The length keeps apart what is written without a border.
        context.update(&(scopes.len() as u64).to_be_bytes());
        context.update(scopes.as_bytes());
        context.update(account.as_bytes());
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        Self { tenant, digest }
    }
}

/// One account's token.
#[derive(Default)]
struct Slot {
    state: Mutex<State>,
    /// Held by whoever fetches.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    token: Option<Token>,
    /// How many fetches have ended: tells those who waited whether the failure below is news to them.
    fetches: u64,
    failure: Option<AuthFailure>,
}

struct Token {
    header: HeaderValue,
    number: u64,
    renew_at: Timestamp,
    ends_at: Timestamp,
}

impl State {
    fn usable(&self, now: Timestamp) -> Option<(HeaderValue, u64)> {
        let token = self.token.as_ref().filter(|token| now < token.renew_at)?;
        Some((token.header.clone(), token.number))
    }

    /// Takes in what a fetch brought, and says what those who waited for it get.
    fn settle(
        &mut self,
        fetched: Result<Fetched, AuthFailure>,
        now: Timestamp,
    ) -> Result<(HeaderValue, u64), AuthFailure> {
        self.fetches += 1;
        match fetched {
            Ok(Fetched { header, life }) => {
                let life = Duration::from_secs(life.min(LONGEST_LIFE));
                let ends_at = later(now, life);
                let renew_at = later(now, life - RENEWAL.min(life / 2));
                self.failure = None;
                self.token = Some(Token { header: header.clone(), number: self.fetches, renew_at, ends_at });
                Ok((header, self.fetches))
            }
            Err(failure) => match &mut self.token {
                Some(token) if now < token.ends_at => {
                    token.renew_at = later(now, RENEWAL_PAUSE).min(token.ends_at);
                    Ok((token.header.clone(), token.number))
                }
                _ => {
                    self.token = None;
                    self.failure = Some(failure.clone());
                    Err(failure)
                }
            },
        }
    }
}

/// Makes credentials. Cheap to clone; clones share their tokens.
#[derive(Clone)]
pub struct Authenticator {
    egress: Egress,
    clock: Clock,
    slots: Cache<TokenKey, Arc<Slot>>,
}

impl Authenticator {
    /// An authenticator that fetches its tokens through `egress`.
    #[must_use]
    pub fn new(egress: Egress, clock: Clock) -> Self {
        Self { egress, clock, slots: Cache::new(ACCOUNTS) }
    }

    /// The credential for a request of this tenant. `auth` is complete, its secrets put back.
    ///
    /// # Errors
    /// [`AuthFailure`], which says whether it is worth trying again.
    pub async fn authorize(&self, tenant: TenantId, auth: &Auth) -> Result<Credential, AuthFailure> {
        if let Auth::GoogleServiceAccount { service_account, scopes } = auth {
            return self.google(tenant, service_account, &scopes.join(" ")).await;
        }
        match static_header(auth) {
            Ok(Some((name, value))) => Ok(Credential { name, value, token: None }),
            Ok(None) => Err(AuthFailure::Configuration { detail: "this kind of `auth` is not known here".to_owned() }),
            Err(detail) => Err(AuthFailure::Configuration { detail }),
        }
    }

    /// Forgets a token that an endpoint refused (401), so that the next request fetches a new one. Of many who
    /// were refused with the same token, only the first makes a difference. Nothing happens to a credential
    /// that was not fetched.
    ///
    /// Returns whether trying again makes sense.
    pub fn invalidate(&self, credential: &Credential) -> bool {
        let Some((key, number)) = credential.token else { return false };
        if let Some(slot) = self.slots.get(&key) {
            let mut state = slot.state.lock();
            if state.token.as_ref().is_some_and(|token| token.number == number) {
                state.token = None;
            }
        }
        true
    }

    async fn google(&self, tenant: TenantId, account: &str, scopes: &str) -> Result<Credential, AuthFailure> {
        if scopes.is_empty() {
            let detail = "`auth.scopes` is empty: name at least one, such as \
                          https://www.googleapis.com/auth/spreadsheets"
                .to_owned();
            return Err(AuthFailure::Configuration { detail });
        }
        let key = TokenKey::new(tenant, account, scopes);
        let slot = self.slots.get_with(key, Arc::default);
        let credential =
            |(value, number)| Credential { name: header::AUTHORIZATION, value, token: Some((key, number)) };
        let fetches = {
            let state = slot.state.lock();
            if let Some(usable) = state.usable(self.clock.now()) {
                return Ok(credential(usable));
            }
            state.fetches
        };
        let _turn = slot.turn.lock().await;
        {
            let state = slot.state.lock();
            if let Some(usable) = state.usable(self.clock.now()) {
                return Ok(credential(usable));
            }
            // Someone failed while this one waited: a hundred waiting requests must not fail one after the other.
            if let (true, Some(failure)) = (state.fetches != fetches, &state.failure) {
                return Err(failure.clone());
            }
        }
        let account = Zeroizing::new(account.to_owned());
        let fetched = google::fetch(&self.egress, tenant, account, scopes.to_owned(), self.clock.now()).await;
        let settled = slot.state.lock().settle(fetched.map_err(AuthFailure::from), self.clock.now());
        settled.map(credential)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header_of(auth: &Auth) -> Result<(String, String), String> {
        let (name, value) = static_header(auth)?.unwrap();
        assert!(value.is_sensitive());
        Ok((name.to_string(), String::from_utf8(value.as_bytes().to_vec()).unwrap()))
    }

    #[test]
    fn simple_credentials_are_one_header() {
        let bearer = Auth::Bearer { token: "t0k".to_owned() };
        assert_eq!(header_of(&bearer).unwrap(), ("authorization".to_owned(), "Bearer t0k".to_owned()));
        // The example of RFC 7617.
        let basic = Auth::Basic { username: "Aladdin".to_owned(), password: "open sesame".to_owned() };
        assert_eq!(header_of(&basic).unwrap().1, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        let own = Auth::Header { name: "X-Api-Key".to_owned(), value: "k".to_owned() };
        assert_eq!(header_of(&own).unwrap(), ("x-api-key".to_owned(), "k".to_owned()));
        let google = Auth::GoogleServiceAccount { service_account: String::new(), scopes: vec![] };
        assert_eq!(static_header(&google), Ok(None));
    }

    #[test]
    fn wrong_credentials_are_refused_without_being_quoted() {
        let wrong = [
            Auth::Bearer { token: String::new() },
            Auth::Bearer { token: "s3cret\r\nx: y".to_owned() },
            Auth::Basic { username: "a:b".to_owned(), password: "s3cret".to_owned() },
            Auth::Header { name: "host".to_owned(), value: "s3cret".to_owned() },
            Auth::Header { name: "a b".to_owned(), value: "s3cret".to_owned() },
            Auth::Header { name: "x-a".to_owned(), value: "s3cret\n".to_owned() },
        ];
        for auth in wrong {
            let error = static_header(&auth).unwrap_err();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn a_failed_renewal_leaves_a_living_token_in_use() {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let at = |seconds| later(start, Duration::from_secs(seconds));
        let failure = AuthFailure::Retryable { detail: "x".to_owned() };
        let mut state = State::default();
        let header = HeaderValue::from_static("Bearer a");
        state.settle(Ok(Fetched { header, life: 3600 }), start).unwrap();
        assert!(state.usable(at(3299)).is_some());
        assert!(state.usable(at(3300)).is_none());
        assert_eq!(state.settle(Err(failure.clone()), at(3300)).unwrap().1, 1);
        assert!(state.usable(at(3329)).is_some(), "no second try at once");
        assert!(state.usable(at(3330)).is_none());
        assert_eq!(state.settle(Err(failure.clone()), at(3600)), Err(failure));
    }

    #[test]
    fn a_short_lived_token_is_renewed_at_half_its_life() {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut state = State::default();
        state.settle(Ok(Fetched { header: HeaderValue::from_static("Bearer a"), life: 60 }), start).unwrap();
        assert!(state.usable(later(start, Duration::from_secs(29))).is_some());
        assert!(state.usable(later(start, Duration::from_secs(30))).is_none());
    }
}
