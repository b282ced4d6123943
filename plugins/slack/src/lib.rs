//! Slack: a message for every event, through an incoming webhook or, with a token, `chat.postMessage`.
//!
//! **What is promised.** Text from an event never becomes a mention, a channel or a link: `&`, `<` and
//! `>` in values are escaped, as Slack asks, while the author's own text may hold `<!here>` and
//! `<https://…|links>`. Messages keep within Slack's limits; what is too long is cut with `…` rather
//! than refused by Slack. Answers are read the way Slack means them: `chat.postMessage` reports
//! failure behind a 200, and a webhook says in a word why it never will take a message.
//!
//! **What is not.** Slack has no way to tell a repeated message: when the connection breaks after the
//! request was written, the message is sent again and may appear twice. For an alert that is better
//! than not at all.
//!
//! Facts are from docs.slack.dev (incoming webhooks, chat.postMessage, Block Kit), read in 2026.

mod answer;
mod blocks;

use hookmill_plugin::cut;
use hookmill_plugin::prelude::*;
use serde_json::{Map, Value};

/// Slack cuts messages beyond this many characters, and says that 4,000 are the most that read well.
const TEXT: usize = 40_000;

/// Where messages with a token go.
const POST_MESSAGE: &str = "https://slack.com/api/chat.postMessage";

/// The settings of a Slack subscription. Texts are templates.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The message, in Slack's mrkdwn: `*{{ data.customer }}* paid {{ data.amount }}`. With blocks it is what notifications and screen readers show.
    #[schemars(length(min = 1))]
    text: String,
    /// Block Kit blocks, at most 50; every text in them is a template too.
    #[serde(default)]
    #[schemars(schema_with = "blocks::schema")]
    blocks: Option<Vec<Value>>,
    /// The channel, by id (`C0123ABC`) or name; needs a token. A webhook has its own channel.
    #[serde(default)]
    channel: Option<String>,
    /// A bot token (`xoxb-…`) with the scope `chat:write`. Without one the subscription's URL is an incoming webhook.
    #[serde(default)]
    token: Option<Secret>,
}

impl Config {
    fn token(&self) -> Option<&Secret> {
        self.token.as_ref().filter(|token| !token.is_empty())
    }
}

/// The connector.
#[derive(Debug)]
pub struct Slack;

impl Connector for Slack {
    type Config = Config;

    const MANIFEST: Manifest = Manifest::connector("slack", env!("CARGO_PKG_VERSION"))
        .title("Slack")
        .description(
            "Sends a message to a Slack channel. Paste an incoming webhook's URL as the subscription's URL, \
             or give a bot token and a channel. The text and every text in the blocks are templates over the \
             event; what comes out of an event is escaped, so it cannot mention anyone.",
        )
        .hosts(&["slack.com"])
        // With a token a 200 may be a refusal. The manifest is one for both ways; a webhook's `ok` is not asked about.
        .interprets(Interprets::Always)
        .on_unknown(OnUnknown::Retry)
        .rate(1, 1000);

    fn render(event: Event, config: &Config) -> Result<Outcome, Fault> {
        let templates = Templates::new(&event, Escape::new(escape))?;
        let text = templates.text("text", &config.text)?;
        if text.trim().is_empty() && config.blocks.as_ref().is_none_or(Vec::is_empty) {
            return Err(Fault::new("text: empty for this event, and Slack refuses empty messages; add some words"));
        }
        let mut body = Map::new();
        if let Some(channel) = config.channel.as_deref().filter(|channel| !channel.is_empty()) {
            if config.token().is_none() {
                return Err(Fault::new(
                    "channel: an incoming webhook posts to its own channel; remove `channel`, or add a bot `token`",
                ));
            }
            // A channel is a name, not mrkdwn.
            let channel = templates.escaped(Escape::NONE).text("channel", channel)?;
            body.insert("channel".to_owned(), channel.into());
        } else if config.token().is_some() {
            return Err(Fault::new("channel: needed with a token; give a channel id such as `C0123ABC`"));
        }
        body.insert("text".to_owned(), cut(text, TEXT).into());
        if let Some(blocks) = config.blocks.as_ref().filter(|blocks| !blocks.is_empty()) {
            body.insert("blocks".to_owned(), blocks::render(&templates, blocks)?);
        }
        let mut request = Request::json(Value::Object(body).to_string());
        if let Some(token) = config.token() {
            request = request.to(POST_MESSAGE).header("authorization", format!("Bearer {token}"));
            request.content_type = "application/json; charset=utf-8".to_owned();
        }
        Ok(request.into())
    }

    fn interpret(response: &Response, config: &Config) -> Verdict {
        match config.token() {
            Some(_) => answer::post_message(response),
            None => answer::webhook(response),
        }
    }
}

hookmill_plugin::connector!(Slack, emptied);

/// Slack's three, and only those: its documents say not to encode anything else.
fn escape(text: &str, out: &mut String) {
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            char => out.push(char),
        }
    }
}

#[cfg(test)]
mod tests {
    use hookmill_plugin::testing;

    #[test]
    fn golden() {
        testing::connector::<super::Slack>("golden");
    }

    #[test]
    fn manifest() {
        let schema = testing::manifest::<super::Config>(&<super::Slack as hookmill_plugin::Connector>::MANIFEST);
        assert_eq!(schema["properties"]["token"]["writeOnly"], true);
        assert_eq!(schema["required"], serde_json::json!(["text"]));
    }
}
