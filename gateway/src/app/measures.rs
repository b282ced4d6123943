//! What `/metrics` says about each metric.
//!
//! Each is counted in the room where it happens; what it means is said here, in one table.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// A metric's name, its unit and its meaning.
type About = (&'static str, Unit, &'static str);

const COUNTERS: [About; 5] = [
    ("hookmill_events_total", Unit::Count, "Events that came in, by what became of them (result)."),
    ("hookmill_attempts_total", Unit::Count, "Attempts at deliveries, by what came of them (outcome)."),
    (
        "hookmill_connections_without_request_total",
        Unit::Count,
        "Connections that were closed because no request came over them in time.",
    ),
    ("hookmill_plugin_calls_total", Unit::Count, "Calls of plugins since the gateway started."),
    ("hookmill_plugin_faults_total", Unit::Count, "Calls of plugins that ended in a fault, by its kind."),
];

const GAUGES: [About; 5] = [
    ("hookmill_build_info", Unit::Count, "Always 1; its label is the gateway's version."),
    ("hookmill_deliveries_pending", Unit::Count, "Deliveries in memory, waiting or under way."),
    (
        "hookmill_oldest_due_seconds",
        Unit::Seconds,
        "For how long the delivery that waits longest has been due, in seconds.",
    ),
    (PLUGIN_TIME, Unit::Seconds, "Processor time of calls of plugins since the gateway started, in seconds."),
    ("hookmill_plugin_peak_memory_bytes", Unit::Bytes, "The most memory that a call of a plugin has had, in bytes."),
];

const HISTOGRAMS: [About; 3] = [
    ("hookmill_attempt_duration_seconds", Unit::Seconds, "How long attempts took that were answered, in seconds."),
    (
        "hookmill_event_to_delivery_seconds",
        Unit::Seconds,
        "From the arrival of an event until it was delivered, in seconds; only what nobody asked for by hand.",
    ),
    (
        "hookmill_store_commit_seconds",
        Unit::Seconds,
        "How long the store took to write a commit to the disk, in seconds.",
    ),
];

const PLUGIN_TIME: &str = "hookmill_plugin_cpu_seconds_total";

/// Tells the recorder what the metrics mean.
pub(super) fn describe() {
    for (name, unit, about) in COUNTERS {
        describe_counter!(name, unit, about);
    }
    for (name, unit, about) in GAUGES {
        describe_gauge!(name, unit, about);
    }
    for (name, unit, about) in HISTOGRAMS {
        describe_histogram!(name, unit, about);
    }
}

/// A text of metrics, with each declared as what it is. The library's counters are whole numbers, and the time of plugins
/// is counted in parts of a second: it is told as a gauge, though it only rises.
pub(super) fn declared(text: &str) -> String {
    text.replace(&format!("# TYPE {PLUGIN_TIME} gauge\n"), &format!("# TYPE {PLUGIN_TIME} counter\n"))
}

#[cfg(test)]
mod tests {
    use metrics::{counter, gauge, histogram};
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn each_is_described_and_declared_as_what_it_is() {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            describe();
            COUNTERS.iter().for_each(|(name, ..)| counter!(*name).increment(1));
            GAUGES.iter().for_each(|(name, ..)| gauge!(*name).set(0.5));
            HISTOGRAMS.iter().for_each(|(name, ..)| histogram!(*name).record(0.5));
        });
        let text = declared(&recorder.handle().render());
        let kind = |name: &str| match name {
            name if name == PLUGIN_TIME || COUNTERS.iter().any(|(counter, ..)| *counter == name) => "counter",
            name if GAUGES.iter().any(|(gauge, ..)| *gauge == name) => "gauge",
            // Without the buckets that the gateway gives them they are this.
            _ => "summary",
        };
        for (name, _, about) in COUNTERS.iter().chain(&GAUGES).chain(&HISTOGRAMS) {
            let wanted = format!("# HELP {name} {about}\n# TYPE {name} {}\n", kind(name));
            assert!(text.contains(&wanted), "{wanted} in:\n{text}");
        }
        assert!(text.contains(&format!("\n{PLUGIN_TIME} 0.5\n")), "it keeps its fraction:\n{text}");
    }
}
