//! The tools of each language: whether they are there, what installs them, and what builds.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use tokio::process::Command;

use super::MODULE;
use super::templates::Language;
use crate::cli::patience::Patience;

/// What cargo builds for.
const TARGET: &str = "wasm32-unknown-unknown";

/// What is to be done once in a new folder.
pub(super) fn first(language: Language) -> &'static [&'static str] {
    match language {
        Language::Rust => &["rustup target add wasm32-unknown-unknown"],
        Language::Js | Language::Ts => &["npm ci"],
        Language::Python => &["python3 -m venv .venv", ".venv/bin/pip install -r requirements.txt"],
    }
}

/// In what the plugin in a folder is written; what npm builds counts as JavaScript.
pub(super) fn language_of(folder: &Path) -> anyhow::Result<Language> {
    let known = [
        ("Cargo.toml", Language::Rust),
        ("package.json", Language::Js),
        ("plugin.py", Language::Python),
        ("requirements.txt", Language::Python),
    ];
    let found = known.into_iter().find(|(file, _)| folder.join(file).is_file());
    found.map(|(_, language)| language).with_context(|| {
        format!(
            "{} is no folder of a plugin: it has no Cargo.toml, package.json or plugin.py; `hookmill plugin new` makes one",
            folder.display()
        )
    })
}

/// Builds what is in the folder; gives the module's path.
pub(super) async fn build(folder: &Path) -> anyhow::Result<PathBuf> {
    ensure!(folder.is_dir(), "there is no folder {}", folder.display());
    let module = folder.join(MODULE);
    match language_of(folder)? {
        Language::Rust => rust(folder, &module).await?,
        Language::Js | Language::Ts => npm(folder).await?,
        Language::Python => python(folder).await?,
    }
    ensure!(module.is_file(), "the build ended well and left no {}", module.display());
    Ok(module)
}

async fn rust(folder: &Path, module: &Path) -> anyhow::Result<()> {
    installed("cargo", "Rust is not installed; https://rustup.rs has the command that does it")?;
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let sysroot = Command::new(&rustc).args(["--print", "sysroot"]).current_dir(folder).output().await;
    let rustc = Path::new(&rustc).display();
    let sysroot = sysroot.with_context(|| format!("{rustc} can't be run"))?;
    let said = String::from_utf8_lossy(&sysroot.stderr);
    ensure!(sysroot.status.success(), "{rustc} does not say where its libraries are:\n{}", said.trim());
    let sysroot = PathBuf::from(String::from_utf8_lossy(&sysroot.stdout).trim());
    ensure!(
        sysroot.join("lib/rustlib").join(TARGET).is_dir(),
        "Rust's library for WebAssembly is missing; this installs it: rustup target add {TARGET} (Debian's own Rust: \
         sudo apt-get install libstd-rust-dev-wasm32)"
    );
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--lib", "--target", TARGET, "--message-format", "json-render-diagnostics"]);
    // What it says is seen as it comes, and so is how far it is; `output` would catch that, too.
    cargo.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let output = cargo.spawn().context("cargo can't be run")?.wait_with_output().await?;
    ensure!(output.status.success(), "cargo did not build it ({}); what is wrong stands above", output.status);
    let built = artifact(&String::from_utf8_lossy(&output.stdout));
    let built = built.context("cargo built no module; `crate-type` under [lib] in Cargo.toml must have \"cdylib\"")?;
    std::fs::copy(&built, module).with_context(|| format!("can't write {}", module.display()))?;
    Ok(())
}

/// The module among what cargo says it has built: of the last crate, for that is the plugin's own.
fn artifact(messages: &str) -> Option<PathBuf> {
    let mut files = messages.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        let files = message.get("filenames")?.as_array()?;
        let file = files.iter().filter_map(Value::as_str).find(|file| file.ends_with(".wasm"))?;
        Some(PathBuf::from(file))
    });
    files.next_back()
}

