//! Conveniences on the contract's own records. The records themselves are the generated ones, so that
//! nothing is copied on the way in or out.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::bindings::connector::Outcome;
use crate::bindings::transform::Decision;
use crate::{Event, Fault, Payload, Request, Response, Retry, Scope, Verdict};

/// ```
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Order {
///     total: f64,
/// }
///
/// let mut event = hookmill_plugin::testing::event("order.paid", r#"{"total": 100.00, "id": 12345678901234567890}"#);
/// assert_eq!(event.data_as::<Order>().unwrap().total, 100.0);
/// let mut data = event.json().unwrap();
/// data["currency"] = "EUR".into();
/// event.set_json(&data);
/// assert_eq!(event.data, r#"{"total":100.00,"id":12345678901234567890,"currency":"EUR"}"#);
/// ```
impl Event {
    /// The event's data, with numbers as they were written and keys in their order.
    ///
    /// # Errors
    /// If the data is not JSON, which a host never lets happen.
    pub fn json(&self) -> Result<Value, Fault> {
        self.data_as()
    }

    /// The event's data as a type of yours.
    ///
    /// # Errors
    /// Names the field that does not fit and where it stands.
    pub fn data_as<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        serde_json::from_str(&self.data).map_err(|error| Fault::new(format!("data: {error}")))
    }

    /// Replaces the data.
    pub fn set_json(&mut self, data: &Value) {
        self.data = data.to_string();
    }

    /// A kept header's or extension attribute's value. Names are lower case.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// An error type of your own becomes a fault where `?` meets it, with one conversion:
///
/// ```
/// use hookmill_plugin::prelude::*;
///
/// enum Wrong {
///     Currency(String),
///     Negative { field: &'static str },
/// }
///
/// impl From<Wrong> for Fault {
///     fn from(wrong: Wrong) -> Self {
///         Fault::new(match wrong {
///             Wrong::Currency(found) => format!("data.currency: `{found}` is none; give a code such as EUR"),
///             Wrong::Negative { field } => format!("data.{field}: below zero; filter refunds out"),
///         })
///     }
/// }
///
/// fn cents(currency: &str, amount: f64) -> Result<f64, Wrong> {
///     match currency {
///         _ if amount < 0.0 => Err(Wrong::Negative { field: "amount" }),
///         "EUR" | "USD" => Ok(amount * 100.0),
///         other => Err(Wrong::Currency(other.to_owned())),
///     }
/// }
///
/// fn call() -> Result<f64, Fault> {
///     Ok(cents("euro", 1.0)?)
/// }
/// assert_eq!(call().unwrap_err().message, "data.currency: `euro` is none; give a code such as EUR");
/// ```
impl Fault {
    /// A failure that the same event and config would meet again, which is what a pure function's
    /// failures are. Say what is wrong and what to do; the author of the config reads it.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), retryable: false }
    }
}

impl From<serde_json::Error> for Fault {
    fn from(error: serde_json::Error) -> Self {
        Self::new(format!("json: {error}"))
    }
}

impl Decision {
    /// The event goes on as it is now.
    #[must_use]
    pub fn keep(event: Event) -> Self {
        Self::Keep(vec![event])
    }

    /// It ends here; the reason is for the log.
    #[must_use]
    pub fn dropped(reason: impl Into<String>) -> Self {
        Self::Drop(reason.into())
    }
}

impl From<Event> for Decision {
    fn from(event: Event) -> Self {
        Self::keep(event)
    }
}

impl Outcome {
    /// Nothing is sent; the reason is for the log.
    #[must_use]
    pub fn dropped(reason: impl Into<String>) -> Self {
        Self::Drop(reason.into())
    }
}

impl From<Request> for Outcome {
    fn from(request: Request) -> Self {
        Self::Send(vec![request])
    }
}

/// ```
/// use hookmill_plugin::Request;
///
/// let request = Request::json(r#"{"n":1}"#).to("https://api.example.com/v1/items").header("x-idempotency-key", "evt_1");
/// assert_eq!((request.method.as_str(), request.content_type.as_str()), ("POST", "application/json"));
/// ```
impl Request {
    /// A POST of JSON text to the subscription's own URL.
    #[must_use]
    pub fn json(body: impl Into<String>) -> Self {
        Self {
            method: "POST".to_owned(),
            url: None,
            headers: Vec::new(),
            body: Payload::Text(body.into()),
            content_type: "application/json".to_owned(),
        }
    }

