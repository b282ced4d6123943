//! Google's token flow against a double that checks what it is given.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde_json::{Value, json};

use super::server::{Reply, Server, answer, ok, serve};
use super::*;
use crate::domain::Auth;

const PRIVATE: &str = include_str!("../testdata/service-account-key.pem");
const PUBLIC: &[u8] = include_bytes!("../testdata/service-account-public.der");
const SCOPE: &str = "https://www.googleapis.com/auth/spreadsheets";

fn key_file() -> Value {
    json!({
        "type": "service_account",
        "project_id": "p",
        "private_key_id": "k1",
        "private_key": PRIVATE,
        "client_email": "robot@p.iam.gserviceaccount.com",
        "token_uri": "https://oauth2.googleapis.com/token",
    })
}

fn auth(file: &Value) -> Auth {
    Auth::GoogleServiceAccount { service_account: file.to_string(), scopes: vec![SCOPE.to_owned()] }
}

fn granted(number: usize) -> Reply {
    ok(&json!({"access_token": format!("ya29.{number}"), "expires_in": 3600, "token_type": "Bearer"}).to_string())
}

fn authenticator(server: &Server, clock: &Clock) -> Authenticator {
    let map_hosts = vec![("oauth2.googleapis.com".to_owned(), server.url("").parse().unwrap())];
    let egress = Egress::new(EgressConfig { map_hosts, ..EgressConfig::usual() }, clock.clone()).unwrap();
    Authenticator::new(egress, clock.clone())
}

/// Checks the signature of the request's assertion and gives its two parts.
fn verified(request: &str) -> (Value, Value) {
    let form = request.split("\r\n\r\n").nth(1).unwrap();
    let assertion = form
        .strip_prefix("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=")
        .expect("the grant type comes first");
    let (signed, signature) = assertion.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, PUBLIC).verify(signed.as_bytes(), &signature).unwrap();
    let (head, claims) = signed.split_once('.').unwrap();
    let decode = |part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
    (decode(head), decode(claims))
}

