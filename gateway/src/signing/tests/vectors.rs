//! Signatures that others published, and the reference systems' forms against values made elsewhere.

use super::*;

#[test]
fn github() {
    // GitHub Docs, "Validating webhook deliveries", "Testing the webhook payload validation".
    let scheme = r#"{"scheme":"hmac","header":"X-Hub-Signature-256","value":"sha256={signature}"}"#;
    let key = "It's a Secret to Everybody";
    let headers = signed(&delivery(scheme), key, None, &parts(b"Hello, World!", 0));
    assert_eq!(
        headers["x-hub-signature-256"],
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    );
    assert_eq!(headers.len(), 1);
    assert!(verified(&source(scheme), &[key], &headers, b"Hello, World!", 0).is_ok());
}

#[test]
fn standard_webhooks() {
    // standard-webhooks/standard-webhooks, the test of every library in `libraries/`.
    let parts = SignParts {
        id: STANDARD_ID,
        timestamp_s: STANDARD_TIME,
        body: STANDARD_BODY,
        url: URL,
        method: "POST",
        headers: no_headers(),
    };
    let headers = signed(&delivery(STANDARD), STANDARD_SECRET, None, &parts);
    assert_eq!(headers, standard_headers(STANDARD_SIGNATURE));
    let found = verified(&source(STANDARD), &[STANDARD_SECRET], &headers, STANDARD_BODY, STANDARD_TIME);
    assert_eq!(found, Ok(Verified { timestamp: Some(STANDARD_TIME), id: Some(STANDARD_ID.to_owned()) }));
}

#[test]
fn standard_webhooks_with_a_private_key() {
    // svix/svix-webhooks, `test_asymmetric_key_signing`; the signature is also in the specification's text.
    let key = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
    let seed = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbc=";
    let public = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";
    let signature = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==";
    let scheme = delivery(ED25519);
    let parts = SignParts {
        id: STANDARD_ID,
        timestamp_s: STANDARD_TIME,
        body: STANDARD_BODY,
        url: URL,
        method: "POST",
        headers: no_headers(),
    };
    for key in [key, seed] {
        let headers = signed(&scheme, key, None, &parts);
        assert_eq!(headers, standard_headers(signature));
        assert_eq!(scheme.public_key(&secret(key)).as_deref(), Some(public));
        // The receiver has only the public half; the inbox, which has the private one, verifies too.
        assert!(verified(&source(STANDARD), &[public], &headers, STANDARD_BODY, STANDARD_TIME).is_ok());
        assert!(verified(&scheme, &[key], &headers, STANDARD_BODY, STANDARD_TIME).is_ok());
        let other = verified(&source(STANDARD), &[public], &headers, b"{}", STANDARD_TIME);
        assert_eq!(other, Err(Rejection::NoMatch));
    }
}

#[test]
fn slack() {
    // Slack, "Verifying requests from Slack", the worked example.
    let key = "8f742231b10e8888abcd99yyyzzz85a5";
    let body = b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V\
        &channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=\
        &response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN\
        &trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    let headers = signed(&delivery(SLACK), key, None, &parts(body, 1_531_420_618));
    let signature = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
    assert_eq!(headers["x-slack-signature"], signature);
    assert_eq!(headers["x-slack-request-timestamp"], "1531420618");
    let found = verified(&source(SLACK), &[key], &headers, body, 1_531_420_918);
    assert_eq!(found, Ok(Verified { timestamp: Some(1_531_420_618), id: None }));
}

#[test]
fn hmac_in_every_hash_and_encoding() {
    // RFC 4231, section 4.3, and RFC 2202, section 3, test case 2 of each.
    let body = b"what do ya want for nothing?";
    for (algorithm, encoding, expected) in [
        ("sha1", "hex", "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
        ("sha1", "base64", "7/zfauXrL6LSdBbV8YTfnCWafHk="),
        ("sha256", "hex", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        ("sha256", "base64", "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM="),
        (
            "sha512",
            "hex",
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a\
             6b4b636e070a38bce737",
        ),
    ] {
        let json =
            format!(r#"{{"scheme":"hmac","header":"x-sign","algorithm":"{algorithm}","encoding":"{encoding}"}}"#);
        let headers = signed(&delivery(&json), "Jefe", None, &parts(body, 0));
        assert_eq!(headers["x-sign"], expected, "{algorithm} {encoding}");
        assert!(verified(&source(&json), &["Jefe"], &headers, body, 0).is_ok(), "{algorithm} {encoding}");
    }
}

/// The four reference systems that sign. The values were made with Python's `hmac`.
#[test]
fn reference_systems() {
    let body = br#"{"id":"evt_1","amount":100.0}"#;
    let digest = "9013079c13170bab13f459f5fa8e4a70a593d38c1dc43393b2a30e6ac73e1923";
    let stamped = "e898d0a14316162cf039f9c5876aefdb3b04613fe06eedf9ef4a1fe7aab2051a";
    for (name, json, header, value) in [
        ("ilara", ILARA, "x-ilara-signature", format!("sha256={digest}")),
        ("loyali", LOYALI, "x-loyali-signature", format!("t=1705766400,v1={stamped}")),
        ("intelligems", INTELLIGEMS, "x-intelligems-signature", digest.to_owned()),
        ("ltvboost", LTVBOOST, "x-ltvboost-signature", format!("sha256={digest}")),
    ] {
        let headers = signed(&delivery(json), "shared secret", None, &parts(body, 1_705_766_400));
        assert_eq!(headers.len(), 1, "{name}");
        assert_eq!(headers[header], value, "{name}");
        assert!(verified(&source(json), &["shared secret"], &headers, body, 1_705_766_400).is_ok(), "{name}");
    }
    let headers = signed(&delivery(INTELLIGEMS_DELIVERY), "shared secret", None, &parts(body, 1_705_766_400));
    assert_eq!(headers["webhook-timestamp"], "1705766400");
    assert_eq!(headers["x-intelligems-signature"], digest);
    // The inbox shows the verdict of the subscription's own scheme; the unsigned timestamp does not count.
    let inbox = verified(&delivery(INTELLIGEMS_DELIVERY), &["shared secret"], &headers, body, 0);
    assert_eq!(inbox, Ok(Verified { timestamp: None, id: None }));
}