async fn npm(folder: &Path) -> anyhow::Result<()> {
    installed("npm", "Node.js is not installed; on Debian this does it: sudo apt-get install nodejs npm")?;
    let jco = folder.join("node_modules/.bin/jco");
    ensure!(jco.exists(), "jco is not installed in {0}; this does it: (cd {0} && npm ci)", folder.display());
    run(Command::new("npm").args(["run", "--silent", "build"]), folder, "npm run build").await
}

async fn python(folder: &Path) -> anyhow::Result<()> {
    let own = folder.join(".venv/bin/componentize-py");
    let tool = if own.is_file() {
        // The build runs in the folder, so the path must hold from there.
        own.canonicalize()?
    } else if on_path("componentize-py").is_some() {
        PathBuf::from("componentize-py")
    } else {
        installed("python3", "Python is not installed; on Debian this does it: sudo apt-get install python3-venv")?;
        bail!(
            "componentize-py is not installed; this does it: (cd {} && python3 -m venv .venv && .venv/bin/pip install -r \
             requirements.txt)",
            folder.display()
        );
    };
    let source = std::fs::read_to_string(folder.join("plugin.py"));
    let source = source.with_context(|| format!("can't read {}", folder.join("plugin.py").display()))?;
    let world = if source.contains("def render(") { "connector" } else { "transform" };
    let mut command = Command::new(tool);
    command.args(["-d", "wit", "-w", world, "componentize", "--stub-wasi", "-p", ".", "plugin", "-o", MODULE]);
    run(&mut command, folder, "componentize-py").await
}

/// Runs a tool; what it says is shown only if it fails, for some say much.
async fn run(command: &mut Command, folder: &Path, what: &str) -> anyhow::Result<()> {
    let _patience = Patience::spin("building");
    let output = command.current_dir(folder).stdin(Stdio::null()).output().await;
    let output = output.with_context(|| format!("{what} can't be run"))?;
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned()).join("\n");
    ensure!(output.status.success(), "{what} did not build it:\n{}", said.trim());
    Ok(())
}

fn installed(tool: &str, otherwise: &str) -> anyhow::Result<()> {
    ensure!(on_path(tool).is_some(), "{otherwise}");
    Ok(())
}

fn on_path(tool: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(tool)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn the_last_module_is_the_plugins() {
        let messages = r#"{"reason":"compiler-artifact","filenames":["/t/liba.rlib"]}
{"reason":"compiler-artifact","filenames":["/t/dep.wasm"]}
not JSON
{"reason":"compiler-artifact","filenames":["/t/mine.wasm","/t/libmine.rlib"]}
{"reason":"build-finished","success":true}"#;
        assert_eq!(artifact(messages), Some(PathBuf::from("/t/mine.wasm")));
        assert_eq!(artifact(""), None);
    }

    #[test]
    fn a_folder_shows_its_language() {
        let folder = tempfile::tempdir().unwrap();
        let error = language_of(folder.path()).unwrap_err().to_string();
        assert!(error.contains("hookmill plugin new"), "{error}");
        std::fs::write(folder.path().join("plugin.py"), "").unwrap();
        assert_eq!(language_of(folder.path()).unwrap(), Language::Python);
        std::fs::write(folder.path().join("Cargo.toml"), "").unwrap();
        assert_eq!(language_of(folder.path()).unwrap(), Language::Rust);
    }

    #[test]
    fn a_new_folder_shows_what_builds_it() {
        for language in Language::value_variants() {
            let folder = tempfile::tempdir().unwrap();
            for (path, text) in language.files("a").iter().filter(|(path, _)| !path.contains('/')) {
                std::fs::write(folder.path().join(path), text).unwrap();
            }
            assert_eq!(first(language_of(folder.path()).unwrap()), first(*language), "{language:?}");
        }
    }

    #[tokio::test]
    async fn what_is_missing_is_named_with_what_installs_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("package.json"), "{}").unwrap();
        let error = build(folder.path()).await.unwrap_err().to_string();
        assert!(error.contains("npm ci") || error.contains("apt-get install nodejs npm"), "{error}");
    }
}
