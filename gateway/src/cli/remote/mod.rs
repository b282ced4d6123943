//! A gateway that is called from the command line.
//!
//! **Who acts.** Every command that speaks to a gateway takes a [`Reach`]: which gateway, with which key. It becomes a
//! [`Remote`], which makes one request after the other, or opens a stream. Whom to reach is said by flags, else by the
//! environment, else by a profile in a file of the user's (`profiles`).
//! **What is promised.** A key goes to the server that it was given for and to no other. What goes wrong is said so that
//! one knows what to do: which server was not there, whose key it was, what there is in place of what there is not.
//! **What is deliberately not.** Nothing is sent twice by itself, no redirect is followed, and no proxy is used.

mod http;
mod known;
mod profiles;
mod show;
mod stream;

use anyhow::bail;
use clap::Args;
use url::Url;

pub(super) use self::http::{Refused, Remote};
pub(super) use self::known::{PLUGINS, every, find_subscription, listed, missing_delivery, missing_plugin, segment};
pub(super) use self::profiles::{Profile, Profiles, is_profile_name};
pub(super) use self::show::{plain, table, text};
pub(super) use self::stream::{Stream, Told};
use crate::domain::Secret;

/// The gateway of who says nothing else.
const USUAL_SERVER: &str = "http://127.0.0.1:8080";

/// Which gateway, with which key.
#[derive(Args, Debug, Clone, Default)]
pub(super) struct Reach {
    /// The gateway's URL; also HOOKMILL_SERVER, else the profile's
    #[arg(long, global = true, value_name = "URL")]
    pub(super) server: Option<String>,
    /// The key; also HOOKMILL_KEY, else the profile's
    #[arg(long, global = true, value_name = "KEY")]
    pub(super) key: Option<String>,
    /// A saved server and key (`hookmill profile list`); also HOOKMILL_PROFILE, else the one in use
    #[arg(long, global = true, value_name = "NAME")]
    pub(super) profile: Option<String>,
    /// Print what the gateway answers, as JSON
    #[arg(long, global = true)]
    pub(super) json: bool,
}

/// What the environment says, asked once and handed on.
#[derive(Debug, Clone, Default)]
struct Said {
    server: Option<String>,
    key: Option<String>,
    profile: Option<String>,
}

impl Said {
    fn by_environment() -> Self {
        let said = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        Self { server: said("HOOKMILL_SERVER"), key: said("HOOKMILL_KEY"), profile: said("HOOKMILL_PROFILE") }
    }
}

impl Reach {
    /// The gateway that is meant.
    pub(super) fn remote(&self) -> anyhow::Result<Remote> {
        let (server, key) = self.choose(Said::by_environment(), &Profiles::read()?)?;
        Remote::new(server, Some(key))
    }

    /// Flags before the environment before the profile; but a profile that is named by a flag comes before the
    /// environment.
    fn choose(&self, said: Said, profiles: &Profiles) -> anyhow::Result<(Url, Secret)> {
        let said = if self.profile.is_some() { Said::default() } else { said };
        let profile = profiles.chosen(self.profile.as_ref().or(said.profile.as_ref()).map(String::as_str))?;
        let levels = [
            (self.server.as_deref(), self.key.as_deref()),
            (said.server.as_deref(), said.key.as_deref()),
            (profile.map(|profile| profile.server.as_str()), profile.map(|profile| profile.key.expose())),
        ];
        let server = read_server(levels.iter().find_map(|(server, _)| *server).unwrap_or(USUAL_SERVER))?;
        let same = |other: &str| read_server(other).is_ok_and(|other| other == server);
        // A key that was given together with another server is not for this one.
        let key = levels.iter().find_map(|(of, key)| key.filter(|_| of.is_none_or(same)));
        match key {
            Some(key) => Ok((server, Secret::new(key.to_owned()))),
            None => bail!(
                "there is no key for {server}: save one with `hookmill login --server {server}`, or give --key or \
                 HOOKMILL_KEY"
            ),
        }
    }

    /// The gateway of a key that is to be saved, as a profile that is named or not.
    pub(super) fn server_to_save(&self, named: Option<&str>, profiles: &Profiles) -> anyhow::Result<Url> {
        self.choose_server(&Said::by_environment(), named, profiles)
    }

    /// In the order of `choose`; but a profile that is not there yet is no mistake.
    fn choose_server(&self, said: &Said, named: Option<&str>, profiles: &Profiles) -> anyhow::Result<Url> {
        let named = named.and_then(|name| profiles.get(name));
        let in_use = profiles.chosen(said.profile.as_deref()).ok().flatten();
        let levels = [
            self.server.as_deref(),
            named.map(|profile| profile.server.as_str()),
            said.server.as_deref(),
            in_use.map(|profile| profile.server.as_str()),
        ];
        read_server(levels.into_iter().flatten().next().unwrap_or(USUAL_SERVER))
    }
}

