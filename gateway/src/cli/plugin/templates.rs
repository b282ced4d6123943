//! What a new plugin begins with: the files of `plugin-sdk/templates`, and what they stand on.

use std::collections::BTreeMap;

use clap::ValueEnum;

/// The languages there is a template for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Language {
    /// Small and fast: some 100 kB, microseconds an event.
    Rust,
    /// JavaScript, with QuickJS inside of the module.
    Js,
    /// TypeScript, with QuickJS likewise.
    Ts,
    /// Python, with CPython inside of the module.
    Python,
}

/// A file's path in its folder, and its text.
type File = (&'static str, &'static str);

macro_rules! files {
    ($folder:literal: $($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../../../", $folder, "/", $path)))),*]
    };
}

const CONTRACT: &[File] = files!("wit": "plugin.wit");

const RUST: &[File] = files!(
    "plugin-sdk/templates/rust":
    "Cargo.toml", "README.md", "src/lib.rs", "golden/big.json", "golden/no-amount.json", "golden/small.json",
);

const JS: &[File] = files!(
    "plugin-sdk/templates/js":
    "package.json", "tsconfig.json", "README.md", "plugin.js", "golden/big.json", "golden/no-amount.json",
    "golden/small.json",
);

const TS: &[File] = files!(
    "plugin-sdk/templates/ts":
    "package.json", "tsconfig.json", "README.md", "plugin.ts", "golden/big.json", "golden/no-amount.json",
    "golden/small.json",
);

/// The versions of npm's packages: JavaScript and TypeScript have the same tools.
const LOCK: &[File] = files!("plugin-sdk/templates/js": "package-lock.json");

const PYTHON: &[File] = files!(
    "plugin-sdk/templates/python":
    "requirements.txt", "README.md", "plugin.py", "golden/big.json", "golden/no-amount.json", "golden/small.json",
);

/// The SDK that a plugin in Rust is linked with: no registry has it, and its version must be this gateway's.
const SDK: &[File] = files!(
    "plugin-sdk":
    "README.md", "src/alloc.rs", "src/bindings/connector.rs", "src/bindings/mod.rs", "src/bindings/transform.rs",
    "src/contract.rs", "src/guest.rs", "src/json/edit.rs", "src/json/mod.rs", "src/json/parse.rs", "src/lib.rs",
    "src/log.rs", "src/manifest.rs", "src/path.rs", "src/plugin.rs", "src/secret.rs", "src/template/escape.rs",
    "src/template/filters.rs", "src/template/mod.rs", "src/template/plain.rs", "src/template/tests.rs",
    "src/template/value.rs", "src/testing.rs",
);

const SDK_MANIFEST: &str = include_str!("../../../../plugin-sdk/Cargo.toml");

const IGNORED: &str = "plugin.wasm\ntarget/\nnode_modules/\n.venv/\n__pycache__/\ntypes/\n";

impl Language {
    /// Every file of a new plugin of this name, by its path.
    pub(super) fn files(self, name: &str) -> BTreeMap<String, String> {
        let template = match self {
            Self::Rust => RUST.to_vec(),
            Self::Js => [JS, LOCK].concat(),
            Self::Ts => [TS, LOCK].concat(),
            Self::Python => PYTHON.to_vec(),
        };
        let named = template.iter().map(|(path, text)| ((*path).to_owned(), named(text, name)));
        let mut files: BTreeMap<String, String> = named.collect();
        let below = |folder: &'static str, these: &'static [File]| {
            these.iter().map(move |(path, text)| (format!("{folder}/{path}"), (*text).to_owned()))
        };
        files.extend(below("wit", CONTRACT));
        files.insert(".gitignore".to_owned(), IGNORED.to_owned());
        if self == Self::Rust {
            files.extend(below("sdk", SDK));
            files.insert("sdk/Cargo.toml".to_owned(), sdk_manifest());
            if let Some(manifest) = files.get_mut("Cargo.toml") {
                *manifest = own_manifest(manifest);
            }
        }
        files
    }
}

/// A template's text with the plugin's name in place of its own.
fn named(text: &str, name: &str) -> String {
    let words: Vec<&str> = name.split('-').filter(|word| !word.is_empty()).collect();
    let capital = |word: &str| {
        let (first, rest) = word.split_at_checked(1).unwrap_or((word, ""));
        first.to_ascii_uppercase() + rest
    };
    let camel: String = words.iter().map(|word| capital(word)).collect();
    text.replace("my-plugin", name)
        .replace("my_plugin", &name.replace('-', "_"))
        .replace("MyPlugin", &camel)
        .replace("My plugin", &capital(&words.join(" ")))
}

/// The SDK beside the plugin, and a workspace of their own, whatever folder they lie in.
fn own_manifest(text: &str) -> String {
    let text =
        text.replace("# The folder `plugin-sdk` of Hookmill's repository.", "# The SDK that came with this Hookmill.");
    format!("{}\n[workspace]\n", text.replace(r#"path = "../..""#, r#"path = "sdk""#))
}

/// The SDK's manifest without the workspace that it has at home, and without what only its own tests need.
fn sdk_manifest() -> String {
    let mut keeps = true;
    let lines = SDK_MANIFEST.lines().filter(|line| {
        if line.starts_with('[') {
            keeps = *line != "[dev-dependencies]";
        }
        keeps && !line.starts_with("workspace = ")
    });
    let lines = lines.map(|line| match line {
        "edition.workspace = true" => "edition = \"2024\"",
        "rust-version.workspace = true" => concat!("rust-version = \"", env!("CARGO_PKG_RUST_VERSION"), "\""),
        "license.workspace = true" => "license = \"Apache-2.0\"",
        "publish.workspace = true" => "publish = false",
        line => line,
    });
    lines.map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    fn below(root: &Path, folder: &Path, into: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            // What tools leave behind is not part of it.
            if path.is_dir() && !["node_modules", "target", ".venv", "types", "wit", "__pycache__"].contains(&name) {
                below(root, &path, into);
            } else if path.is_file() && !name.ends_with(".wasm") {
                into.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }

    #[test]
    fn nothing_is_left_out() {
        let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugin-sdk");
        let js = [JS, LOCK].concat();
        for (language, files) in [("rust", RUST), ("js", js.as_slice()), ("ts", TS), ("python", PYTHON)] {
            let folder = sdk.join("templates").join(language);
            let mut there = BTreeSet::new();
            below(&folder, &folder, &mut there);
            there.remove("Cargo.lock");
            assert_eq!(files.iter().map(|(path, _)| (*path).to_owned()).collect::<BTreeSet<_>>(), there, "{language}");
        }
        let mut there = BTreeSet::new();
        below(&sdk, &sdk.join("src"), &mut there);
        there.insert("README.md".to_owned());
        assert_eq!(SDK.iter().map(|(path, _)| (*path).to_owned()).collect::<BTreeSet<_>>(), there);
    }

    #[test]
    fn the_lock_file_fits_both() {
        let (js, ts) = (Language::Js.files("a"), Language::Ts.files("a"));
        assert_eq!(ts["package.json"], js["package.json"].replace("plugin.js", "plugin.ts"));
    }

    #[test]
    fn the_name_is_everywhere() {
        for language in Language::value_variants() {
            let files = language.files("big-orders");
            let own = files.iter().filter(|(path, _)| !path.starts_with("sdk/") && !path.starts_with("wit/"));
            for (path, text) in own {
                for left in ["my-plugin", "my_plugin", "MyPlugin", "My plugin"] {
                    assert!(!text.contains(left), "{language:?}: {path} has {left}");
                }
            }
            let all: String = files.values().cloned().collect();
            assert!(all.contains("\"big-orders\"") && all.contains("Big orders"), "{language:?}");
        }
        assert!(Language::Rust.files("big-orders")["src/lib.rs"].contains("pub struct BigOrders;"));
    }

    #[test]
    fn the_sdk_stands_alone() {
        let files = Language::Rust.files("a");
        assert!(files["Cargo.toml"].contains(r#"hookmill-plugin = { path = "sdk" }"#), "{}", files["Cargo.toml"]);
        let sdk = &files["sdk/Cargo.toml"];
        assert!(!sdk.contains("workspace") && !sdk.contains("proptest"), "{sdk}");
        assert!(sdk.contains("[dependencies]") && sdk.contains("[lints.clippy]"), "{sdk}");
    }
}
