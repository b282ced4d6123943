//! `hookmill serve`.

use std::path::PathBuf;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::{Settings, block_on, log_to_stderr, print};
use crate::app::{Gateway, Made, Options, test_clock};
use crate::domain::Secret;

/// Run the gateway.
#[derive(Args, Debug)]
pub(super) struct Serve {
    #[command(flatten)]
    settings: Settings,
    /// Serve a store that is behind its own mark, as far back as this commit: what came after it is lost
    #[arg(long, value_name = "SEQ")]
    accept_rollback_to: Option<u64>,
    /// Let a Unix socket move the time, for tests
    #[arg(long, value_name = "SOCKET")]
    dangerous_test_clock: Option<PathBuf>,
}

impl Serve {
    pub(super) fn run(self) -> anyhow::Result<()> {
        log_to_stderr("info");
        let config = self.settings.load()?;
        block_on(async move {
            let mut options = Options::new(config);
            options.accept_rollback_to = self.accept_rollback_to;
            options.operator_key = secret_from_env("HOOKMILL_OPERATOR_KEY");
            options.master_key = secret_from_env("HOOKMILL_MASTER_KEY");
            options.welcome = true;
            if let Some(socket) = &self.dangerous_test_clock {
                options.clock = test_clock::listen(socket)?;
            }
            let mut terminate = signal(SignalKind::terminate())?;
            let mut interrupt = signal(SignalKind::interrupt())?;
            let mut hang_up = signal(SignalKind::hangup())?;
            let gateway = Gateway::start(options).await?;
            greet(&gateway);
            loop {
                tokio::select! {
                    _ = terminate.recv() => break,
                    _ = interrupt.recv() => break,
                    _ = hang_up.recv() => {
                        if let Err(error) = gateway.control().reload_profiles().await {
                            tracing::warn!(%error, "SIGHUP: profiles were not read again");
                        }
                    }
                    reason = gateway.failed() => {
                        anyhow::bail!(
                            "the store has failed, so nothing more can be promised: {reason}; start hookmill again, and \
                             if it says this again, see `hookmill store check`"
                        )
                    }
                }
            }
            tracing::info!("stopping: what is under way may end");
            gateway.stop().await
        })
    }
}

fn secret_from_env(name: &str) -> Option<Secret> {
    std::env::var(name).ok().filter(|text| !text.is_empty()).map(Secret::new)
}

fn greet(gateway: &Gateway) {
    if let Some(Made { operator_key, tenant_key, inbox_url }) = &gateway.first {
        for (label, secret) in [("operator key", operator_key), ("first tenant's key", tenant_key)] {
            if let Some(secret) = secret {
                print(&format!("{label}: {}", secret.expose()));
            }
        }
        if let Some(url) = inbox_url {
            print(&format!("first tenant's inbox: {url}"));
        }
    }
    print(&format!("listening on {}, called {}", gateway.address, gateway.public_url));
    print(&format!("metrics and health on {}", gateway.admin_address));
}
