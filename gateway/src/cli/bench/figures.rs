//! The numbers of a run, and how they are shown.

use serde::Serialize;

use super::machine::Machine;

/// Some durations' spread, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

impl Spread {
    /// Of durations in microseconds; `None` if there are none.
    pub(super) fn of(mut micros: Vec<u32>) -> Option<Self> {
        micros.sort_unstable();
        let at = |share: f64| percentile(&micros, share).map(|micros| f64::from(micros) / 1000.0);
        Some(Self { p50: at(0.5)?, p99: at(0.99)?, max: at(1.0)? })
    }
}

/// The smallest value that at least this share of them does not exceed (nearest rank); they are sorted.
fn percentile(sorted: &[u32], share: f64) -> Option<u32> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied()
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Figures {
    pub(super) machine: Machine,
    /// How it was made, in words.
    pub(super) load: String,
    /// How long it was measured, in seconds.
    pub(super) measured_s: f64,
    /// How long the gateway then took to deliver what it still owed, in seconds.
    pub(super) drained_s: f64,
    pub(super) acknowledged_per_s: f64,
    pub(super) delivered_per_s: f64,
    /// From sending an event to its acknowledgement.
    pub(super) ingest_ms: Option<Spread>,
    /// From sending an event to its arrival at the receiver.
    pub(super) event_to_delivery_ms: Option<Spread>,
    /// The gateway's processor time for each delivery, ingest included.
    pub(super) gateway_cpu_us_per_delivery: f64,
    pub(super) gateway_cpu_s: f64,
    /// That of this program, which makes the load and receives.
    pub(super) bench_cpu_s: f64,
    pub(super) gateway_peak_memory_bytes: u64,
    /// Events that were acknowledged, warm-up included.
    pub(super) acknowledged: u64,
    /// Events that were answered otherwise.
    pub(super) refused: u64,
    /// Events without an answer.
    pub(super) unanswered: u64,
    /// Deliveries that arrived.
    pub(super) delivered: u64,
    /// Deliveries of acknowledged events that did not arrive.
    pub(super) lost: u64,
    /// Deliveries that arrived again.
    pub(super) duplicated: u64,
}

impl Figures {
    /// Why the run is no success.
    pub(super) fn shortfall(&self) -> Option<String> {
        shortfall(self.acknowledged, self.lost)
    }

    /// For people.
    pub(super) fn table(&self) -> String {
        lines(&[
            ("machine", self.machine.line()),
            ("load", self.load.clone()),
            ("acknowledged", format!("{:.0} events/s", self.acknowledged_per_s)),
            ("delivered", format!("{:.0} deliveries/s", self.delivered_per_s)),
            ("ingest latency", spread(self.ingest_ms)),
            ("event to delivery", spread(self.event_to_delivery_ms)),
            (
                "gateway CPU",
                format!("{:.0} us per delivery ({:.2} s)", self.gateway_cpu_us_per_delivery, self.gateway_cpu_s),
            ),
            ("bench CPU", format!("{:.2} s, of load and receiver", self.bench_cpu_s)),
            ("gateway memory", format!("{} MiB at most", mebibytes(self.gateway_peak_memory_bytes))),
            ("drained in", format!("{:.2} s after the load ended", self.drained_s)),
            (
                "events",
                format!("{} acknowledged, {} refused, {} unanswered", self.acknowledged, self.refused, self.unanswered),
            ),
            ("deliveries", format!("{} arrived, {} lost, {} duplicated", self.delivered, self.lost, self.duplicated)),
        ])
    }
}

/// Why a run is no success of which so much was acknowledged, and so much of that did not arrive. Where something was and
/// nothing is missing, something arrived, too.
pub(super) fn shortfall(acknowledged: u64, lost: u64) -> Option<String> {
    match (acknowledged, lost) {
        (0, _) => Some("nothing was acknowledged".to_owned()),
        (_, 0) => None,
        (_, lost) => Some(format!("{lost} deliveries of acknowledged events did not arrive")),
    }
}

