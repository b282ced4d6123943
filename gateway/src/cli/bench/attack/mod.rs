//! The attacks: what each tenant that means harm sets up and what it then does, as data.
//!
//! **Who acts.** An attack is some [`Wave`]s: subscriptions, the endpoints they lead to (`endpoint`), and how events
//! are posted to them (`assault`); plugins that it uploads (`guests`); or clients that never come to the point (`slow`).
//! **What is promised.** An attacker has the default limits and no manners: it posts again at once whatever it is answered,
//! uploads again what was refused, and enables again what was disabled, so that whatever faults goes on to. **What is
//! deliberately not.** Nothing here exploits a bug: it is what any tenant may do.

mod assault;
mod endpoint;
mod guests;
mod slow;

use clap::ValueEnum;
use serde_json::{Value, json};

pub(super) use self::assault::Assault;
use self::endpoint::Manner;
use self::guests::Named;

/// What another tenant does meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Attack {
    /// 1,000 endpoints that take and never answer, and a plugin that loops, a twentieth of all deliveries each
    Silent,
    /// 64 deliveries at once through a plugin that loops
    Looping,
    /// 64 deliveries at once through a plugin that takes all the memory it can get
    Memory,
    /// Deliveries through some 25 plugins that each fault another way, and uploads of some 15 that are refused, one of
    /// them after seconds of compiling
    Plugins,
    /// 10,000 subscriptions that want the same event
    FanOut,
    /// 1,000 subscriptions with filters built to explode
    Filters,
    /// Bodies of a mebibyte, as fast as they are answered
    Bodies,
    /// 2,000 clients that say nothing, half of HTTP/2's first line, a head a byte a second, or all of a body but its last
    /// byte; a request may take 4 s then
    Loris,
    /// Endpoints that answer a byte a second
    Trickle,
    /// Endpoints that answer with a gibibyte
    Flood,
    /// Endpoints that reset the connection
    Reset,
    /// Endpoints that redirect in circles
    Redirect,
    /// Endpoints that answer 429 and ask for thousands of years
    Throttle,
}

/// Some subscriptions of one kind, and how events come to them.
#[derive(Debug, Clone)]
pub(super) struct Wave {
    /// What their endpoints do.
    manner: Manner,
    /// How many there are.
    subscriptions: usize,
    /// Whether each event is for all of them, or each for the next.
    all: bool,
    /// The plugin that their deliveries go through.
    through: Option<Through>,
    filters: Option<Value>,
    /// Each event's data.
    data: String,
    pace: Pace,
}

