//! Every preset's golden files, over the built module, in the gateway's own engine.

use std::path::{Path, PathBuf};

const PRESETS: [&str; 6] = ["slack", "zapier", "google-sheets", "http", "fields", "redact"];

fn plugins() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins")
}

/// The checked-in modules; and those that `plugins/build --check` made with another toolchain, if it did.
#[tokio::test(flavor = "multi_thread")]
async fn presets_do_as_their_golden_files_say() {
    let plugins = plugins();
    let mut folders = vec![plugins.join("dist")];
    folders.extend(Some(plugins.join("target/rebuilt")).filter(|folder| folder.join("digests.txt").is_file()));
    for built in folders {
        for preset in PRESETS {
            let module = built.join(format!("{preset}.wasm"));
            let report = hookmill::cli::golden::run(&module, &plugins.join(preset).join("golden")).await.unwrap();
            assert!(report.failures.is_empty(), "{}:\n{}", module.display(), report.failures.join("\n"));
            assert!(report.passed >= 6, "{preset} has {} golden files", report.passed);
        }
    }
}
