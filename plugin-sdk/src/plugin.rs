//! The two traits an author implements.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::{Decision, Event, Fault, Manifest, Outcome, Response, Verdict};

/// A transform: changes or drops events on their way. Export it with [`transform!`](crate::transform!).
///
/// ```
/// use hookmill_plugin::prelude::*;
///
/// #[derive(Deserialize, JsonSchema)]
/// struct Config {
///     /// What every type begins with afterwards: `eu.`
///     prefix: String,
/// }
///
/// struct Prefix;
///
/// impl Transform for Prefix {
///     type Config = Config;
///
///     const MANIFEST: Manifest = Manifest::transform("prefix", "0.1.0")
///         .title("Prefix")
///         .description("Puts a prefix before the event's type.");
///
///     fn transform(mut event: Event, config: &Config) -> Result<Decision, Fault> {
///         if event.type_.starts_with(&config.prefix) {
///             return Ok(Decision::dropped("it has the prefix already"));
///         }
///         event.type_.insert_str(0, &config.prefix);
///         Ok(event.into())
///     }
/// }
///
/// hookmill_plugin::transform!(Prefix);
///
/// let event = hookmill_plugin::testing::event("order.paid", "{}");
/// let decision = hookmill_plugin::testing::run_transform::<Prefix>(event, r#"{"prefix": "eu."}"#);
/// assert!(matches!(decision, Ok(Decision::Keep(events)) if events[0].type_ == "eu.order.paid"));
/// ```
pub trait Transform {
    /// What the subscription's author fills in. Its schema is derived; doc comments become help texts.
    type Config: DeserializeOwned + JsonSchema;

    /// What this plugin says of itself.
    const MANIFEST: Manifest;

    /// Handles one event.
    ///
    /// # Errors
    /// A [`Fault`] goes into the delivery's log and ends the attempt.
    fn transform(event: Event, config: &Self::Config) -> Result<Decision, Fault>;
}

/// A connector: knows a target. Export it with [`connector!`](crate::connector!).
///
/// ```
/// use hookmill_plugin::prelude::*;
/// use hookmill_plugin::testing;
///
/// #[derive(Deserialize, JsonSchema)]
/// struct Config {
///     /// The text, a template: `{{ data.customer }} paid`.
///     text: String,
/// }
///
/// struct Chat;
///
/// impl Connector for Chat {
///     type Config = Config;
///
///     const MANIFEST: Manifest = Manifest::connector("chat", "0.1.0")
///         .title("Chat")
///         .description("Posts a message.")
///         .interprets(Interprets::Errors);
///
///     fn render(event: Event, config: &Config) -> Result<Outcome, Fault> {
///         let text = Templates::new(&event, Escape::JSON)?.text("text", &config.text)?;
///         Ok(Request::json(format!(r#"{{"text":"{text}"}}"#)).into())
///     }
///
///     fn interpret(response: &Response, _: &Config) -> Verdict {
///         match response.status {
///             404 => Verdict::Gone("the channel was removed (404)".to_owned()),
///             _ => response.default_verdict(),
///         }
///     }
/// }
///
/// hookmill_plugin::connector!(Chat);
///
/// let config = r#"{"text": "{{ data.customer }} paid"}"#;
/// let event = testing::event("order.paid", r#"{"customer": "Zoë \"Z\""}"#);
/// let Ok(Outcome::Send(requests)) = testing::run_render::<Chat>(event, config) else { panic!("it sends") };
/// assert_eq!(testing::body(&requests[0]), r#"{"text":"Zoë \"Z\" paid"}"#);
/// let answer = testing::response(404, "");
/// assert!(matches!(testing::run_interpret::<Chat>(&answer, config), Verdict::Gone(_)));
/// ```
pub trait Connector {
    /// What the subscription's author fills in. Secrets are [`Secret`](crate::Secret) fields.
    type Config: DeserializeOwned + JsonSchema;

    /// What this plugin says of itself.
    const MANIFEST: Manifest;

    /// Makes the request for one event.
    ///
    /// # Errors
    /// A [`Fault`] goes into the delivery's log and ends the attempt.
    fn render(event: Event, config: &Self::Config) -> Result<Outcome, Fault>;

    /// Reads an answer, when the manifest's `interprets` asks for it. The default is the host's own
    /// rule.
    fn interpret(response: &Response, config: &Self::Config) -> Verdict {
        let _ = config;
        response.default_verdict()
    }
}
