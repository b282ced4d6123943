//! Which headers a user or a plugin may set.
//!
//! A header can change what the request is (framing, routing, encoding), speak in the name of a cloud's own
//! load balancer, or forge our signature. Those names are refused when a subscription is saved and when a
//! plugin returns them. The list is that of Svix (`server/svix-server/src/v1/endpoints/endpoint`), with the
//! hop-by-hop headers of RFC 9110 and our own.

use http::{HeaderName, HeaderValue};

/// Refused names, and what to do instead.
const FORBIDDEN: &[(&str, &str)] = &[
    ("user-agent", "use `user_agent`"),
    ("content-type", "it follows from the body"),
    ("content-length", "it follows from the body"),
    ("content-encoding", "bodies are sent as they are"),
    ("content-language", "it describes the body"),
    ("content-location", "it describes the body"),
    ("transfer-encoding", "it belongs to the connection"),
    ("host", "it follows from the URL"),
    ("connection", "it belongs to the connection"),
    ("keep-alive", "it belongs to the connection"),
    ("proxy-connection", "it belongs to the connection"),
    ("proxy-authenticate", "it belongs to the connection"),
    ("proxy-authorization", "it belongs to the connection"),
    ("te", "it belongs to the connection"),
    ("trailer", "it belongs to the connection"),
    ("trailers", "it belongs to the connection"),
    ("upgrade", "it belongs to the connection"),
    ("http2-settings", "it belongs to the connection"),
    ("expect", "it belongs to the connection"),
    ("age", "it belongs to answers"),
    ("cache-control", "it belongs to caches"),
    ("clear-site-data", "it belongs to answers"),
    ("expires", "it belongs to answers"),
    ("pragma", "it belongs to caches"),
    ("warning", "it belongs to caches"),
];

/// Refused beginnings of names, and whose they are.
const FORBIDDEN_PREFIXES: &[(&str, &str)] = &[
    ("webhook-", "this gateway's signature"),
    ("svix-", "another gateway's signature"),
    ("x-svix-", "another gateway's signature"),
    ("x-amz-", "Amazon's infrastructure"),
    ("x-amzn-", "Amazon's infrastructure"),
    ("x-google", "Google's infrastructure"),
    ("x-goog-", "Google's infrastructure"),
    ("x-gfe", "Google's infrastructure"),
    ("x-azure-", "Azure's infrastructure"),
    ("x-fd-", "Azure's infrastructure"),
];

const NAME_LIMIT: usize = 128;
const VALUE_LIMIT: usize = 8 * 1024;

/// Checks a header that a user or a plugin wants to add, and gives it in the form [`super::Outbound`] takes.
///
/// Names are RFC 9110 tokens of at most 128 bytes, values have no control characters and at most 8 KiB.
///
/// # Errors
/// A sentence that names the header (never its value, which may be a secret) and says what is wrong.
pub fn check_header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    if name.len() > NAME_LIMIT {
        return Err(format!("a header name is longer than {NAME_LIMIT} bytes"));
    }
    let parsed = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| format!("{name:?} is not a header name: use letters, digits, `-` and `_`"))?;
    if let Some((_, instead)) = FORBIDDEN.iter().find(|(forbidden, _)| *forbidden == parsed.as_str()) {
        return Err(format!("the header {parsed} may not be set: {instead}"));
    }
    if let Some((prefix, whose)) = FORBIDDEN_PREFIXES.iter().find(|(prefix, _)| parsed.as_str().starts_with(prefix)) {
        return Err(format!("the header {parsed} may not be set: `{prefix}` belongs to {whose}"));
    }
    if value.len() > VALUE_LIMIT {
        return Err(format!("the header {parsed} is longer than {VALUE_LIMIT} bytes"));
    }
    let value = HeaderValue::from_bytes(value.as_bytes())
        .map_err(|_| format!("the header {parsed} has a line break or another control character in its value"))?;
    Ok((parsed, value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_the_connection_of_clouds_and_of_ours_are_refused() {
        let refused = [
            "user-agent",
            "keep-alive",
            "proxy-authenticate",
            "proxy-authorization",
            "te",
            "trailers",
            "transfer-encoding",
            "upgrade",
            "age",
            "cache-control",
            "clear-site-data",
            "expires",
            "pragma",
            "warning",
            "content-length",
            "content-type",
            "content-encoding",
            "content-language",
            "content-location",
            "host",
            "connection",
            "x-amz-date",
            "x-amzn-trace-id",
            "x-google-x",
            "x-googlex",
            "x-goog-user-project",
            "x-gfe-x",
            "x-azure-ref",
            "x-fd-healthprobe",
            "svix-id",
            "x-svix-id",
            "webhook-id",
            "webhook-signature",
            "Webhook-Id",
            "HOST",
            "Content-Type",
        ];
        for name in refused {
            let error = check_header(name, "v").unwrap_err();
            assert!(error.contains(&name.to_lowercase()), "{error}");
        }
    }

    #[test]
    fn what_is_no_token_or_has_controls_is_refused() {
        for name in ["", " ", "a b", "a:b", "a\r\nb", "ä", "a\0", "(x)", &"a".repeat(129)] {
            assert!(check_header(name, "v").is_err(), "{name:?}");
        }
        for value in ["a\r\nx-evil: 1", "a\n", "\0", "\u{7f}", &"a".repeat(8193)] {
            let error = check_header("x-a", value).unwrap_err();
            assert!(error.contains("x-a") && !error.contains("evil"), "{error}");
        }
    }

    #[test]
    fn ordinary_headers_pass_with_their_bytes() {
        for (name, value) in
            [("X-Custom-Header", "value"), ("authorization", "Bearer a"), ("x_y", ""), ("x-a", "grüße\t1")]
        {
            let (parsed, bytes) = check_header(name, value).unwrap();
            assert_eq!(parsed.as_str(), name.to_lowercase());
            assert_eq!(bytes.as_bytes(), value.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn whatever_passes_stays_one_header(name in ".*", value in ".*") {
            if let Ok((name, value)) = check_header(&name, &value) {
                prop_assert!(!name.as_str().contains(['\r', '\n', ':', ' ']));
                prop_assert!(!value.as_bytes().iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
            }
        }
    }
}
