//! `hookmill subscriptions`: who gets what, and which version of a plugin makes it.

mod rollout;
mod settings;
mod steps;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::deliveries::attempt_lines;
use super::patience::Patience;
use super::remote::{Reach, Remote, every, find_subscription, plain, segment, table, text};
use super::{block_on, print};

/// Who gets what.
#[derive(Args, Debug)]
pub(super) struct Subscriptions {
    #[command(subcommand)]
    command: SubscriptionsCommand,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Subcommand, Debug)]
enum SubscriptionsCommand {
    /// All of them; with --json a page of 200
    List {
        /// Only those that are so: `active`, `paused` or `disabled`
        #[arg(long, value_name = "STATE")]
        state: Option<String>,
        /// With --json: go on where a page ended, at its `next`
        #[arg(long, value_name = "CURSOR")]
        cursor: Option<String>,
    },
    /// One with all its settings, but its secrets
    Show {
        /// Its id, uid or name
        subscription: String,
    },
    /// Make one, of a JSON file or of flags, or of both; the answer shows its secret
    Create(settings::Create),
    /// Change what a JSON file or flags name; the rest stays, its secrets too, and a list is replaced as a whole
    Update(settings::Update),
    /// Run this version of a plugin from now on, be it one from before; or try it beside the one that is used
    Use(steps::Use),
    /// How what is tried fares: where it differs from what is used, its faults and its time
    Rollout {
        /// Its id, uid or name
        subscription: String,
    },
    /// Remove one; what is still owed to it is cancelled
    Delete {
        /// Its id, uid or name
        subscription: String,
    },
    /// Hold its deliveries
    Pause {
        /// Its id, uid or name
        subscription: String,
    },
    /// Send again, what was held too
    Resume {
        /// Its id, uid or name
        subscription: String,
    },
    /// Send it an event now, whatever its filter says: one of its types, unless one is given
    Test {
        /// Its id, uid or name
        subscription: String,
        /// The newest event of this type, or a made-up one
        #[arg(long = "type", value_name = "TYPE", conflicts_with_all = ["event", "data"])]
        event_type: Option<String>,
        /// This stored event (evt_…)
        #[arg(long, value_name = "ID", conflicts_with = "data")]
        event: Option<String>,
        /// This event: JSON with `type` and `data`
        #[arg(long, value_name = "JSON")]
        data: Option<String>,
    },
}

impl Subscriptions {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let remote = self.reach.remote()?;
        let json = self.reach.json;
        block_on(async {
            let _patience = Patience::spin("asking the gateway");
            match self.command {
                SubscriptionsCommand::List { state, cursor } => list(&remote, state, cursor, json).await,
                SubscriptionsCommand::Show { subscription } => {
                    let id = find_subscription(&remote, &subscription).await?;
                    let answer = remote.get(&format!("/v1/subscriptions/{id}")).await?;
                    let pretty = serde_json::to_string_pretty(&answer.json())?;
                    print(if json { &answer.text } else { &pretty });
                    Ok(())
                }
                SubscriptionsCommand::Create(create) => create.run(&remote, json).await,
                SubscriptionsCommand::Update(update) => update.run(&remote, json).await,
                SubscriptionsCommand::Use(wanted) => wanted.run(&remote, json).await,
                SubscriptionsCommand::Rollout { subscription } => rollout::rollout(&remote, &subscription, json).await,
                SubscriptionsCommand::Delete { subscription } => {
                    let id = find_subscription(&remote, &subscription).await?;
                    remote.delete(&format!("/v1/subscriptions/{id}")).await?;
                    print(&if json { json!({ "deleted": id }).to_string() } else { format!("{id} is removed") });
                    Ok(())
                }
                SubscriptionsCommand::Pause { subscription } => turn(&remote, &subscription, "pause", json).await,
                SubscriptionsCommand::Resume { subscription } => turn(&remote, &subscription, "resume", json).await,
                SubscriptionsCommand::Test { subscription, event_type, event, data } => {
                    let id = find_subscription(&remote, &subscription).await?;
                    let body = match (event_type, event, data) {
                        (Some(event_type), ..) => json!({ "type": event_type }).to_string(),
                        (_, Some(event), _) => json!({ "event_id": event }).to_string(),
                        (.., Some(data)) => format!("{{\"event\":{data}}}"),
                        _ => "{}".to_owned(),
                    };
                    test(&remote, &id, body, json).await
                }
            }
        })
    }
}

async fn list(remote: &Remote, state: Option<String>, cursor: Option<String>, json: bool) -> anyhow::Result<()> {
    let query =
        |name, value: Option<String>| value.map(|value| format!("&{name}={}", segment(&value))).unwrap_or_default();
    let path = format!("/v1/subscriptions?limit=200{}", query("state", state));
    if json {
        print(&remote.get(&format!("{path}{}", query("cursor", cursor))).await?.text);
        return Ok(());
    }
    let all = every(remote, &path).await?;
    let rows: Vec<[String; 5]> = all
        .iter()
        .map(|one| {
            let events: Vec<&str> =
                one.get("events").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
            let named = [text(one, "uid"), text(one, "name")].into_iter().find(|name| !name.is_empty());
            [text(one, "id"), named.unwrap_or_default(), text(one, "state"), &events.join(" "), text(one, "url")]
                .map(str::to_owned)
        })
        .collect();
    match rows.is_empty() {
        true => print("there is none; `hookmill subscriptions create` makes one"),
        false => print(&table(["SUBSCRIPTION", "UID OR NAME", "STATE", "EVENTS", "URL"], &rows)),
    }
    Ok(())
}

async fn turn(remote: &Remote, word: &str, to: &str, json: bool) -> anyhow::Result<()> {
    let id = find_subscription(remote, word).await?;
    let answer = remote.poke(&format!("/v1/subscriptions/{id}/{to}")).await?;
    let said = format!("{id} is {}", text(&answer.json(), "state"));
    print(if json { &answer.text } else { &said });
    Ok(())
}

async fn test(remote: &Remote, id: &str, body: String, json: bool) -> anyhow::Result<()> {
    let answer = remote.post(&format!("/v1/subscriptions/{id}/test"), body).await?;
    let tested = answer.json();
    let attempt = tested.get("attempt").cloned().unwrap_or_default();
    if json {
        print(&answer.text);
    } else {
        attempt_lines(&attempt).iter().for_each(|line| print(&plain(line)));
    }
    anyhow::ensure!(text(&attempt, "outcome") == "delivered", "the test was not delivered");
    Ok(())
}