    /// To this URL, which must be absolute, instead of the subscription's.
    #[must_use]
    pub fn to(mut self, url: impl Into<String>) -> Self {
        self.url = Some(url.into());
        self
    }

    /// With this header too. The name should be lower case.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// ```
/// use hookmill_plugin::{Response, Retry, Scope, Verdict};
///
/// let answer = Response {
///     status: 429,
///     headers: vec![("Retry-After".to_owned(), "1.5".to_owned())],
///     body: "rate_limited".to_owned(),
///     truncated: false,
/// };
/// assert_eq!(answer.code(), Some("rate_limited"));
/// assert_eq!(answer.default_verdict(), Verdict::Retry(Retry { after_ms: Some(1500), scope: Scope::Endpoint }));
/// ```
impl Response {
    /// A header's value, whatever the case of its name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// True for 200 to 299.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// How long the target asks to wait, in milliseconds: `Retry-After` in seconds, whole or not.
    /// The header's date form needs a clock, which a plugin has not; the host reads that one itself.
    #[must_use]
    pub fn retry_after_ms(&self) -> Option<u64> {
        let seconds: f64 = self.header("retry-after")?.trim().parse().ok()?;
        // A day is longer than any schedule; the host cuts further.
        (seconds >= 0.0).then(|| (seconds.min(86_400.0) * 1000.0) as u64)
    }

    /// The body if it is nothing but a short code such as `invalid_payload`, which is safe to quote
    /// in a log: `[a-z_]`, at most 64 characters.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        plain_code(self.body.trim())
    }

    /// The host's default rule, for the answers a connector has no opinion on: 2xx is delivered, 410
    /// is gone, anything else is tried again.
    #[must_use]
    pub fn default_verdict(&self) -> Verdict {
        match self.status {
            200..300 => Verdict::Delivered,
            410 => Verdict::Gone("the target answered 410".to_owned()),
            _ => self.retry(Scope::Endpoint),
        }
    }

    /// Try again, after as long as the answer asks for.
    #[must_use]
    pub fn retry(&self, scope: Scope) -> Verdict {
        Verdict::Retry(Retry { after_ms: self.retry_after_ms(), scope })
    }
}

/// `text` if it is a short lower-case code and nothing else.
#[must_use]
pub fn plain_code(text: &str) -> Option<&str> {
    let fits =
        !text.is_empty() && text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    fits.then_some(text)
}

/// `text` if it has at most `limit` characters; else its beginning and `…`, `limit` characters together.
#[must_use]
pub fn cut(text: String, limit: usize) -> String {
    // Bytes are at least as many as characters, so most texts are never counted.
    if text.len() <= limit || text.chars().count() <= limit {
        return text;
    }
    text.chars().take(limit.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, retry_after: Option<&str>) -> Response {
        let headers = retry_after.map(|value| ("Retry-After".to_owned(), value.to_owned())).into_iter().collect();
        Response { status, headers, body: String::new(), truncated: false }
    }

    #[test]
    fn retry_after_is_read_in_seconds_and_kept_in_bounds() {
        for (text, expected) in [
            ("30", Some(30_000)),
            (" 1.5 ", Some(1500)),
            ("0", Some(0)),
            ("-1", None),
            ("1e300", Some(86_400_000)),
            ("NaN", None),
            ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ] {
            assert_eq!(response(429, Some(text)).retry_after_ms(), expected, "{text}");
        }
        assert_eq!(response(429, None).retry_after_ms(), None);
    }

    #[test]
    fn cut_counts_characters_and_never_splits_one() {
        assert_eq!(cut("häuser".to_owned(), 6), "häuser");
        assert_eq!(cut("häuser".to_owned(), 3), "hä…");
        assert_eq!(cut("ab".to_owned(), 0), "…");
    }

    #[test]
    fn only_plain_codes_are_quoted() {
        assert_eq!(plain_code("no_service"), Some("no_service"));
        for bad in ["", "<b>", "No_Service", "a b", "a\n"] {
            assert_eq!(plain_code(bad), None, "{bad}");
        }
    }
}
