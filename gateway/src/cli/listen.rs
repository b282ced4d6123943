//! `hookmill listen`: a subscription's deliveries, handed on to a program on this machine.
//!
//! **Who acts.** A receiver that is being written has no address that a gateway could reach. So a second, temporary
//! subscription is made of the same settings and the same secret, whose deliveries go to an inbox on the gateway; the
//! inbox is read again and again, and what arrived there is handed on, header by header and byte by byte. **What is
//! promised.** The subscription itself is neither changed nor slowed, whatever the program answers; the temporary one
//! and its inbox are removed at the end, also at Ctrl-C. **What is deliberately not.** What the program answers does
//! not reach the gateway: nothing is retried. Secrets that the gateway does not tell can't be copied: in the configs of
//! transforms a placeholder stands for each, while those of the connector, which may choose where to send, and credentials
//! (`auth`, secret headers) are left out. Both are said.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use clap::Args;
use hyper::{Method, StatusCode};
use serde_json::{Map, Value, json};
use tokio::signal::unix::{SignalKind, signal};
use url::Url;

use super::remote::{Reach, Refused, Remote, find_subscription, plain, text};
use super::{block_on, eprint_line, print, withheld};

/// How often the inbox is read.
const LOOK: Duration = Duration::from_millis(250);

/// What the temporary subscription has of the one that is listened to. The rest is its own.
const COPIED: [&str; 14] = [
    "profile",
    "events",
    "source_ids",
    "filters",
    "transforms",
    "connector",
    "signing",
    "envelope",
    "body_format",
    "headers",
    "forward_headers",
    "user_agent",
    "success",
    "reuse_instances",
];

/// Headers that are of one connection, or that the request gets anew.
const NOT_HANDED_ON: [&str; 6] = ["host", "connection", "content-length", "transfer-encoding", "keep-alive", "upgrade"];

/// Hand a subscription's deliveries on to a program on this machine, while it is being written.
///
/// A temporary subscription with the same filter, transforms and secret is made, and removed at the end (Ctrl-C).
#[derive(Args, Debug)]
pub(super) struct Listen {
    /// Whose deliveries: its id, uid or name
    #[arg(required_unless_present = "events")]
    subscription: Option<String>,
    /// In place of a subscription: all events that fit, such as `order.*`; may be repeated
    #[arg(long = "event", value_name = "PATTERN", conflicts_with = "subscription")]
    events: Vec<String>,
    /// The program's port on this machine
    #[arg(long, value_name = "PORT", required_unless_present = "to")]
    port: Option<u16>,
    /// The program's URL, where more than a port is needed, such as http://localhost:3000/hooks
    #[arg(long, value_name = "URL", conflicts_with = "port")]
    to: Option<String>,
    /// End after so many
    #[arg(long, value_name = "COUNT")]
    limit: Option<u64>,
    #[command(flatten)]
    reach: Reach,
}

