//! `hookmill plugin`: for authors of plugins.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{block_on, golden, print};

/// For authors of plugins.
#[derive(Args, Debug)]
pub(super) struct Plugin {
    #[command(subcommand)]
    command: PluginCommand,
}

#[derive(Subcommand, Debug)]
enum PluginCommand {
    /// Run golden files over a built plugin, in the gateway's own engine.
    Test {
        /// The component or core module (.wasm)
        module: PathBuf,
        /// The folder of golden files; `golden` unless given
        #[arg(default_value = "golden")]
        folder: PathBuf,
    },
}

impl Plugin {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let PluginCommand::Test { module, folder } = self.command;
        block_on(async move {
            let report = golden::run(&module, &folder).await?;
            report.failures.iter().for_each(|failure| print(failure));
            print(&format!("{}: {} passed, {} differ", report.plugin, report.passed, report.failures.len()));
            anyhow::ensure!(report.failures.is_empty(), "golden files differ");
            Ok(())
        })
    }
}
