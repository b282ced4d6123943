//! Holds the table of `ARCHITECTURE.md`: which room may import which, and which library is whose.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A room and the rooms it may import.
const ROOMS: [(&str, &[&str]); 18] = [
    ("domain", &[]),
    ("clock", &[]),
    ("priority", &[]),
    ("config", &["domain"]),
    ("filter", &["domain"]),
    ("signing", &["domain", "filter"]),
    ("retry", &["domain"]),
    ("profiles", &["domain", "filter"]),
    ("vault", &["domain"]),
    ("store", &["domain", "priority"]),
    ("engine", &["domain", "priority"]),
    ("egress", &["domain", "clock"]),
    ("registry", &["domain", "clock", "filter", "signing", "retry", "profiles", "vault", "store", "engine", "egress"]),
    (
        "pipeline",
        &[
            "domain", "clock", "priority", "filter", "signing", "retry", "profiles", "store", "engine", "egress",
            "registry",
        ],
    ),
    (
        "control",
        &[
            "domain", "clock", "filter", "signing", "retry", "profiles", "vault", "store", "engine", "egress",
            "registry", "pipeline",
        ],
    ),
    (
        "http",
        &[
            "domain", "clock", "priority", "filter", "signing", "profiles", "engine", "store", "registry", "pipeline",
            "control",
        ],
    ),
    (
        "app",
        &["domain", "clock", "config", "vault", "store", "engine", "egress", "registry", "pipeline", "control", "http"],
    ),
    ("cli", &["domain", "clock", "priority", "config", "filter", "signing", "engine", "egress", "app"]),
];

/// A library and the only rooms that may name it.
const LIBRARIES: [(&str, &[&str]); 6] = [
    ("axum", &["http"]),
    ("utoipa", &["http"]),
    ("sled", &["store"]),
    ("wasmtime", &["engine"]),
    ("hyper_rustls", &["egress"]),
    ("figment", &["config", "cli"]),
];

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            // A room's tests may set the scene with any other room.
            if !path.ends_with("tests") {
                sources(&path, into);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// Path and text of every source file, by room.
fn rooms() -> BTreeMap<String, Vec<(PathBuf, String)>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut rooms = BTreeMap::<String, Vec<_>>::new();
    for file in files {
        let first = file.strip_prefix(&root).unwrap().components().next().unwrap();
        let room = first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
        let text = fs::read_to_string(&file).unwrap();
        rooms.entry(room).or_default().push((file, text));
    }
    rooms.remove("lib");
    rooms.remove("main");
    rooms
}

/// The rooms that a text names as `crate::room`, comments left out.
fn named(text: &str) -> BTreeSet<String> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let mut found = BTreeSet::new();
    for line in code {
        for (at, _) in line.match_indices("crate::") {
            let rest = &line[at + "crate::".len()..];
            let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            if !name.is_empty() {
                found.insert(name);
            }
            assert!(!rest.starts_with('{'), "name rooms one by one, so that this test can read them: {line}");
        }
    }
    found
}

#[test]
fn rooms_import_only_what_the_table_allows() {
    let allowed: BTreeMap<&str, &[&str]> = ROOMS.into_iter().collect();
    let rooms = rooms();
    let here: BTreeSet<&str> = rooms.keys().map(String::as_str).collect();
    assert_eq!(here, allowed.keys().copied().collect(), "the table and the folders name the same rooms");
    let mut faults = Vec::new();
    for (room, files) in &rooms {
        for (file, text) in files {
            for name in named(text) {
                if name != *room && !allowed[room.as_str()].contains(&name.as_str()) {
                    faults.push(format!("{}: `{room}` may not import `{name}`", file.display()));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn each_library_stays_in_its_room() {
    let mut faults = Vec::new();
    for (room, files) in rooms() {
        for (file, text) in files {
            for (library, owners) in LIBRARIES {
                let uses = text.lines().any(|line| {
                    let line = line.trim_start();
                    !line.starts_with("//")
                        && (line.starts_with(&format!("use {library}::"))
                            || line.starts_with(&format!("pub use {library}::"))
                            || line.contains(&format!(" ::{library}::")))
                });
                if uses && !owners.contains(&room.as_str()) {
                    faults.push(format!("{}: `{library}` belongs to {owners:?}", file.display()));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
