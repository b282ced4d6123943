//! Google service accounts: a key file, a signed assertion, an access token.
//!
//! The flow is that of `google-auth` 2.x (`google/oauth2/_client.py`): a JWT signed with RS256 by the
//! account's key is posted to the token endpoint, whose answer is a bearer token for about an hour. The
//! audience is always Google's endpoint. The key file names a token endpoint too; it is followed only to
//! Google or to a host the operator mapped, so that a key file cannot choose where an assertion goes.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use jiff::Timestamp;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use serde_json::json;
use url::Url;
use zeroize::Zeroize;

use super::client::{Answer, Egress, Outbound};
use super::failure::{Failure, FailureClass};
use crate::domain::TenantId;

/// Google's token endpoint, and the audience of every assertion.
const TOKEN_ENDPOINT: &str = "https://oauth2.googleapis.com/token";
/// The hosts that a key file may name instead.
const TOKEN_HOSTS: [&str; 2] = ["oauth2.googleapis.com", "www.googleapis.com"];
/// How long an assertion is valid, in seconds. The longest Google takes.
const ASSERTION_LIFE: i64 = 3600;
/// How long a token lives if the answer does not say, in seconds.
const USUAL_TOKEN_LIFE: u64 = 3600;
/// How long the token endpoint may take.
const TOKEN_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(20);

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TokenError {
    /// It may come later.
    Later(String),
    /// It will not, until someone changes the settings.
    Never(String),
}

/// A token and how many seconds it lives.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) header: HeaderValue,
    pub(super) life: u64,
}

/// Checks a service account's key file when it is saved.
///
/// # Errors
/// A sentence that says what is wrong with it, without quoting any of it.
pub fn check_service_account(text: &str) -> Result<(), String> {
    ServiceAccount::parse(text).map(drop)
}

#[derive(Deserialize)]
struct KeyFile {
    #[serde(rename = "type")]
    kind: Option<String>,
    client_email: String,
    private_key: String,
    #[serde(default)]
    private_key_id: Option<String>,
    #[serde(default)]
    token_uri: Option<String>,
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        self.private_key.zeroize();
    }
}

/// What is needed of a key file.
struct ServiceAccount {
    email: String,
    key_id: Option<String>,
    key: RsaKeyPair,
    token_uri: Option<Url>,
}

