//! `hookmill plugin list` and `hookmill plugin delete`: the versions that a gateway has.

use anyhow::anyhow;
use clap::Args;
use serde_json::{Value, json};

use crate::cli::patience::Patience;
use crate::cli::remote::{PLUGINS, Reach, Remote, every, listed, missing_plugin, segment, table, text};
use crate::cli::{block_on, print};

#[derive(Args, Debug)]
pub(super) struct List {
    /// Only the versions of this one
    name: Option<String>,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Args, Debug)]
pub(super) struct Delete {
    /// A version that no subscription uses
    #[arg(value_name = "NAME@VERSION")]
    plugin: String,
    #[command(flatten)]
    reach: Reach,
}

impl List {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let remote = self.reach.remote()?;
        block_on(async {
            let _patience = Patience::spin("asking the gateway");
            let found = match &self.name {
                None => json!({ "data": every(&remote, PLUGINS).await? }),
                Some(name) => match remote.get(&format!("/v1/plugins/{}", segment(name))).await {
                    Ok(answer) => answer.json(),
                    Err(error) => return Err(missing_plugin(&remote, name, error).await),
                },
            };
            if self.reach.json {
                print(&found.to_string());
            } else {
                print(&table(["PLUGIN", "VERSION", "KIND", "SIZE", "UPLOADED"], &rows(&found)));
            }
            Ok(())
        })
    }
}

/// Of a list of plugins, or of one plugin with its versions.
fn rows(answer: &Value) -> Vec<[String; 5]> {
    let versions = answer.get("data").or_else(|| answer.get("versions"));
    let row = |one: &Value| {
        // A version among others does not say again what is said of the plugin.
        let of = |field| match text(one, field) {
            "" => text(answer, field).to_owned(),
            own => own.to_owned(),
        };
        let size = one.get("size").and_then(Value::as_u64).unwrap_or(0).div_ceil(1024);
        let uploaded = match text(one, "created_at") {
            "" => "a preset".to_owned(),
            at => at.to_owned(),
        };
        [of("name"), of("version"), of("kind"), format!("{size} KiB"), uploaded]
    };
    versions.and_then(Value::as_array).into_iter().flatten().map(row).collect()
}

impl Delete {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let Self { plugin, reach } = self;
        let remote = reach.remote()?;
        block_on(async {
            let _patience = Patience::spin("asking the gateway");
            let Some((name, version)) = plugin.split_once('@') else { return Err(which(&remote, &plugin).await) };
            let path = format!("/v1/plugins/{}/{}", segment(name), segment(version));
            if let Err(error) = remote.delete(&path).await {
                return Err(missing_plugin(&remote, &plugin, error).await);
            }
            print(&if reach.json { json!({ "deleted": plugin }).to_string() } else { format!("{plugin} is removed") });
            Ok(())
        })
    }
}

/// That no version was said, and which ones there are.
async fn which(remote: &Remote, name: &str) -> anyhow::Error {
    match remote.get(&format!("/v1/plugins/{}", segment(name))).await {
        Ok(answer) => {
            let versions = rows(&answer.json()).into_iter().map(|[of, version, ..]| format!("{of}@{version}"));
            anyhow!("say which version; {}", listed(versions, "version"))
        }
        Err(error) => missing_plugin(remote, name, error).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_or_the_versions_of_one() {
        let row = |cells: [&str; 5]| cells.map(str::to_owned);
        let list = json!({ "data": [
            { "name": "redact", "version": "0.1.0", "kind": "transform", "size": 2048, "created_at": null },
            { "name": "mine", "version": "1.0.0", "kind": "connector", "size": 1, "created_at": "T" },
        ], "next": null });
        let wanted = [
            row(["redact", "0.1.0", "transform", "2 KiB", "a preset"]),
            row(["mine", "1.0.0", "connector", "1 KiB", "T"]),
        ];
        assert_eq!(rows(&list), wanted);
        let one = json!({
            "name": "mine", "version": "1.1.0", "kind": "transform", "size": 9, "created_at": "U",
            "versions": [
                { "version": "1.0.0", "size": 1025, "created_at": "T" },
                { "version": "1.1.0", "size": 9, "created_at": "U" },
            ],
        });
        let wanted =
            [row(["mine", "1.0.0", "transform", "2 KiB", "T"]), row(["mine", "1.1.0", "transform", "1 KiB", "U"])];
        assert_eq!(rows(&one), wanted);
    }
}
