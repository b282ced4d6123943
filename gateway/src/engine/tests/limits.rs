//! The page that says what a plugin may use, `docs/limits.md`: written from the settings' defaults and from what the
//! engine holds to, so that it can't say anything else.

use std::collections::BTreeMap;

use super::super::config::OWN;
use super::super::guest::LINE_OVERHEAD;
use super::super::install::{COMPILED, COMPILED_FACTOR};
use super::super::manifest::{HOSTS, SCHEMA, SCOPES};
use super::super::output::HEADERS;
use super::super::runtime::{CORE_INSTANCES, MEMORIES, STACK, TABLE_ELEMENTS, TABLES};
use crate::config::DEFAULTS;
use crate::domain::nesting::MAX_DEPTH;

const PAGE: &str = include_str!("../../../../docs/limits.md");

/// Of each call: the setting, what it bounds, and what happens beyond it.
const CALLS: [(&str, &str, &str); 6] = [
    ("time", "own running time; waiting for a turn does not count", "fault `time`"),
    ("memory", "linear memory, all memories together", "fault `memory`"),
    ("output", "what it gives back, all texts together", "fault `output_too_large`"),
    ("hostcall_fuel", "what is copied out of it at once", "fault `output_too_large`, or `log_too_large` of the log"),
    ("log", "what it logs", "fault `log_too_large`"),
    ("instances", "instances alive at once, of all tenants", "the call waits for a place"),
];

/// The same of what a tenant has.
const TENANTS: [(&str, &str, &str); 6] = [
    (
        "cpu_per_minute",
        "running time of its plugins' calls, a minute (its limit `plugin_cpu`)",
        "its deliveries that need a plugin wait for a minute with time left, and say so; nothing fails",
    ),
    ("per_tenant", "versions of plugins (its limit `plugins`)", "the upload is refused: `limit-reached`"),
    ("bytes_per_tenant", "their bytes, together (its limit `plugin_bytes`)", "the upload is refused: `limit-reached`"),
    (
        "compile_per_hour",
        "running time for compiling, an hour (its limit `plugin_compile`)",
        "the upload is refused until then: `plugin-compile-budget`",
    ),
    (
        "shadow_waiting",
        "comparisons of candidates in the shadow that wait",
        "the comparison is given up, and counted as `dropped`",
    ),
    (
        "shadow_bytes",
        "bytes of what they are to be run on, of all tenants; one has at most as many as are left free",
        "the comparison is given up, and counted as `dropped`",
    ),
];

/// The same of an upload.
const UPLOADS: [(&str, &str, &str); 3] = [
    ("component", "the file", "refused: `plugin-too-large`"),
    ("compile_time", "running time for compiling it, in a process of its own", "refused: `plugin-uncompilable`"),
    ("compile_memory", "memory for compiling it", "refused: `plugin-uncompilable`"),
];

/// The same of instances that are kept.
const KEPT: [(&str, &str, &str); 4] = [
    ("reuse_instances", "instances that are kept, of all tenants", "the one that was used least lately goes"),
    ("reuse_per_tenant", "those of one tenant", "the same, of its own"),
    ("reuse_memory", "linear memory of those that rest", "the same"),
    ("reuse_calls", "calls that one serves", "it goes, and the next call has a fresh one"),
];

/// Settings of plugins that bound nothing.
const OTHERS: [&str; 1] = ["files"];

/// The settings of plugins, with their defaults.
fn defaults() -> BTreeMap<&'static str, &'static str> {
    let section = DEFAULTS.split("\n[plugins]\n").nth(1).unwrap().split("\n[").next().unwrap();
    section.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(" = ")).collect()
}

fn table(rows: &[(&str, &str, &str)], defaults: &BTreeMap<&str, &str>) -> String {
    let row = |(key, what, beyond): &(&str, &str, &str)| {
        let default = defaults[key].trim_matches('"');
        format!("| `plugins.{key}` | {} | {what} | {beyond} |\n", readable(default))
    };
    let head = "| setting | usually | bounds | beyond it |\n|---|---|---|---|\n";
    rows.iter().map(row).fold(head.to_owned(), |table, row| table + &row)
}

/// Bytes as people say them; everything else as it is.
fn readable(default: &str) -> String {
    let bytes = default.parse::<u64>().unwrap_or_default();
    let unit =
        [(30, "GiB"), (20, "MiB"), (10, "KiB")].into_iter().find(|(bits, _)| bytes > 0 && bytes % (1 << bits) == 0);
    match unit {
        Some((bits, unit)) => format!("{} {unit}", bytes >> bits),
        None if default == "0s" => "as much as there is".to_owned(),
        None => default.to_owned(),
    }
}