impl ServiceAccount {
    fn parse(text: &str) -> Result<Self, String> {
        let mut file: KeyFile = serde_json::from_str(text).map_err(|error| {
            // The error's own text can quote a value.
            format!(
                "the service account is not a Google key file: the JSON with `client_email` and `private_key` is \
                 wanted as it was downloaded (line {}, column {})",
                error.line(),
                error.column()
            )
        })?;
        if file.kind.as_deref().is_some_and(|kind| kind != "service_account") {
            return Err("the key file is not that of a service account (its `type` is another)".to_owned());
        }
        let unusable = || "the service account's `private_key` is not an RSA key in PEM (PKCS#8)".to_owned();
        let der = PrivatePkcs8KeyDer::from_pem_slice(file.private_key.as_bytes()).map_err(|_| unusable())?;
        let key = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|_| unusable())?;
        Ok(Self {
            email: std::mem::take(&mut file.client_email),
            key_id: file.private_key_id.take(),
            key,
            token_uri: file.token_uri.take().and_then(|uri| uri.parse().ok()),
        })
    }

    /// The signed assertion (RFC 7523): the claims of A.5, RSASSA-PKCS1-v1_5 with SHA-256.
    fn assertion(&self, scopes: &str, now: Timestamp) -> Result<String, String> {
        let mut head = json!({"alg": "RS256", "typ": "JWT"});
        if let (Some(head), Some(id)) = (head.as_object_mut(), &self.key_id) {
            head.insert("kid".to_owned(), json!(id));
        }
        let issued = now.as_second();
        let claims = json!({
            "iss": self.email,
            "scope": scopes,
            "aud": TOKEN_ENDPOINT,
            "iat": issued,
            "exp": issued + ASSERTION_LIFE,
        });
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let signed = format!("{}.{}", encode(head.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .map_err(|_| "the service account's `private_key` does not sign".to_owned())?;
        Ok(format!("{signed}.{}", encode(&signature)))
    }
}

/// Fetches a token. Parsing and signing with RSA take about a millisecond, so they leave the async threads.
pub(super) async fn fetch(
    egress: &Egress,
    tenant: TenantId,
    account: zeroize::Zeroizing<String>,
    scopes: String,
    now: Timestamp,
) -> Result<Fetched, TokenError> {
    let prepared = tokio::task::spawn_blocking(move || {
        let account = ServiceAccount::parse(&account)?;
        account.assertion(&scopes, now).map(|assertion| (assertion, account.token_uri))
    });
    let (assertion, token_uri) = prepared
        .await
        .map_err(|_| TokenError::Later("the gateway was interrupted while it signed".to_owned()))?
        .map_err(TokenError::Never)?;
    let mut headers = HeaderMap::with_capacity(2);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    // Base64url and dots need no escaping in a form.
    let form = format!("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={assertion}");
    let request = Outbound {
        method: Method::POST,
        url: endpoint(egress, token_uri),
        headers,
        body: Bytes::from(form),
        timeout: TOKEN_TIMEOUT,
    };
    match egress.send(tenant, request).await {
        Ok(answer) => read_answer(&answer),
        Err(failure) => Err(read_failure(&failure)),
    }
}

fn endpoint(egress: &Egress, token_uri: Option<Url>) -> Url {
    let named = token_uri.filter(|uri| {
        let googles = uri.scheme() == "https" && uri.host_str().is_some_and(|host| TOKEN_HOSTS.contains(&host));
        googles || egress.maps(uri)
    });
    named.unwrap_or_else(|| TOKEN_ENDPOINT.parse().expect("the constant is a URL"))
}

fn read_failure(failure: &Failure) -> TokenError {
    let detail = format!("no token from Google: {failure}");
    match failure.class {
        FailureClass::Blocked => TokenError::Never(detail),
        _ => TokenError::Later(detail),
    }
}

fn read_answer(answer: &Answer) -> Result<Fetched, TokenError> {
    #[derive(Deserialize)]
    struct Granted {
        access_token: String,
        #[serde(default)]
        expires_in: Option<u64>,
    }
    let status = answer.status.as_u16();
    if !answer.status.is_success() {
        return Err(read_refusal(status, &answer.body));
    }
    let granted = serde_json::from_slice::<Granted>(&answer.body).ok();
    let header = granted.as_ref().filter(|granted| !granted.access_token.is_empty()).and_then(|granted| {
        let mut header = HeaderValue::from_str(&format!("Bearer {}", granted.access_token)).ok()?;
        header.set_sensitive(true);
        Some(header)
    });
    match header {
        Some(header) => {
            Ok(Fetched { header, life: granted.and_then(|granted| granted.expires_in).unwrap_or(USUAL_TOKEN_LIFE) })
        }
        None => Err(TokenError::Later(format!("the token endpoint answered {status} without a token"))),
    }
}

/// Which refusals pass by themselves is as in google-auth's `_can_retry`.
fn read_refusal(status: u16, body: &[u8]) -> TokenError {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Refused {
        error: String,
        error_description: String,
    }
    let refused: Refused = serde_json::from_slice(body).unwrap_or_default();
    let mut detail = format!("the token endpoint answered {status}");
    for text in [&refused.error, &refused.error_description] {
        let text: String = text.chars().filter(|c| !c.is_control()).take(300).collect();
        if !text.is_empty() {
            detail.push_str(": ");
            detail.push_str(&text);
        }
    }
    let passing = matches!(status, 408 | 429 | 500..=599)
        || matches!(refused.error.as_str(), "internal_failure" | "server_error" | "temporarily_unavailable");
    if passing { TokenError::Later(detail) } else { TokenError::Never(detail) }
}
