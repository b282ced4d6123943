//! What a plugin says of itself, held against the rules of `wit/plugin.wit`.

use std::ops::RangeInclusive;

use super::contract::Contract;
use super::error::InstallError;
use crate::domain::{AuthNeed, Interprets, Kind, Manifest, is_plugin_name};

/// Most hosts a manifest may name.
pub(super) const HOSTS: usize = 32;
/// Bytes of a config's schema.
pub(super) const SCHEMA: usize = 64 << 10;
/// Most OAuth scopes.
pub(super) const SCOPES: usize = 32;

/// Checks every field of what a component of this kind, built for this contract, says.
pub(super) fn check(manifest: &Manifest, world: Kind, contract: Contract) -> Result<(), InstallError> {
    let named = Contract::named(&manifest.contract)?;
    rule("contract", named == contract, "must be the version that it was built for")?;
    rule("name", is_plugin_name(&manifest.name), "must be 1 to 64 of a-z 0-9 -, beginning with a letter")?;
    rule("version", is_semver(&manifest.version), "must be a semantic version such as 1.2.0")?;
    rule("title", is_line(&manifest.title, 1..=80), "must be one line of 1 to 80 characters")?;
    rule("description", manifest.description.chars().count() <= 2_000, "must be at most 2,000 characters")?;
    rule("kind", manifest.kind == world, "must be that of the world it was built for")?;
    rule("config-schema", manifest.config_schema.len() <= SCHEMA, "must be at most 65,536 bytes")?;
    rule("config-schema", is_object(&manifest.config_schema), "must be a JSON Schema: the text of a JSON object")?;
    rule("hosts", manifest.hosts.len() <= HOSTS, "must be at most 32")?;
    rule("hosts", manifest.hosts.iter().all(|host| is_host(host)), "must be exact lower-case names such as slack.com")?;
    auth(&manifest.auth)?;
    rule("batching", manifest.batching.max_events >= 1, "must allow at least one event")?;
    let idempotency = manifest.idempotency.as_deref().is_none_or(|name| is_line(name, 1..=128));
    rule("idempotency", idempotency, "must be a name of 1 to 128 characters, or absent")?;
    let rate = manifest.rate.is_none_or(|rate| rate.max >= 1 && rate.per_ms >= 1);
    rule("rate", rate, "must allow at least one request in at least a millisecond")?;
    if world == Kind::Transform {
        rule("hosts", manifest.hosts.is_empty(), "must be empty: a transform sends nothing")?;
        rule("auth", manifest.auth == AuthNeed::None, "must be none: a transform sends nothing")?;
        rule("interprets", manifest.interprets == Interprets::Never, "must be never: a transform sends nothing")?;
    }
    Ok(())
}

fn rule(field: &'static str, holds: bool, problem: &str) -> Result<(), InstallError> {
    if holds { Ok(()) } else { Err(InstallError::Manifest { field: field.to_owned(), problem: problem.to_owned() }) }
}

fn auth(auth: &AuthNeed) -> Result<(), InstallError> {
    let AuthNeed::GoogleServiceAccount { config_field, scopes } = auth else { return Ok(()) };
    rule("auth", is_pointer(config_field), "must name a config field by a JSON Pointer such as /service_account")?;
    let scoped = (1..=SCOPES).contains(&scopes.len()) && scopes.iter().all(|scope| is_line(scope, 1..=256));
    rule("auth", scoped, "must name 1 to 32 scopes")
}

fn is_line(text: &str, length: RangeInclusive<usize>) -> bool {
    length.contains(&text.chars().count()) && !text.chars().any(char::is_control) && text.trim() == text
}

fn is_object(text: &str) -> bool {
    serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).is_ok()
}

/// RFC 6901: empty, or tokens that each begin with `/`, where `~` is followed by 0 or 1. The empty pointer is
/// the whole config, which is no key file.
fn is_pointer(text: &str) -> bool {
    text.starts_with('/') && text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']))
}

/// A DNS name of at least two labels, as URLs write it, for it is compared with theirs. An address is none, however
/// it is spelled: `127.0.0.0x1` is one.
fn is_host(host: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let named = matches!(url::Host::parse(host), Ok(url::Host::Domain(domain)) if domain == host);
    host.len() <= 253 && host.contains('.') && host.split('.').all(label) && named
}

/// <https://semver.org/spec/v2.0.0.html>, at most 64 characters.
fn is_semver(text: &str) -> bool {
    let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
    let (core, pre) = text.split_once('-').map_or((text, None), |(core, pre)| (core, Some(pre)));
    let identifier = |id: &str| !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let digits = |id: &str| id.bytes().all(|b| b.is_ascii_digit());
    let number = |id: &str| !id.is_empty() && digits(id) && (id == "0" || !id.starts_with('0'));
    text.len() + build.map_or(0, str::len) <= 64
        && core.split('.').count() == 3
        && core.split('.').all(number)
        && pre.is_none_or(|pre| pre.split('.').all(|id| identifier(id) && (!digits(id) || number(id))))
        && build.is_none_or(|build| build.split('.').all(identifier))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A check, texts that pass it, and texts that don't.
    type Case<'a> = (fn(&str) -> bool, &'a [&'a str], &'a [&'a str]);

    #[test]
    fn texts() {
        let long = "a".repeat(64);
        let cases: [Case<'_>; 4] = [
            (is_plugin_name, &["a", "slack", "a-1", &long], &["", "1a", "-a", "A", "a_b", "ä", &format!("{long}a")]),
            (
                is_semver,
                &["0.0.0", "1.2.3", "10.20.30", "1.0.0-alpha.1", "1.0.0-0.3.7", "1.0.0+build.01", "1.0.0-x-y+z"],
                &["", "1", "1.2", "1.2.3.4", "01.2.3", "1.2.3-", "1.2.3-01", "1.2.3+", "1.2.3-a..b", "v1.2.3", "1.2.x"],
            ),
            (
                is_host,
                &["slack.com", "sheets.googleapis.com", "a-b.c1"],
                &[
                    "",
                    "slack",
                    "Slack.com",
                    "*.slack.com",
                    ".com",
                    "a..b",
                    "127.0.0.1",
                    "127.0.0.0x1",
                    "a.0x1",
                    "xn--.com",
                    "-a.com",
                    "a-.com",
                    "a.com:1",
                ],
            ),
            (is_pointer, &["/a", "/a/b~0~1", "/"], &["", "a", "/~", "/~2"]),
        ];
        for (check, good, bad) in cases {
            good.iter().for_each(|text| assert!(check(text), "{text:?}"));
            bad.iter().for_each(|text| assert!(!check(text), "{text:?}"));
        }
    }
}