fn page() -> String {
    let defaults = defaults();
    format!(
        "# What a plugin may use\n\n\
         Written by a test from the settings' defaults: `HOOKMILL_UPDATE_LIMITS=1 cargo test --profile suite -p hookmill --lib limits`.\n\
         `hookmill config` prints the settings; an operator changes them for all, and a tenant's own with `PATCH /v1/tenants/{{id}} {{\"limits\": …}}`.\n\n\
         A plugin is a pure function: it can log and nothing else, and every call has a fresh instance (but for those that are kept, see below).\n\
         What goes beyond a limit ends that one call; the gateway, and the next call, are as well as before.\n\n\
         ## A call\n\n{}\n\
         Each line of the log counts {LINE_OVERHEAD} bytes more than its text.\n\
         A stack of {} KiB is there for each call; beyond it: fault `stack`. A language may keep a stack of its own in the memory (Rust one of a mebibyte, unless it is linked with another size); beyond that it runs into what lies there or out of bounds: fault `trap`.\n\
         A transform gives back exactly one event with the id it got and data nested at most {MAX_DEPTH} levels deep, a connector exactly one request with at most {HEADERS} headers; anything else: fault `bad_output`.\n\
         What a plugin reports itself is the fault `reported`, a panic or an abort `trap`.\n\n\
         A fault is an attempt that failed, with its kind and message in the delivery's log, and is tried again by the schedule of the subscription; one that a plugin reports as not `retryable` is not, and the delivery has failed.\n\
         Five faults in a row at `time`, `memory`, `stack`, `output_too_large` or `log_too_large` disable the subscription, and post `hookmill.plugin.faulted`; those of a candidate do not count.\n\n\
         ## A tenant\n\n{}\n\
         Where more calls want to run than there are cores, tenants take turns by the running time that they used.\n\
         Calls of a plugin that is known to be slow have few places of their own, on threads of a lower priority.\n\
         A candidate in the shadow has one place of its own, and only while nobody waits; it is not charged to `cpu_per_minute`.\n\
         Previews, tests and runs are charged to it; where a delivery would wait, they are refused: `plugin-cpu-budget`.\n\
         What was used, and how candidates fare, is counted in memory: it begins anew when the gateway starts.\n\n\
         ## An upload\n\n{}\n\
         A component consists of at most {CORE_INSTANCES} core instances, {MEMORIES} memories and {TABLES} tables of {TABLE_ELEMENTS} elements; beyond that: `plugin-too-much`.\n\
         What is compiled of it may be {COMPILED_FACTOR} times as large, and {} MiB more; beyond that: `plugin-uncompilable`.\n\
         What it says of itself may name {HOSTS} hosts and {SCOPES} scopes, and have a schema of {} KiB; beyond that: `plugin-manifest`.\n\
         The limits of a call hold for `describe`, too; beyond them: `plugin-describe`.\n\n\
         ## Instances that are kept\n\n\
         Instances of the presets are kept for later events of the same subscription and config: they are known to remember nothing. At most {} of them are, {} of a tenant.\n\
         Those of other plugins that are slow to start (Python; never Rust or JavaScript) are kept for later events of the same subscription, plugin and config, if that subscription says `\"reuse_instances\": true`: an event then costs a tenth, and the plugin could remember earlier ones.\n\
         A fault drops an instance at once, and the call is made again in a fresh one.\n\n{}",
        table(&CALLS, &defaults),
        STACK >> 10,
        table(&TENANTS, &defaults),
        table(&UPLOADS, &defaults),
        COMPILED >> 20,
        SCHEMA >> 10,
        OWN.instances,
        OWN.per_tenant,
        table(&KEPT, &defaults),
    )
}

#[test]
fn the_page_of_limits_says_what_holds() {
    let said = CALLS.iter().chain(&TENANTS).chain(&UPLOADS).chain(&KEPT).map(|(key, ..)| *key);
    let said: Vec<&str> = said.chain(OTHERS).collect();
    let unsaid: Vec<_> = defaults().into_keys().filter(|key| !said.contains(key)).collect();
    assert!(unsaid.is_empty(), "settings that the page does not tell of: {unsaid:?}");
    let page = page();
    if std::env::var_os("HOOKMILL_UPDATE_LIMITS").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/limits.md"), &page).unwrap();
        return;
    }
    assert!(page == PAGE, "run once with HOOKMILL_UPDATE_LIMITS=1; the page says now:\n{page}");
}
