//! `hookmill plugin build`.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde_json::json;

use super::toolchain;
use crate::cli::{block_on, print};

#[derive(Args, Debug)]
pub(super) struct Build {
    /// The plugin's folder
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Build {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let began = Instant::now();
        let module = block_on(toolchain::build(&self.folder))?;
        let bytes = module.metadata()?.len();
        let seconds = began.elapsed().as_secs_f64();
        if self.json {
            print(&json!({ "module": module, "bytes": bytes, "seconds": seconds }).to_string());
        } else {
            print(&format!("{}: {bytes} bytes, built in {seconds:.1} s", module.display()));
        }
        Ok(())
    }
}
