//! `hookmill plugin`: for authors of plugins.
//!
//! **Who acts.** An author has a folder with a plugin in Rust, JavaScript, TypeScript or Python, made by `new`. `build`
//! runs the language's own tools and leaves `plugin.wasm` there; `test` and `run` call it in the gateway's own engine;
//! `push` uploads it; `dev` does all that again whenever a file changes, over real events of a subscription. `list`,
//! `delete` and `usage` are about the versions that a gateway has; which of them runs is for a subscription to say
//! (`subscriptions use`). **What is promised.** What is missing of the tools is named with the command that installs
//! it. What `test` and `run` show is what a gateway would do; a module is compiled once, and found in the user's folder for
//! caches by the next command. **What is deliberately not.** Nothing is installed here, and nothing but `push` and
//! `delete` changes a gateway.

mod build;
mod dev;
mod new;
mod push;
mod run;
mod templates;
mod toolchain;
mod usage;
mod versions;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use super::golden::Loaded;
use super::patience::Patience;
use super::{block_on, print};

/// What is built, in the plugin's folder.
const MODULE: &str = "plugin.wasm";

/// For authors of plugins.
#[derive(Args, Debug)]
pub(super) struct Plugin {
    #[command(subcommand)]
    command: PluginCommand,
}

#[derive(Subcommand, Debug)]
enum PluginCommand {
    /// Begin one: a folder with code, golden files and the contract
    New(new::New),
    /// Build the one in this folder to plugin.wasm
    Build(build::Build),
    /// Run golden files over a built plugin, in the gateway's own engine
    Test(Test),
    /// Run a built plugin over one event, here or, with --server, on the gateway; nothing is sent
    Run(run::Run),
    /// Upload a built plugin
    Push(push::Push),
    /// Build and run over real events whenever a file changes
    Dev(dev::Dev),
    /// The plugins on the gateway, or the versions of one; `subscriptions use` says which one runs
    List(versions::List),
    /// Remove a version from the gateway
    Delete(versions::Delete),
    /// What the plugins have used on the gateway since it started: calls, faults, time and memory
    Usage(usage::Usage),
}

#[derive(Args, Debug)]
struct Test {
    /// The component or core module (.wasm)
    #[arg(default_value = MODULE)]
    module: PathBuf,
    /// The folder of golden files
    #[arg(default_value = "golden")]
    folder: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Plugin {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self.command {
            PluginCommand::New(new) => new.run(),
            PluginCommand::Build(build) => build.run(),
            PluginCommand::Test(test) => test.run(),
            PluginCommand::Run(run) => run.run(),
            PluginCommand::Push(push) => push.run(),
            PluginCommand::Dev(dev) => dev.run(),
            PluginCommand::List(list) => list.run(),
            PluginCommand::Delete(delete) => delete.run(),
            PluginCommand::Usage(usage) => usage.run(),
        }
    }
}

impl Test {
    fn run(self) -> anyhow::Result<()> {
        is_built(&self.module)?;
        block_on(async move {
            let report = {
                let _patience = Patience::spin("compiling");
                Loaded::read(&self.module).await?.golden(&self.folder).await?
            };
            let (passed, differ) = (report.passed, report.failures.len());
            if self.json {
                let line = json!({ "plugin": report.plugin, "passed": passed, "failures": report.failures });
                print(&line.to_string());
            } else {
                report.failures.iter().for_each(|failure| print(failure));
                print(&format!("{}: {passed} passed, {differ} differ", report.plugin));
            }
            anyhow::ensure!(report.failures.is_empty(), "golden files differ");
            Ok(())
        })
    }
}

/// A module that is not there has most likely not been built yet.
fn is_built(module: &Path) -> anyhow::Result<()> {
    anyhow::ensure!(
        !module.is_dir(),
        "{} is a folder; what is wanted is a built module, such as {}",
        module.display(),
        module.join(MODULE).display()
    );
    anyhow::ensure!(
        module.is_file(),
        "there is no {}; `hookmill plugin build` makes it, in the folder of a plugin",
        module.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_built_module() {
        let folder = tempfile::tempdir().unwrap();
        let module = folder.path().join(MODULE);
        let said = |path: &Path| is_built(path).unwrap_err().to_string();
        assert!(said(&module).contains("`hookmill plugin build` makes it"), "{}", said(&module));
        let (of_folder, path) = (said(folder.path()), module.display().to_string());
        assert!(of_folder.contains(" is a folder; ") && of_folder.ends_with(&path), "{of_folder}");
        std::fs::write(&module, "").unwrap();
        is_built(&module).unwrap();
    }
}
