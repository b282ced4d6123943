//! What is shown on a terminal while something takes longer than a second.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::task::JoinHandle;

/// What is over sooner is not worth a bar.
const PATIENCE: Duration = Duration::from_secs(1);

/// A bar on standard error, if that is a terminal; it appears after a second and goes when this is dropped.
pub(super) struct Patience {
    bar: ProgressBar,
    appearing: Option<JoinHandle<()>>,
}

impl Patience {
    /// Something whose end can't be foreseen.
    pub(super) fn spin(what: &str) -> Self {
        Self::show(ProgressBar::hidden(), "{spinner} {msg}", what)
    }

    /// Something of this many steps.
    pub(super) fn count(what: &str, steps: u64) -> Self {
        let bar = ProgressBar::hidden();
        bar.set_length(steps);
        Self::show(bar, "{spinner} {msg} [{bar:30}] {pos}/{len}", what)
    }

    /// Something that is counted, and whose end can't be foreseen.
    pub(super) fn tally(what: &str) -> Self {
        Self::show(ProgressBar::hidden(), "{spinner} {msg}: {pos}", what)
    }

    fn show(bar: ProgressBar, template: &str, what: &str) -> Self {
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(what.to_owned());
        let appear = {
            let bar = bar.clone();
            async move {
                tokio::time::sleep(PATIENCE).await;
                bar.set_draw_target(ProgressDrawTarget::stderr());
                bar.enable_steady_tick(Duration::from_millis(120));
            }
        };
        let appearing = std::io::stderr().is_terminal().then(|| tokio::spawn(appear));
        Self { bar, appearing }
    }

    /// So far.
    pub(super) fn at(&self, step: u64) {
        self.bar.set_position(step);
    }
}

impl Drop for Patience {
    fn drop(&mut self) {
        if let Some(appearing) = self.appearing.take() {
            appearing.abort();
        }
        self.bar.finish_and_clear();
    }
}
