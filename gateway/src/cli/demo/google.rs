//! Google's token endpoint, played: it checks an assertion as Google does before it gives a token.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde::Deserialize;
use serde_json::{Value, json};

/// Who signs in.
const ROBOT: &str = "robot@hookmill-demo.iam.gserviceaccount.com";
/// What it may do.
const SCOPE: &str = "https://www.googleapis.com/auth/spreadsheets";
/// For whom assertions are meant.
const AUDIENCE: &str = "https://oauth2.googleapis.com/token";
/// The longest life of an assertion that Google takes, in seconds.
const LONGEST: i64 = 3600;

// A fixture, made once with openssl for this demo. It opens nothing, and is secret to nobody.
const PRIVATE: &str = include_str!("robot-key.pem");
const PUBLIC: &[u8] = include_bytes!("robot-public.der");

/// The key file of the robot, as Google would let one download it.
pub(super) fn key_file() -> Value {
    json!({
        "type": "service_account",
        "project_id": "hookmill-demo",
        "private_key_id": "demo",
        "private_key": PRIVATE,
        "client_email": ROBOT,
        "token_uri": AUDIENCE,
    })
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: String,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    scope: String,
    aud: String,
    iat: i64,
    exp: i64,
}

/// Whether the form that was posted earns a token (RFC 7523).
///
/// # Errors
/// What is wrong with it.
pub(super) fn check(form: &[u8], now: Timestamp) -> Result<(), String> {
    let field = |wanted: &str| {
        url::form_urlencoded::parse(form).find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned())
    };
    if field("grant_type").as_deref() != Some("urn:ietf:params:oauth:grant-type:jwt-bearer") {
        return Err("the grant type is not that of a service account".to_owned());
    }
    let assertion = field("assertion").ok_or("there is no assertion")?;
    let (signed, signature) = assertion.rsplit_once('.').ok_or("the assertion is no JWT")?;
    let (header, claims) = signed.split_once('.').ok_or("the assertion has no three parts")?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| "the signature is no base64url")?;
    let header: Header = read(header)?;
    if header.alg != "RS256" || header.typ != "JWT" {
        return Err(format!("the header says {} and {}, not RS256 and JWT", header.alg, header.typ));
    }
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, PUBLIC)
        .verify(signed.as_bytes(), &signature)
        .map_err(|_| "the signature is not the robot's")?;
    let claims: Claims = read(claims)?;
    let now = now.as_second();
    for (right, what) in [
        (claims.iss == ROBOT, "`iss` is not the robot"),
        (claims.scope == SCOPE, "`scope` is not that of spreadsheets"),
        (claims.aud == AUDIENCE, "`aud` is not the token endpoint"),
        (claims.iat <= now + 60 && now < claims.exp, "it is not its time"),
        (claims.exp - claims.iat <= LONGEST, "it lives too long"),
    ] {
        if !right {
            return Err(what.to_owned());
        }
    }
    Ok(())
}

fn read<T: for<'de> Deserialize<'de>>(part: &str) -> Result<T, String> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| "a part of the assertion is no base64url")?;
    serde_json::from_slice(&bytes).map_err(|error| format!("a part of the assertion can't be read: {error}"))
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
    use rustls::pki_types::PrivatePkcs8KeyDer;
    use rustls::pki_types::pem::PemObject;

    use super::*;

    const NOW: i64 = 1_750_000_000;

    fn claims() -> Value {
        json!({"iss": ROBOT, "scope": SCOPE, "aud": AUDIENCE, "iat": NOW, "exp": NOW + 3600})
    }

    fn form(header: &Value, claims: &Value) -> Vec<u8> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(PRIVATE.as_bytes()).unwrap();
        let key = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).unwrap();
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let mut signature = vec![0; key.public().modulus_len()];
        key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
        let grant = "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer";
        format!("grant_type={grant}&assertion={signed}.{}", URL_SAFE_NO_PAD.encode(&signature)).into_bytes()
    }

    #[test]
    fn only_a_right_assertion_earns_a_token() {
        let now = Timestamp::from_second(NOW + 1).unwrap();
        let header = json!({"alg": "RS256", "typ": "JWT"});
        assert_eq!(check(&form(&header, &claims()), now), Ok(()));
        for (field, value, why) in [
            ("iss", json!("someone@else"), "`iss`"),
            ("scope", json!("https://www.googleapis.com/auth/drive"), "`scope`"),
            ("aud", json!("https://evil.example/token"), "`aud`"),
            ("exp", json!(NOW), "its time"),
            ("iat", json!(NOW + 900), "its time"),
            ("exp", json!(NOW + 7200), "too long"),
        ] {
            let mut claims = claims();
            claims[field] = value;
            let refusal = check(&form(&header, &claims), now).unwrap_err();
            assert!(refusal.contains(why), "{field}: {refusal}");
        }
        let none = json!({"alg": "none", "typ": "JWT"});
        assert!(check(&form(&none, &claims()), now).unwrap_err().contains("none"));
        let mut forged = form(&header, &claims());
        let end = forged.len() - 4;
        forged[end] = if forged[end] == b'A' { b'B' } else { b'A' };
        assert!(check(&forged, now).unwrap_err().contains("signature"));
        for broken in [&b""[..], b"grant_type=password", b"assertion=a.b.c", b"\xff\xfe"] {
            assert!(check(broken, now).is_err());
        }
    }
}
