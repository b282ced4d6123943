//! `hookmill plugin push`.

use std::path::PathBuf;

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use hyper::Method;
use serde_json::Value;

use super::{MODULE, is_built};
use crate::cli::patience::Patience;
use crate::cli::remote::{Reach, Refused, text};
use crate::cli::{block_on, print};

/// Between the parts of a form. What stands in a module can't be told from it only by its length.
const BOUNDARY: &str = "hookmill-5d1f6a0be27c4c1c8f4e";

#[derive(Args, Debug)]
pub(super) struct Push {
    /// The component or core module (.wasm)
    #[arg(default_value = MODULE)]
    module: PathBuf,
    /// A name in place of the plugin's own
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    reach: Reach,
}

impl Push {
    pub(super) fn run(self) -> anyhow::Result<()> {
        is_built(&self.module)?;
        let bytes = std::fs::read(&self.module).with_context(|| format!("can't read {}", self.module.display()))?;
        let (content_type, body) = match &self.name {
            None => ("application/wasm".to_owned(), bytes),
            Some(name) => (format!("multipart/form-data; boundary={BOUNDARY}"), form(name, &bytes)),
        };
        let remote = self.reach.remote()?;
        let pushed = block_on(async {
            let _patience = Patience::spin("uploading; the gateway compiles it");
            remote.call(Method::POST, "/v1/plugins", &content_type, Bytes::from(body)).await
        });
        let answer = pushed.map_err(explained)?;
        if self.reach.json {
            print(&answer.text);
            return Ok(());
        }
        let plugin = answer.json();
        let known = if answer.status.as_u16() == 200 { ", which was there already" } else { "" };
        print(&format!("{}@{}{known}", text(&plugin, "name"), text(&plugin, "version")));
        print(text(&plugin, "digest"));
        for left in plugin.get("not_followed_by").and_then(Value::as_array).into_iter().flatten() {
            let left = left.as_str().unwrap_or_default();
            print(&format!("{left} does not go together with this version and stays with the one before"));
        }
        Ok(())
    }
}

/// What to do about a version that is taken is not the gateway's to know.
fn explained(error: anyhow::Error) -> anyhow::Error {
    match error.downcast::<Refused>() {
        Ok(refused) if refused.kind == "plugin-version-taken" => {
            let advice = "(`version` in Cargo.toml, or in what `describe` gives), build and push again";
            let words = format!("{refused} {advice}");
            refused.in_words(words).into()
        }
        Ok(refused) => refused.into(),
        Err(error) => error,
    }
}

fn form(name: &str, module: &[u8]) -> Vec<u8> {
    let head = format!(
        "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"name\"\r\n\r\n{name}\r\n--{BOUNDARY}\r\n\
         content-disposition: form-data; name=\"component\"; filename=\"{MODULE}\"\r\n\
         content-type: application/wasm\r\n\r\n"
    );
    [head.as_bytes(), module, format!("\r\n--{BOUNDARY}--\r\n").as_bytes()].concat()
}
