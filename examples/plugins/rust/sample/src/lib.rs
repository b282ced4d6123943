//! Keeps a share of the events and drops the rest: a busy product's firehose, thinned for a chat channel or a
//! spreadsheet.
//!
//! A plugin has no randomness, and should want none: a retry or a replay must decide as the first run did. So the
//! choice is a hash of something in the event. By the event's id it is an even share of events; by a customer's id
//! it is all events of a share of the customers.

use hookmill_plugin::path::Path;
use hookmill_plugin::prelude::*;

/// The share is counted in hundredths of a percent.
const WHOLE: u64 = 10_000;

/// How much is kept.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How many percent of the events to keep, to two decimals.
    #[schemars(range(min = 0.0, max = 100.0))]
    percent: f64,
    /// What decides: events with the same value there are kept or dropped together. The event's id unless said otherwise: `$.data.customer.id`.
    #[serde(default = "id")]
    by: String,
}

fn id() -> String {
    "$.id".to_owned()
}

/// The transform.
#[derive(Debug)]
pub struct Sample;

impl Transform for Sample {
    type Config = Config;

    const MANIFEST: Manifest = Manifest::transform("sample", env!("CARGO_PKG_VERSION"))
        .title("Sample")
        .description("Keeps a share of the events, chosen by their id or by any value in them, and drops the rest.");

    fn transform(event: Event, config: &Config) -> Result<Decision, Fault> {
        let path = Path::parse(&config.by)?;
        let document = event.document()?;
        let chosen: Vec<&str> = path
            .select(document.root())
            .into_iter()
            .filter_map(|index| document.node(index))
            .map(|node| node.raw())
            .collect();
        if chosen.is_empty() {
            return Err(Fault::new(format!(
                "by: `{path}` is not in this event; correct it, or filter such events out"
            )));
        }
        // Between 0 and 10,000, so the cast loses nothing.
        let kept = (config.percent.clamp(0.0, 100.0) * 100.0).round() as u64;
        if hash(&chosen.join("\0")) % WHOLE < kept {
            return Ok(event.into());
        }
        Ok(Decision::dropped(format!("not among the {} % that are kept", config.percent)))
    }
}

hookmill_plugin::transform!(Sample);

/// FNV-1a, its bits mixed once more as splitmix64 does: alone it leaves short texts that differ in their last letter
/// close together.
fn hash(text: &str) -> u64 {
    let fnv = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mixed = (fnv ^ (fnv >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hookmill_plugin::testing;

    fn kept(percent: f64, by: &str, data: impl Fn(usize) -> String) -> Vec<bool> {
        let config = Config { percent, by: by.to_owned() };
        let decide = |at| {
            let mut event = testing::event("player.moved", &data(at));
            event.id = format!("evt_{at}");
            matches!(Sample::transform(event, &config), Ok(Decision::Keep(_)))
        };
        (0..4_000).map(decide).collect()
    }

    #[test]
    fn golden() {
        testing::transform::<Sample>("golden");
        testing::manifest::<Config>(&Sample::MANIFEST);
    }

    #[test]
    fn the_share_is_what_was_asked_for() {
        for (percent, expected) in [(0.0, 0..=0), (10.0, 320..=480), (50.0, 1_850..=2_150), (100.0, 4_000..=4_000)] {
            let kept = kept(percent, "$.id", |_| "{}".to_owned()).into_iter().filter(|kept| *kept).count();
            assert!(expected.contains(&kept), "{kept} of 4000 for {percent} %");
        }
    }

    #[test]
    fn a_customers_events_share_their_fate() {
        let kept = kept(30.0, "$.data.customer", |at| format!(r#"{{"n":{at},"customer":{}}}"#, at % 50));
        assert!(kept.contains(&true) && kept.contains(&false));
        assert!(kept.iter().zip(&kept[50..]).all(|(one, next)| one == next));
    }
}
