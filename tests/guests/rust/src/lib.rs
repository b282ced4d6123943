//! Looks for everything that a plugin must not know, one thing a call: the time, randomness, the machine, earlier
//! events, the secret in its config. What it finds, or how it is refused, is what it makes of the event.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Mutex;
use std::time::{Instant, SystemTime};

use hookmill_plugin::log;
use hookmill_plugin::prelude::*;

/// What to look for.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// One of the things below.
    ask: String,
    /// Not for its eyes.
    token: Option<Secret>,
}

static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The plugin.
pub struct Nosy;

impl Transform for Nosy {
    type Config = Config;

    const MANIFEST: Manifest = Manifest::transform("nosy-rust", env!("CARGO_PKG_VERSION"))
        .title("Nosy")
        .description("Looks for what it must not know.");

    fn transform(mut event: Event, config: &Config) -> Result<Decision, Fault> {
        let found = look(&event, config);
        event.data = format!("{{\"answer\":{found:?}}}");
        Ok(Decision::keep(event))
    }
}

hookmill_plugin::transform!(Nosy);

/// As text: `{:?}` of one without control characters is JSON.
fn look(event: &Event, config: &Config) -> String {
    match config.ask.as_str() {
        "time" => format!("{:?}", SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)),
        "timer" => format!("{}", Instant::now().elapsed().as_nanos()),
        "random" => format!("{} {}", RandomState::new().hash_one(1), RandomState::new().hash_one(1)),
        "a map" => {
            (0..40).map(|key| (key, key)).collect::<HashMap<_, _>>().keys().map(|key| format!("{key} ")).collect()
        }
        "a set" => ('a'..='z').collect::<HashSet<_>>().into_iter().collect(),
        "address" => format!("{:p} {:p}", &SEEN, &config),
        "environment" => std::env::var("PATH").unwrap_or_else(|error| error.to_string()),
        "variables" => std::env::vars().map(|(name, _)| name).collect(),
        "arguments" => std::env::args().collect(),
        "process" => std::process::id().to_string(),
        "files" => std::fs::read_to_string("/etc/passwd").unwrap_or_else(|error| error.to_string()),
        "folders" => std::env::current_dir().map_or_else(|error| error.to_string(), |at| at.display().to_string()),
        "network" => {
            std::net::TcpStream::connect("127.0.0.1:80").map_or_else(|error| error.to_string(), |_| "!".into())
        }
        "thread" => std::thread::Builder::new().spawn(|| ()).map_or_else(|error| error.to_string(), |_| "!".into()),
        "cores" => std::thread::available_parallelism().map_or_else(|error| error.to_string(), |n| n.to_string()),
        "a sleep" => {
            std::thread::sleep(std::time::Duration::from_millis(1));
            "slept".to_owned()
        }
        "memory" => {
            let mut seen = SEEN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            seen.push(event.id.clone());
            seen.join(" ")
        }
        "secret" => {
            let token = config.token.as_ref().map_or("", Secret::placeholder);
            log::info(token);
            let letters: Vec<String> = token.chars().map(String::from).collect();
            format!("{} ({})", letters.join(" "), token.len())
        }
        other => format!("unknown: {other}"),
    }
}