#[tokio::test]
async fn a_token_is_fetched_with_a_signed_assertion() {
    let server = serve(|number, _| granted(number)).await;
    let clock = clock();
    let credential = authenticator(&server, &clock).authorize(tenant(), &auth(&key_file())).await.unwrap();
    assert_eq!(credential.name, "authorization");
    assert_eq!(credential.value, "Bearer ya29.0");
    assert!(!format!("{credential:?}").contains("ya29"));
    let request = server.requests.lock()[0].clone();
    assert!(request.starts_with("POST /token HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("content-type: application/x-www-form-urlencoded\r\n"), "{request}");
    let (head, claims) = verified(&request);
    assert_eq!(head, json!({"alg": "RS256", "typ": "JWT", "kid": "k1"}));
    let now = clock.now().as_second();
    assert_eq!(
        claims,
        json!({
            "iss": "robot@p.iam.gserviceaccount.com",
            "scope": SCOPE,
            "aud": "https://oauth2.googleapis.com/token",
            "iat": now,
            "exp": now + 3600,
        })
    );
}

#[tokio::test]
async fn a_token_is_kept_until_five_minutes_before_its_end() {
    let server = serve(|number, _| granted(number)).await;
    let clock = clock();
    let authenticator = authenticator(&server, &clock);
    let (tenant, auth) = (tenant(), auth(&key_file()));
    for (wait, token) in [(0, 0), (3299, 0), (1, 1), (3299, 1), (1, 2)] {
        clock.advance(Duration::from_secs(wait));
        let credential = authenticator.authorize(tenant, &auth).await.unwrap();
        assert_eq!(credential.value, format!("Bearer ya29.{token}"));
    }
    assert_eq!(server.requests.lock().len(), 3);
}

#[tokio::test]
async fn a_refused_token_is_fetched_again_once() {
    let server = serve(|number, _| granted(number)).await;
    let authenticator = authenticator(&server, &clock());
    let (tenant, auth) = (tenant(), auth(&key_file()));
    let first = authenticator.authorize(tenant, &auth).await.unwrap();
    let same = authenticator.authorize(tenant, &auth).await.unwrap();
    assert!(authenticator.invalidate(&first));
    let second = authenticator.authorize(tenant, &auth).await.unwrap();
    assert!(authenticator.invalidate(&same), "a refusal of the old token does not touch the new one");
    let third = authenticator.authorize(tenant, &auth).await.unwrap();
    assert_eq!(second.value, "Bearer ya29.1");
    assert_eq!(third.value, "Bearer ya29.1");
    let bearer = Auth::Bearer { token: "t".to_owned() };
    assert!(!authenticator.invalidate(&authenticator.authorize(tenant, &bearer).await.unwrap()));
}

#[tokio::test]
async fn many_who_need_a_token_fetch_it_once() {
    let server = serve(|number, _| granted(number)).await;
    let authenticator = authenticator(&server, &clock());
    let (tenant, auth) = (tenant(), auth(&key_file()));
    let credentials = join_all((0..50).map(|_| authenticator.authorize(tenant, &auth))).await;
    assert!(credentials.iter().all(|credential| credential.as_ref().unwrap().value == "Bearer ya29.0"));
    assert_eq!(server.requests.lock().len(), 1);
}

#[tokio::test]
async fn many_who_need_a_token_fail_together() {
    let server = serve(|number, _| if number == 0 { answer("503 No", "", "") } else { granted(number) }).await;
    let authenticator = authenticator(&server, &clock());
    let (tenant, auth) = (tenant(), auth(&key_file()));
    let failed = join_all((0..50).map(|_| authenticator.authorize(tenant, &auth))).await;
    assert!(failed.iter().all(|result| matches!(result, Err(AuthFailure::Retryable { .. }))));
    assert_eq!(server.requests.lock().len(), 1);
    assert_eq!(authenticator.authorize(tenant, &auth).await.unwrap().value, "Bearer ya29.1");
}

#[tokio::test]
async fn tokens_are_shared_by_nobody_who_does_not_hold_the_same_key_file() {
    let server = serve(|number, _| granted(number)).await;
    let authenticator = authenticator(&server, &clock());
    let (tenant, file) = (tenant(), key_file());
    authenticator.authorize(tenant, &auth(&file)).await.unwrap();
    let other = authenticator.authorize(super::tenant(), &auth(&file)).await.unwrap();
    assert_eq!(other.value, "Bearer ya29.1", "another tenant");
    let mut forged = file.clone();
    forged["private_key"] = json!("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    let failure = authenticator.authorize(tenant, &auth(&forged)).await.unwrap_err();
    assert!(matches!(failure, AuthFailure::Configuration { .. }), "the account's name alone is worth nothing");
    let wider = Auth::GoogleServiceAccount { service_account: file.to_string(), scopes: vec!["a".into(), "b".into()] };
    authenticator.authorize(tenant, &wider).await.unwrap();
    let request = server.requests.lock().last().unwrap().clone();
    assert_eq!(verified(&request).1["scope"], "a b");
}

#[tokio::test]
async fn refusals_say_whether_they_pass() {
    let grant = r#"{"error":"invalid_grant","error_description":"Invalid JWT\u0007 Signature."}"#;
    let cases = [
        ("400 Bad Request", grant, false, "invalid_grant: Invalid JWT Signature."),
        ("401 Unauthorized", r#"{"error":"invalid_client"}"#, false, "invalid_client"),
        ("403 Forbidden", "<html>", false, "403"),
        ("302 Found", "", false, "302"),
        ("400 Bad Request", r#"{"error":"internal_failure"}"#, true, "internal_failure"),
        ("400 Bad Request", r#"{"error":"temporarily_unavailable"}"#, true, "temporarily"),
        ("408 Request Timeout", "", true, "408"),
        ("429 Too Many Requests", "", true, "429"),
        ("500 Oops", "", true, "500"),
        ("503 Unavailable", "", true, "503"),
        ("200 OK", "nonsense", true, "without a token"),
        ("200 OK", r#"{"access_token":""}"#, true, "without a token"),
    ];
    for (status, body, retryable, words) in cases {
        let server = serve(move |_, _| answer(status, "", body)).await;
        let failure = authenticator(&server, &clock()).authorize(tenant(), &auth(&key_file())).await.unwrap_err();
        assert_eq!(matches!(failure, AuthFailure::Retryable { .. }), retryable, "{status}: {failure}");
        assert!(failure.to_string().contains(words), "{failure}");
        assert_eq!(server.requests.lock().len(), 1, "{status}");
    }
    let server = serve(|_, _| Reply::Close(vec![])).await;
    let failure = authenticator(&server, &clock()).authorize(tenant(), &auth(&key_file())).await.unwrap_err();
    assert!(matches!(failure, AuthFailure::Retryable { .. }), "{failure}");
}

#[tokio::test]
async fn a_key_file_does_not_choose_where_its_assertion_goes() {
    let server = serve(|number, _| granted(number)).await;
    let elsewhere = serve(|number, _| granted(number)).await;
    let authenticator = authenticator(&server, &clock());
    let foreign = [elsewhere.url("/token"), "https://evil.example/token".to_owned(), "nonsense".to_owned()];
    for (number, uri) in foreign.into_iter().enumerate() {
        let mut file = key_file();
        file["token_uri"] = json!(uri);
        authenticator.authorize(tenant(), &auth(&file)).await.unwrap();
        assert_eq!(server.requests.lock().len(), number + 1, "{uri}");
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[test]
fn key_files_are_checked_without_being_quoted() {
    assert_eq!(check_service_account(&key_file().to_string()), Ok(()));
    let mut wrong = vec!["".to_owned(), "s3cret".to_owned(), r#"{"private_key":"s3cret"}"#.to_owned(), "[]".to_owned()];
    for (field, value) in [("type", "authorized_user"), ("private_key", "s3cret")] {
        let mut file = key_file();
        file[field] = json!(value);
        wrong.push(file.to_string());
    }
    let mut file = key_file();
    file["client_email"] = json!({"s3cret": 1});
    wrong.push(file.to_string());
    for text in wrong {
        let error = check_service_account(&text).unwrap_err();
        assert!(!error.contains("s3cret") && error.contains("service account"), "{error}");
    }
}
