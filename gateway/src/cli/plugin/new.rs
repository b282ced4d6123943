//! `hookmill plugin new`.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::Args;
use serde_json::json;

use super::templates::Language;
use super::toolchain;
use crate::cli::print;
use crate::domain::is_plugin_name;

/// What the presets are called; no gateway takes another plugin of such a name.
const PRESETS: [&str; 6] = ["slack", "zapier", "google-sheets", "http", "fields", "redact"];

#[derive(Args, Debug)]
pub(super) struct New {
    /// The plugin's name, and its folder's: 1 to 64 of a-z 0-9 -, beginning with a letter
    name: String,
    /// What it is written in
    #[arg(long)]
    lang: Language,
    /// The folder to make, in place of one with the plugin's name
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// Print what was made as JSON
    #[arg(long)]
    json: bool,
}

impl New {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let Self { name, lang, dir, json } = self;
        ensure!(
            is_plugin_name(&name),
            "`{name}` can't be a plugin's name: it is 1 to 64 of a-z 0-9 -, beginning with a letter"
        );
        ensure!(
            !PRESETS.contains(&name.as_str()),
            "`{name}` is the name of a preset, and no gateway takes another plugin of that name: give yours another"
        );
        let folder = dir.unwrap_or_else(|| PathBuf::from(&name));
        let is_empty = !folder.exists() || folder.read_dir().is_ok_and(|mut entries| entries.next().is_none());
        ensure!(is_empty, "{} is there already and not empty; name another folder with --dir", folder.display());
        let files = lang.files(&name);
        for (path, text) in &files {
            let file = folder.join(path);
            let made = fs::create_dir_all(file.parent().unwrap_or(&folder)).and_then(|()| fs::write(&file, text));
            made.with_context(|| format!("can't write {}", file.display()))?;
        }
        if json {
            print(&json!({ "folder": folder, "files": files.keys().collect::<Vec<_>>() }).to_string());
            return Ok(());
        }
        print(&format!("{} is a plugin that drops small purchases. Go on with:", folder.display()));
        print(&format!("  cd {}", folder.display()));
        toolchain::first(lang).iter().for_each(|command| print(&format!("  {command}")));
        print("  hookmill plugin build");
        print("  hookmill plugin test");
        print("  hookmill plugin push");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_presets_name_is_refused_at_once() {
        let modules = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/dist")).unwrap();
        let modules = modules.map(|file| file.unwrap().file_name().into_string().unwrap());
        let mut presets: Vec<String> =
            modules.filter_map(|file| file.strip_suffix(".wasm").map(str::to_owned)).collect();
        let mut known = PRESETS;
        presets.sort();
        known.sort_unstable();
        assert_eq!(presets, known);
        let folder = tempfile::tempdir().unwrap();
        for name in PRESETS {
            let dir = folder.path().join(name);
            let new = New { name: name.to_owned(), lang: Language::Rust, dir: Some(dir.clone()), json: true };
            let error = new.run().unwrap_err().to_string();
            assert!(error.contains("is the name of a preset") && !dir.exists(), "{error}");
        }
    }
}