impl Listen {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let remote = self.reach.remote()?;
        let to = self.program()?;
        block_on(async {
            // From here on nothing may be left behind.
            let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
            let mut hang_up = signal(SignalKind::hangup())?;
            let mut ear = Ear { remote: &remote, inbox: None, subscription: None };
            // Not broken off in the middle: what is made must be known, to be removed.
            let listened = match self.open(&mut ear, &to).await {
                Ok(path) => tokio::select! {
                    listened = self.listen(&remote, &path, &to) => listened,
                    _ = interrupt.recv() => Ok(()),
                    _ = terminate.recv() => Ok(()),
                    _ = hang_up.recv() => Ok(()),
                },
                Err(error) => Err(error),
            };
            let removed = ear.remove().await;
            listened.and(removed)
        })
    }

    fn program(&self) -> anyhow::Result<Url> {
        let text = match (&self.to, self.port) {
            (Some(to), _) => to.clone(),
            (None, port) => format!("http://127.0.0.1:{}/", port.unwrap_or_default()),
        };
        let url =
            Url::parse(&text).with_context(|| format!("`{text}` is no URL, such as http://localhost:3000/hooks"))?;
        ensure!(url.has_host() && ["http", "https"].contains(&url.scheme()), "`{text}` is no http URL");
        Ok(url)
    }

    /// Begins to listen; gives the path of what arrives.
    async fn open(&self, ear: &mut Ear<'_>, to: &Url) -> anyhow::Result<String> {
        let settings = match &self.subscription {
            Some(word) => copy(ear.remote, &find_subscription(ear.remote, word).await?).await?,
            None => json!({ "events": self.events }),
        };
        let path = ear.open(settings).await?;
        if self.reach.json {
            print(&json!({ "listening": to.as_str(), "subscription_id": ear.subscription }).to_string());
        } else {
            print(&format!("what is delivered goes to {to}; Ctrl-C ends this"));
        }
        Ok(path)
    }

    async fn listen(&self, remote: &Remote, path: &str, to: &Url) -> anyhow::Result<()> {
        let mut last: Option<(String, u64)> = None;
        let mut count = 0;
        while self.limit.is_none_or(|limit| count < limit) {
            let fresh = last.as_ref().map_or_else(|| path.to_owned(), |(id, _)| format!("{path}?after={id}"));
            let page = match remote.get(&fresh).await {
                Ok(page) => page.json(),
                // That does not pass; anything else may.
                Err(error)
                    if error
                        .downcast_ref::<Refused>()
                        .is_some_and(|refused| refused.status == StatusCode::NOT_FOUND) =>
                {
                    return Err(error.context("the temporary inbox is gone"));
                }
                Err(error) => {
                    eprint_line(&format!("{error:#}; trying again"));
                    tokio::time::sleep(4 * LOOK).await;
                    continue;
                }
            };
            // The inbox has its newest first.
            for request in page.get("data").and_then(Value::as_array).into_iter().flatten().rev() {
                let number = request.get("number").and_then(Value::as_u64).unwrap_or_default();
                if last.as_ref().map_or(0, |(_, number)| *number) + 1 != number {
                    eprint_line("more has come than the inbox holds: some was not handed on");
                }
                last = Some((text(request, "id").to_owned(), number));
                if self.limit.is_some_and(|limit| count >= limit) {
                    break;
                }
                count += 1;
                self.hand_on(request, to).await;
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Hands one on and says what came of it. A program that is not there is no end: it may be starting anew.
    async fn hand_on(&self, request: &Value, to: &Url) {
        let began = Instant::now();
        let answered = deliver(request, to).await;
        let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let id = request.get("headers").map(|headers| text(headers, "webhook-id")).unwrap_or_default();
        let (status, problem) = match &answered {
            Ok(status) => (Some(*status), None),
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        if self.reach.json {
            let line =
                json!({ "at": request.get("at"), "id": id, "status_code": status, "problem": problem, "ms": ms });
            print(&line.to_string());
        } else {
            let came = status.map_or_else(|| problem.unwrap_or_default(), |status| status.to_string());
            print(&plain(&format!("{} {} {id} -> {came} ({ms} ms)", text(request, "at"), text(request, "method"))));
        }
    }
}

async fn deliver(request: &Value, to: &Url) -> anyhow::Result<u16> {
    if request.get("truncated").and_then(Value::as_bool).unwrap_or(false) {
        bail!("it is larger than what an inbox keeps (4 MiB), so it is not handed on; `hookmill deliveries` has it");
    }
    let headers = request.get("headers").and_then(Value::as_object).into_iter().flatten();
    let headers: Vec<(&str, &str)> = headers
        .filter(|(name, _)| !NOT_HANDED_ON.contains(&name.as_str()))
        .filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
        .collect();
    let body = match text(request, "body_encoding") {
        "base64" => Bytes::from(STANDARD.decode(text(request, "body"))?),
        _ => Bytes::from(text(request, "body").to_owned()),
    };
    let method = Method::from_bytes(text(request, "method").as_bytes())?;
    Ok(Remote::hand_on(to, method, &headers, body).await?.as_u16())
}

/// What is made on the gateway for as long as one listens.
struct Ear<'a> {
    remote: &'a Remote,
    inbox: Option<String>,
    subscription: Option<String>,
}

impl Ear<'_> {
    /// Makes the inbox, and the subscription that delivers to it; gives the path of what arrives.
    async fn open(&mut self, mut settings: Value) -> anyhow::Result<String> {
        let inbox = self.remote.poke("/v1/inboxes").await?.json();
        self.inbox = Some(text(&inbox, "id").to_owned());
        let url = text(&inbox, "url");
        if let Some(settings) = settings.as_object_mut() {
            settings.insert("url".to_owned(), Value::from(url));
            settings.insert("name".to_owned(), Value::from("hookmill listen"));
            settings.insert("metadata".to_owned(), json!({ "temporary": "made by `hookmill listen`" }));
        }
        let made = self.remote.post("/v1/subscriptions", settings.to_string()).await;
        let made = made.context("these deliveries can't be sent to an inbox")?.json();
        self.subscription = Some(text(&made, "id").to_owned());
        let secret = text(&made, "secret");
        if !secret.is_empty() && settings.get("secret").is_none() {
            eprint_line(&format!("they are signed with a secret made for this: {secret}"));
        }
        // What the gateway is called from outside is not always how it is reached from here.
        let token = url.rsplit('/').next().unwrap_or_default();
        Ok(format!("/inbox/{token}/requests"))
    }

    async fn remove(&mut self) -> anyhow::Result<()> {
        for (what, id) in [("subscriptions", self.subscription.take()), ("inboxes", self.inbox.take())] {
            let Some(id) = id else { continue };
            let removed = self.remote.delete(&format!("/v1/{what}/{id}")).await;
            removed
                .map(drop)
                .with_context(|| format!("{id} was temporary and could not be removed: remove it yourself"))?;
        }
        Ok(())
    }
}

/// The settings of a subscription, as far as they can be had.
async fn copy(remote: &Remote, id: &str) -> anyhow::Result<Value> {
    let mut original = remote.get(&format!("/v1/subscriptions/{id}")).await?.json();
    let places = withheld::put_placeholders(&mut original, false);
    if !places.is_empty() {
        eprint_line(&withheld::notice(&places));
    }
    let set = original.get("secrets_set").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let left_out = ["#/connector/", "#/auth/", "#/secret_headers/"];
    let left_out: Vec<&str> = set.filter(|place| left_out.iter().any(|of| place.starts_with(of))).collect();
    if !left_out.is_empty() {
        eprint_line(&plain(&format!("without its secrets at {}: they can't be read", left_out.join(", "))));
    }
    let mut settings = settings(&original);
    let signs = original.get("signing").is_some_and(|signing| text(signing, "scheme") != "none");
    if signs {
        match remote.get(&format!("/v1/subscriptions/{id}/secret")).await {
            Ok(secret) => {
                settings.insert("secret".to_owned(), Value::from(text(&secret.json(), "secret")));
            }
            Err(error) if error.is::<Refused>() => eprint_line(&format!("its secret can't be had: {error}")),
            Err(error) => return Err(error),
        }
    }
    Ok(Value::from(settings))
}

fn settings(original: &Value) -> Map<String, Value> {
    let copied = COPIED.iter().filter_map(|field| Some(((*field).to_owned(), original.get(field)?.clone())));
    copied.filter(|(_, value)| !value.is_null()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_copied() {
        let original = json!({
            "id": "sub_1", "uid": "u", "name": "n", "url": "http://a", "events": ["a"], "filters": null,
            "signing": {"scheme": "standard"}, "enabled": false, "state": "paused", "retry_policy": {"schedule": []},
        });
        let wanted = json!({ "events": ["a"], "signing": {"scheme": "standard"} });
        assert_eq!(Value::from(settings(&original)), wanted);
    }
}
