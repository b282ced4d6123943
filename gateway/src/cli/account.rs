//! `hookmill login` and `hookmill profile`: servers and keys that need not be said each time.

use std::io::{IsTerminal, Read};

use anyhow::{Context, ensure};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::patience::Patience;
use super::remote::{Profile, Profiles, Reach, Remote, is_profile_name, table, text};
use super::{block_on, eprint_line, print};
use crate::domain::Secret;

/// What a profile is called by who does not care.
const USUAL_NAME: &str = "default";

/// Try a key and save it with its server.
///
/// The key is read from standard input unless given, so that it stays out of the shell's history.
#[derive(Args, Debug)]
pub(super) struct Login {
    #[command(flatten)]
    reach: Reach,
}

impl Login {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let named = self.reach.profile.as_deref();
        save(named.unwrap_or(USUAL_NAME), named, &self.reach, true)
    }
}

/// Saved servers and keys.
///
/// They are kept in a file that only you may read: ~/.config/hookmill/profiles.toml
#[derive(Args, Debug)]
pub(super) struct Saved {
    #[command(subcommand)]
    command: SavedCommand,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Subcommand, Debug)]
enum SavedCommand {
    /// Try a key and save it with its server under a name
    Add {
        /// The name: 1 to 64 of A-Z a-z 0-9 . _ -
        name: String,
    },
    /// What is saved, and which is in use
    List,
    /// Use this one from now on
    Use {
        /// The name
        name: String,
    },
    /// Forget one
    Remove {
        /// The name
        name: String,
    },
}

impl Saved {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self.command {
            SavedCommand::Add { name } => {
                let named = self.reach.profile.as_deref().unwrap_or(&name);
                save(&name, Some(named), &self.reach, false)
            }
            SavedCommand::List => list(self.reach.json),
            SavedCommand::Use { name } => {
                let mut profiles = Profiles::read()?;
                profiles.choose(&name)?;
                profiles.write()?;
                done(self.reach.json, &name, &format!("`{name}` is in use"));
                Ok(())
            }
            SavedCommand::Remove { name } => {
                let mut profiles = Profiles::read()?;
                profiles.remove(&name)?;
                profiles.write()?;
                done(self.reach.json, &name, &format!("`{name}` is forgotten here; its key stays valid on the server"));
                Ok(())
            }
        }
    }
}

fn done(json: bool, name: &str, said: &str) {
    if json { print(&json!({ "profile": name }).to_string()) } else { print(said) }
}

/// Saves a key as `name`; `named` is the profile whose server is meant, where a command says which.
fn save(name: &str, named: Option<&str>, reach: &Reach, choose: bool) -> anyhow::Result<()> {
    let mut profiles = Profiles::read()?;
    ensure!(
        profiles.get(name).is_some() || is_profile_name(name),
        "`{name}` can't be a profile's name: it is 1 to 64 of A-Z a-z 0-9 . _ -"
    );
    let server = reach.server_to_save(named, &profiles)?;
    let key = match &reach.key {
        Some(key) => Secret::new(key.clone()),
        None => ask(server.as_str())?,
    };
    let remote = Remote::new(server.clone(), Some(key.clone()))?;
    let me = {
        let _patience = Patience::spin("asking the gateway");
        block_on(async { Ok(remote.get("/v1/me").await?.json()) })?
    };
    profiles.put(name, Profile { server: remote.server().to_owned(), key });
    if choose {
        profiles.choose(name)?;
    }
    let file = profiles.write()?;
    let said = format!("{}, saved as `{name}` in {}", whose(&me), file.display());
    if reach.json {
        print(&json!({ "profile": name, "me": me }).to_string())
    } else {
        print(&said)
    }
    Ok(())
}

fn whose(me: &Value) -> String {
    let role = text(me, "role");
    match me.get("tenant").map(|tenant| text(tenant, "name")) {
        Some(tenant) if !tenant.is_empty() => format!("a key of the tenant {tenant} with the role {role}"),
        _ => format!("a key with the role {role}"),
    }
}

fn ask(server: &str) -> anyhow::Result<Secret> {
    let mut line = String::new();
    let terminal = console::Term::stderr();
    let read = match (std::io::stdin().is_terminal(), terminal.is_term()) {
        (true, true) => {
            eprint_line(&format!("the key for {server} (it is not shown as you type; end with Enter):"));
            terminal.read_secure_line().map(|typed| line = typed)
        }
        (true, false) => std::io::stdin().read_line(&mut line).map(drop),
        (false, _) => std::io::stdin().read_to_string(&mut line).map(drop),
    };
    read.context("the key could not be read")?;
    let key = line.trim();
    ensure!(!key.is_empty(), "no key was given: use --key, or write it to standard input");
    Ok(Secret::new(key.to_owned()))
}

fn list(json: bool) -> anyhow::Result<()> {
    let profiles = Profiles::read()?;
    if json {
        let all = profiles.all().map(|(name, one, used)| json!({ "name": name, "server": one.server, "in_use": used }));
        print(&Value::from(all.collect::<Vec<_>>()).to_string());
        return Ok(());
    }
    let rows: Vec<[String; 3]> = profiles
        .all()
        .map(|(name, one, used)| [if used { "*" } else { "" }.to_owned(), name.to_owned(), one.server.clone()])
        .collect();
    match rows.is_empty() {
        true => print("none is saved; `hookmill login` saves one"),
        false => print(&table(["", "NAME", "SERVER"], &rows)),
    }
    Ok(())
}