/// A server as people write it, with a slash at its end.
pub(super) fn read_server(text: &str) -> anyhow::Result<Url> {
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    match Url::parse(&with_scheme) {
        Ok(mut url) if ["http", "https"].contains(&url.scheme()) && url.has_host() && url.query().is_none() => {
            if !url.path().ends_with('/') {
                let path = format!("{}/", url.path());
                url.set_path(&path);
            }
            Ok(url)
        }
        _ => bail!("`{text}` is not the URL of a gateway; one is {USUAL_SERVER} or https://hooks.example.com"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(server: Option<&str>, key: Option<&str>) -> (Option<String>, Option<String>) {
        (server.map(str::to_owned), key.map(str::to_owned))
    }

    #[test]
    fn a_key_goes_only_where_it_belongs() {
        let (here, there) = ("http://127.0.0.1:8080", "https://hooks.example.com");
        let mut profiles = Profiles::default();
        profiles.put("there", Profile { server: there.to_owned(), key: Secret::new("profile's".to_owned()) });
        let none = (None, None);
        for (flags, environment, wanted) in [
            (none, none, Some((there, "profile's"))),
            (none, (None, Some("env")), Some((there, "env"))),
            ((None, Some("flag")), (None, Some("env")), Some((there, "flag"))),
            ((None, Some("flag")), (Some(here), Some("env")), Some((here, "flag"))),
            ((Some(there), None), none, Some((there, "profile's"))),
            ((Some("https://hooks.example.com/"), None), none, Some((there, "profile's"))),
            ((Some(here), None), none, None),
            ((Some(here), None), (Some(there), Some("env")), None),
            ((Some(here), None), (None, Some("env")), Some((here, "env"))),
            ((Some(here), None), (Some(here), Some("env")), Some((here, "env"))),
            (none, (Some(here), None), None),
            ((Some("hooks.example.com"), Some("k")), none, Some(("http://hooks.example.com", "k"))),
        ] {
            let (server, key) = pair(flags.0, flags.1);
            let reach = Reach { server, key, ..Reach::default() };
            let (server, key) = pair(environment.0, environment.1);
            let chosen = reach.choose(Said { server, key, profile: None }, &profiles);
            let wanted = wanted.map(|(server, key)| (format!("{server}/"), key.to_owned()));
            let chosen = chosen.ok().map(|(server, key)| (server.to_string(), key.expose().to_owned()));
            assert_eq!(chosen, wanted, "{flags:?} {environment:?}");
        }
    }

    #[test]
    fn a_named_profile_comes_before_the_environment() {
        let mut profiles = Profiles::default();
        profiles.put("a", Profile { server: "http://a".to_owned(), key: Secret::new("key a".to_owned()) });
        let said = Said {
            server: Some("http://b".to_owned()),
            key: Some("key b".to_owned()),
            profile: Some("nothing".to_owned()),
        };
        let reach = Reach { profile: Some("a".to_owned()), ..Reach::default() };
        let (server, key) = reach.choose(said.clone(), &profiles).unwrap();
        assert_eq!((server.as_str(), key.expose()), ("http://a/", "key a"));
        let missing = Reach::default().choose(said, &profiles).unwrap_err().to_string();
        assert!(missing.contains("`nothing`") && missing.contains("there is: a"), "{missing}");
    }

    #[test]
    fn a_key_is_saved_for_the_server_of_the_profile() {
        let mut profiles = Profiles::default();
        for (name, server) in [("in-use", "http://used"), ("other", "http://other")] {
            profiles.put(name, Profile { server: server.to_owned(), key: Secret::new("k".to_owned()) });
        }
        for (flag, named, environment, profile, wanted) in [
            (None, None, None, None, "http://used/"),
            (None, Some("new"), None, None, "http://used/"),
            (None, None, None, Some("other"), "http://other/"),
            (None, None, None, Some("new"), "http://127.0.0.1:8080/"),
            (None, None, Some("http://env"), Some("other"), "http://env/"),
            (None, Some("new"), Some("http://env"), None, "http://env/"),
            (None, Some("other"), Some("http://env"), None, "http://other/"),
            (Some("http://flag"), Some("other"), Some("http://env"), None, "http://flag/"),
        ] {
            let owned = |text: Option<&str>| text.map(str::to_owned);
            let reach = Reach { server: owned(flag), ..Reach::default() };
            let said = Said { server: owned(environment), key: None, profile: owned(profile) };
            let server = reach.choose_server(&said, named, &profiles).unwrap();
            assert_eq!(server.as_str(), wanted, "{flag:?} {named:?} {environment:?} {profile:?}");
        }
        let server = Reach::default().choose_server(&Said::default(), None, &Profiles::default()).unwrap();
        assert_eq!(server.as_str(), "http://127.0.0.1:8080/");
    }

    #[test]
    fn what_is_no_server() {
        for text in ["", "ftp://a", "http://", "http://a/?b", "two words"] {
            assert!(read_server(text).is_err(), "{text}");
        }
        assert_eq!(read_server("https://a/gate").unwrap().as_str(), "https://a/gate/");
    }
}
