//! The profiles that come with Hookmill, compiled in.

/// Name and text of each file of `gateway/profiles`; a test compares this with the folder.
macro_rules! files {
    ($($name:literal)*) => {
        pub(super) const FILES: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../profiles/", $name, ".toml")))),*];
    };
}

files! {
    "bitbucket"
    "calendly"
    "discord"
    "discord-events"
    "generic"
    "github"
    "gitlab"
    "hubspot"
    "ilara"
    "intelligems"
    "intercom"
    "linear"
    "loyali"
    "ltvboost"
    "paddle"
    "pagerduty"
    "sendgrid"
    "sentry"
    "shopify"
    "slack"
    "square"
    "standard-webhooks"
    "stripe"
    "twilio"
    "twilio-events"
    "twitch"
    "typeform"
    "unibo"
    "vercel"
    "woocommerce"
    "zendesk"
    "zoom"
}
