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