/// A table: names and what stands behind them.
pub(super) fn lines(rows: &[(&str, String)]) -> String {
    rows.iter().map(|(name, value)| format!("{name:<18} {value}")).collect::<Vec<_>>().join("\n")
}

/// Whole mebibytes.
pub(super) fn mebibytes(bytes: u64) -> u64 {
    bytes / (1024 * 1024)
}

/// For people.
pub(super) fn spread(spread: Option<Spread>) -> String {
    match spread {
        Some(Spread { p50, p99, max }) => format!("p50 {p50:.2} ms, p99 {p99:.2} ms, max {max:.2} ms"),
        None => "nothing to measure".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let hundred: Vec<u32> = (1..=100).collect();
        for (values, share, wanted) in [
            (&hundred[..], 0.5, Some(50)),
            (&hundred[..], 0.99, Some(99)),
            (&hundred[..], 1.0, Some(100)),
            (&hundred[..], 0.0, Some(1)),
            (&[7][..], 0.5, Some(7)),
            (&[7][..], 0.99, Some(7)),
            (&[1, 9][..], 0.5, Some(1)),
            (&[1, 9][..], 0.51, Some(9)),
            (&[][..], 0.5, None),
        ] {
            assert_eq!(percentile(values, share), wanted, "{share} of {}", values.len());
        }
        assert_eq!(Spread::of(vec![3000, 1000, 2000]), Some(Spread { p50: 2.0, p99: 3.0, max: 3.0 }));
        assert_eq!(Spread::of(vec![]), None);
    }

    proptest! {
        #[test]
        fn a_percentile_splits_as_it_says(mut values in prop::collection::vec(any::<u32>(), 1..200), share in 0.0_f64..=1.0) {
            values.sort_unstable();
            let found = percentile(&values, share).unwrap();
            let at_most = values.iter().filter(|value| **value <= found).count();
            prop_assert!(at_most as f64 >= share * values.len() as f64);
            let below = values.iter().filter(|value| **value < found).count();
            prop_assert!((below as f64) < (share * values.len() as f64).max(1.0));
        }
    }

    #[test]
    fn the_table_names_what_was_lost() {
        let figures = Figures {
            machine: Machine { cores: 2, cpu: "A CPU".to_owned(), kernel: "6.1".to_owned() },
            load: "64 connections".to_owned(),
            measured_s: 10.0,
            drained_s: 0.5,
            acknowledged_per_s: 1234.5,
            delivered_per_s: 1200.0,
            ingest_ms: Some(Spread { p50: 1.0, p99: 2.5, max: 10.0 }),
            event_to_delivery_ms: None,
            gateway_cpu_us_per_delivery: 99.6,
            gateway_cpu_s: 1.0,
            bench_cpu_s: 2.0,
            gateway_peak_memory_bytes: 64 * 1024 * 1024,
            acknowledged: 12_345,
            refused: 1,
            unanswered: 2,
            delivered: 12_344,
            lost: 1,
            duplicated: 0,
        };
        let table = figures.table();
        for line in [
            "machine            2 cores, A CPU, Linux 6.1",
            "ingest latency     p50 1.00 ms, p99 2.50 ms, max 10.00 ms",
            "event to delivery  nothing to measure",
            "gateway CPU        100 us per delivery (1.00 s)",
            "deliveries         12344 arrived, 1 lost, 0 duplicated",
        ] {
            assert!(table.lines().any(|found| found == line), "{line}\n{table}");
        }
        let json = serde_json::to_value(&figures).unwrap();
        assert_eq!(json["ingest_ms"]["p99"], 2.5);
        assert_eq!(figures.shortfall().as_deref(), Some("1 deliveries of acknowledged events did not arrive"));
        let nothing = Figures { acknowledged: 0, lost: 0, ..figures.clone() };
        assert_eq!(nothing.shortfall().as_deref(), Some("nothing was acknowledged"));
        assert_eq!(Figures { lost: 0, ..figures }.shortfall(), None);
    }
}