/// A plugin by its name.
#[derive(Debug, Clone, Copy)]
enum Through {
    Transform(&'static str),
    Connector(&'static str),
}

/// How fast events are posted.
#[derive(Debug, Clone, Copy)]
enum Pace {
    /// A twentieth of all deliveries.
    Twentieth,
    /// On so many connections, each as fast as it is answered.
    Closed(usize),
}

impl Wave {
    /// Endpoints that get a twentieth of all deliveries, each the next.
    fn at(manner: Manner, subscriptions: usize) -> Self {
        let data = r#"{"n":1}"#.to_owned();
        Self { manner, subscriptions, all: false, through: None, filters: None, data, pace: Pace::Twentieth }
    }

    /// Subscriptions that all want every event, posted by one client as fast as it is answered.
    fn all(subscriptions: usize) -> Self {
        Self { all: true, pace: Pace::Closed(1), ..Self::at(Manner::Answer, subscriptions) }
    }

    /// Through this plugin.
    fn through(self, plugin: Through) -> Self {
        Self { through: Some(plugin), ..self }
    }

    /// The body that makes one of the subscriptions.
    fn subscription(&self, wave: usize, number: usize, url: &str) -> Value {
        let mut wanted = json!({
            "url": url,
            "events": [self.event_type(wave, number)],
            "timeout": "5s",
            "retry_policy": {"schedule": ["0s", "2s", "2s"]},
        });
        match self.through {
            Some(Through::Transform(plugin)) => wanted["transforms"] = json!([{ "plugin": plugin }]),
            Some(Through::Connector(plugin)) => wanted["connector"] = json!({"name": plugin, "config": {}}),
            None => {}
        }
        if let Some(filters) = &self.filters {
            wanted["filters"] = filters.clone();
        }
        wanted
    }

    /// The type of the events that this one of the subscriptions wants.
    fn event_type(&self, wave: usize, number: usize) -> String {
        if self.all { format!("attack.{wave}.all") } else { format!("attack.{wave}.{}", number % self.subscriptions) }
    }
}

impl Attack {
    /// What it is made of.
    fn waves(self) -> Vec<Wave> {
        // As many as are spread over all of the endpoint's addresses.
        let some = |manner| vec![Wave::at(manner, 4 * endpoint::ADDRESSES)];
        let (looping, bomb) = (Through::Transform("looping"), Through::Transform("bomb"));
        match self {
            Self::Silent => vec![Wave::at(Manner::Silence, 1_000), Wave::at(Manner::Answer, 16).through(looping)],
            Self::Looping => vec![Wave::all(64).through(looping)],
            Self::Memory => vec![Wave::all(64).through(bomb)],
            Self::Plugins => {
                let transforms = guests::transforms().into_iter().map(|(name, _)| Through::Transform(name));
                let connectors = guests::connectors().into_iter().map(|(name, _)| Through::Connector(name));
                let all = transforms.chain(connectors).chain([looping, bomb]);
                all.map(|plugin| Wave::all(4).through(plugin)).collect()
            }
            Self::FanOut => vec![Wave::all(10_000)],
            Self::Filters => vec![Wave {
                filters: Some(json!({"any": [
                    {"t": {"regex": "(a|b|ab)*(a|b|ab)*(a|b|ab)*c{1,50}$"}},
                    {"$.data.list[?count(@.*) > 9]": {"exists": true}},
                ]})),
                data: json!({"t": "ab".repeat(4096), "list": vec![json!([1, 2, 3, [4, 5, 6, 7, 8]]); 2_000]})
                    .to_string(),
                ..Wave::all(1_000)
            }],
            Self::Bodies => vec![Wave {
                data: format!(r#"{{"padding":"{}"}}"#, "x".repeat((1 << 20) - 200)),
                pace: Pace::Closed(16),
                ..Wave::all(1)
            }],
            Self::Loris => vec![],
            Self::Trickle => some(Manner::Trickle),
            Self::Flood => some(Manner::Flood),
            Self::Reset => some(Manner::Reset),
            Self::Redirect => some(Manner::Circle),
            Self::Throttle => some(Manner::Throttle),
        }
    }

    /// The plugins that it uploads before it begins.
    fn plugins(self) -> Vec<Named> {
        if self == Self::Plugins { [guests::transforms(), guests::connectors()].concat() } else { Vec::new() }
    }

    /// Those that it uploads again and again, and that are refused.
    fn refused_plugins(self) -> Vec<Named> {
        if self == Self::Plugins { guests::refused() } else { Vec::new() }
    }

    /// Clients that never come to the point.
    fn slow_clients(self) -> usize {
        if self == Self::Loris { 2_000 } else { 0 }
    }

    /// Variables that set what the gateway's defaults do not: within seconds instead of half a minute, everybody who dawdles
    /// is let go, so that it is seen.
    pub(super) fn settings(self) -> Vec<(&'static str, String)> {
        let limit = format!("{}s", slow::LET_GO.as_secs());
        if self == Self::Loris { vec![("HOOKMILL_SERVER__BODY_TIMEOUT", limit)] } else { Vec::new() }
    }

    /// Its word on the command line.
    pub(super) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subscription_of_a_wave_gets_its_events() {
        for attack in Attack::value_variants() {
            for (at, wave) in attack.waves().iter().enumerate() {
                for number in [0, 1, wave.subscriptions - 1] {
                    let made = wave.subscription(at, number, "http://127.0.0.2:1/");
                    // The event that is posted when so many were before.
                    assert_eq!(made["events"][0], wave.event_type(at, number + 3 * wave.subscriptions), "{attack:?}");
                }
                let data: Value = serde_json::from_str(&wave.data).unwrap();
                assert!(data.is_object() && wave.data.len() < 1 << 20, "{attack:?}");
            }
            assert_ne!(attack.waves().is_empty(), attack.slow_clients() == 0, "{attack:?} does something");
        }
    }

    #[test]
    fn filters_that_explode_can_be_saved() {
        for wave in Attack::Filters.waves() {
            let filter = crate::filter::Filter::compile(&wave.filters.unwrap());
            assert!(filter.is_ok(), "{filter:?}");
        }
    }
}
