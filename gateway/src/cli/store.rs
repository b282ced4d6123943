//! `hookmill store`: for a store that a gateway refuses to serve, and for whoever wants to be sure of one.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};

use super::patience::Patience;
use super::scratch::Scratch;
use super::{block_on, eprint_line, print};
use crate::app::upkeep::{self, Reach, Wrongs};

/// A store that is not served: check it, read it out, make a new one of it.
///
/// The gateway must be stopped. The data folder is not changed: a copy of its store is opened, and removed afterwards.
#[derive(Args, Debug)]
pub(super) struct Store {
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Subcommand, Debug)]
enum StoreCommand {
    /// Read every record and look up all it names; the exit code is 0 if the store is sound
    Check {
        #[command(flatten)]
        from: From,
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
    /// Write what can be read as JSON lines; secrets stay sealed
    Export {
        #[command(flatten)]
        from: From,
        /// The file to make; standard output unless given
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Make a new data folder of what can be read and holds together
    Salvage {
        #[command(flatten)]
        from: From,
        /// The data folder to make
        #[arg(long, value_name = "NEWFOLDER")]
        to: PathBuf,
    },
}

#[derive(Args, Debug)]
struct From {
    /// The data folder
    #[arg(long, value_name = "FOLDER")]
    data: PathBuf,
    /// Where the copy is made, for as long as it is needed; beside the data folder unless given
    #[arg(long, value_name = "FOLDER")]
    scratch: Option<PathBuf>,
}

impl From {
    /// A folder for the copy: on the same disk, where a copy may cost nothing.
    fn scratch(&self) -> anyhow::Result<Scratch> {
        let beside =
            self.data.parent().map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent });
        Scratch::new(self.scratch.as_deref().or(beside), "store")
    }
}

impl Store {
    pub(super) fn run(self) -> anyhow::Result<()> {
        // sled panics on damage, which is caught and told in words.
        std::panic::set_hook(Box::new(|_| {}));
        block_on(async move {
            let patience = Patience::tally("records read");
            let work = move || self.command.run(&|records| patience.at(records));
            tokio::task::spawn_blocking(work).await.context("the work has ended early: please report this")?
        })
    }
}

impl StoreCommand {
    fn run(self, seen: &dyn Fn(u64)) -> anyhow::Result<()> {
        match self {
            Self::Check { from, json } => check(&from, json, seen),
            Self::Export { from, out } => export(&from, out.as_deref(), seen),
            Self::Salvage { from, to } => salvage(&from, &to, seen),
        }
    }
}

fn check(from: &From, json: bool, seen: &dyn Fn(u64)) -> anyhow::Result<()> {
    let scratch = from.scratch()?;
    let checked = upkeep::check(&from.data, scratch.path(), seen)?;
    if json {
        print(&serde_json::to_string_pretty(&checked)?);
    } else {
        print(&reach(checked.reach));
        print(&counts(&checked.records));
        tell(&checked.wrong, print);
    }
    let wrong = checked.wrong.count();
    anyhow::ensure!(wrong == 0, "the store in {} is damaged: {wrong} faults", from.data.display());
    if !json {
        print("sound");
    }
    Ok(())
}

fn export(from: &From, out: Option<&Path>, seen: &dyn Fn(u64)) -> anyhow::Result<()> {
    let scratch = from.scratch()?;
    let to: Box<dyn Write> = match out {
        // Bodies are in it. A file that is there stays.
        Some(file) => {
            let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
            Box::new(made.with_context(|| format!("can't make {}", file.display()))?)
        }
        None => Box::new(std::io::stdout()),
    };
    let mut to = BufWriter::new(to);
    let exported = upkeep::export(&from.data, scratch.path(), &mut to, seen)?;
    eprint_line(&reach(exported.reach));
    eprint_line(&counts(&exported.lines));
    tell(&exported.unread, eprint_line);
    let unread = exported.unread.count();
    anyhow::ensure!(unread == 0, "{unread} faults: what could be read has been written");
    Ok(())
}

fn salvage(from: &From, to: &Path, seen: &dyn Fn(u64)) -> anyhow::Result<()> {
    let scratch = from.scratch()?;
    let (salvaged, key) = upkeep::salvage(&from.data, to, scratch.path(), seen)?;
    print(&reach(salvaged.reach));
    print(&counts(&salvaged.kept));
    tell(&salvaged.left_out, print);
    if salvaged.due_again > 0 {
        print(&format!(
            "{} deliveries are due again, since what became of them is lost: some may arrive twice",
            salvaged.due_again
        ));
    }
    match key {
        Some(key) => print(&format!("the master key has been copied to {}", key.display())),
        None => print("start it with the master key of the old one (store.master_key or HOOKMILL_MASTER_KEY)"),
    }
    print(&format!("{} can be served: hookmill serve --data {}", to.display(), to.display()));
    Ok(())
}

fn reach(reach: Reach) -> String {
    let acknowledged = reach.acknowledged.map_or_else(|| "unknown".to_owned(), |seq| format!("up to {seq}"));
    format!("last commit: {}; acknowledged: {acknowledged}", reach.commit)
}

fn counts(counts: &BTreeMap<&str, u64>) -> String {
    let lines: Vec<_> = counts.iter().map(|(what, count)| format!("{what:13}{count:>12}")).collect();
    lines.join("\n")
}

fn tell(wrongs: &Wrongs, to: impl Fn(&str)) {
    for (what, wrong) in &wrongs.0 {
        let times = if wrong.count == 1 { String::new() } else { format!(", {} times, first", wrong.count) };
        to(&format!("! {what}{times}: {}", wrong.first));
    }
}
