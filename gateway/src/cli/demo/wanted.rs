//! What the demo's tenant asks for: a subscription for each endpoint, as the body of `POST /v1/subscriptions`.

use serde_json::{Value, json};

use super::google;

/// A subscription, and what it must come to.
pub(super) struct Wanted {
    /// Its name.
    pub(super) name: &'static str,
    /// The beginning of the path at which its deliveries arrive; empty if that is not one of the endpoints.
    pub(super) at: &'static str,
    /// Why it is here, in a sentence.
    pub(super) about: &'static str,
    /// The request.
    pub(super) body: Value,
    /// Deliveries that must end as delivered.
    pub(super) delivered: usize,
    /// Deliveries that must end as failed.
    pub(super) failed: usize,
}

/// The names that the tour looks for.
pub(super) const ILARA: &str = "Ilara webhook";
pub(super) const FLAKY: &str = "Flaky endpoint";
pub(super) const HOSTILE: &str = "Looping plugin";
pub(super) const SHEETS: &str = "Google Sheets";
pub(super) const INBOX: &str = "Inbox";

/// All of them. `url` makes a URL of a customer's own server, `inbox` is that of the inbox.
pub(super) fn wanted(url: impl Fn(&str) -> String, inbox: &str) -> Vec<Wanted> {
    let hmac = |header: &str| json!({"scheme": "hmac", "header": header, "value": "sha256={signature}"});
    let one = |name, at, about, body| Wanted { name, at, about, body, delivered: 1, failed: 0 };
    vec![
        one(
            "Slack",
            "/services/",
            "A template becomes a message; what comes from the event can't mention or link anything.",
            json!({
                "url": "https://hooks.slack.com/services/T00000000/B00000000/demo",
                "events": ["experience.*"],
                "signing": {"scheme": "none"},
                "connector": {"name": "slack", "config": {
                    "text": ":rocket: *{{ data.experience.name }}* is live, started by {{ data.triggered_by.email }}",
                }},
            }),
        ),
        one(
            "Zapier",
            "/hooks/catch/",
            "A Catch Hook gets one flat object, so that the Zap's editor can offer every field.",
            json!({
                "url": "https://hooks.zapier.com/hooks/catch/1000000/demo/",
                "events": ["experience.*"],
                "signing": {"scheme": "none"},
                "connector": {"name": "zapier", "config": {}},
            }),
        ),
        one(
            SHEETS,
            "/v4/spreadsheets/",
            "A row for each event, with a token that was fetched with the service account's key.",
            json!({
                "events": ["experience.*"],
                "signing": {"scheme": "none"},
                "connector": {"name": "google-sheets", "config": {
                    "spreadsheet_id": "1DemoSpreadsheet",
                    "range": "Experiments!A:F",
                    "service_account": google::key_file(),
                    "columns": [
                        {"header": "Experience Name", "value": "{{ data.experience.name }}"},
                        {"header": "Action Type", "value": "{{ data.action }}"},
                        {"header": "Experience Type", "value": "{{ data.experience.type }}"},
                        {"header": "Timestamp", "value": "{{ data.timestamp }}"},
                        {"header": "Experience ID", "value": "{{ data.experience.id }}"},
                        {"header": "Triggered By Email", "value": "{{ data.triggered_by.email }}"},
                    ],
                }},
            }),
        ),
        one(
            ILARA,
            "/ilara",
            "Only purchases of 50 USD and more, in the very form that Ilara's documented verifier checks.",
            json!({
                "url": url("/ilara"),
                "events": ["event.purchase_complete"],
                "filters": {"properties.amount": {"gte": 50}, "properties.currency": {"eq": "USD"}},
                "secret": "whsec_your_signing_secret",
                "signing": hmac("x-ilara-signature"),
                "body_format": "js",
                "headers": {"X-Custom-Header": "value"},
                "retry_policy": {"schedule": ["0s", "1m", "5m", "30m", "2h"], "jitter": 0},
            }),
        ),
        Wanted {
            delivered: 2,
            ..one(
                "Loyali webhook",
                "/loyali",
                "The signature covers the time of the attempt, so that an old request can't be sent again.",
                json!({
                    "url": url("/loyali"),
                    "events": ["tier.*", "points.*"],
                    "secret": "demo-loyali-secret",
                    "signing": {
                        "scheme": "hmac", "header": "x-loyali-signature",
                        "content": "{timestamp}.{body}", "value": "t={timestamp},v1={signature}",
                    },
                    "retry_policy": {"schedule": ["0s", "1m", "5m", "30m", "2h"], "jitter": 0},
                }),
            )
        },
        one(
            "LTVboost webhook",
            "/ltvboost",
            "The raw body is signed, and sent as it was signed.",
            json!({
                "url": url("/ltvboost"),
                "events": ["response.created", "action.sent"],
                "secret": "your-webhook-secret",
                "signing": hmac("x-ltvboost-signature"),
            }),
        ),
        Wanted {
            delivered: 4,
            ..one(
                "Unibo webhook",
                "/unibo",
                "The bare payload, to the byte: 100.0 stays 100.0. No signature but a bearer token, and no second try.",
                json!({
                    "url": url("/unibo"),
                    "events": [
                        "PRIZE_PAYOUT_CREATED", "PRIZE_PAYOUT_SUCCEEDED", "PRIZE_PAYOUT_FAILED",
                        "PLAYER_OPTED_IN", "PLAYER_OPTED_OUT",
                    ],
                    "envelope": "none",
                    "signing": {"scheme": "none"},
                    "auth": {"type": "bearer", "token": "your-secret-api-key"},
                    "user_agent": "Unibo-Webhooks/1.0",
                    "retry_policy": {"schedule": ["0s"], "jitter": 0},
                }),
            )
        },
        one(
            "Analytics",
            "/analytics",
            "A transform masks the address before the event leaves the house.",
            json!({
                "url": url("/analytics"),
                "events": ["tier.upgraded"],
                "transforms": [{"plugin": "redact", "config": {"paths": ["$.data.customer_email"]}}],
            }),
        ),
        one(
            FLAKY,
            "/flaky",
            "It answers 500 twice before it recovers.",
            json!({
                "url": url("/flaky"),
                "events": ["points.earned"],
                "retry_policy": {"schedule": ["0s", "1s", "2s"], "jitter": 0},
            }),
        ),
        Wanted {
            delivered: 0,
            failed: 1,
            ..one(
                HOSTILE,
                "/never",
                "Its transform is a loop without an end, as a careless or hostile tenant could upload one.",
                json!({
                    "url": url("/never"),
                    "events": ["response.created"],
                    "transforms": [{"plugin": "looping"}],
                    "retry_policy": {"schedule": ["0s"], "jitter": 0},
                }),
            )
        },
        Wanted {
            delivered: super::samples::SAMPLES.len(),
            ..one(
                INBOX,
                "",
                "Everything, to a page on the gateway itself, where a browser can watch.",
                json!({"url": inbox, "events": ["*"]}),
            )
        },
    ]
}
