//! Finding what is meant, or saying what there is.

use anyhow::bail;
use hyper::StatusCode;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::{Refused, Remote, plain, text};

/// All plugins that a gateway has for a tenant, for [`every`].
pub(in crate::cli) const PLUGINS: &str = "/v1/plugins?limit=200";
/// How many of what there is are named.
const NAMED: usize = 10;

/// What stands in a path as it is.
const IN_PATH: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b':').remove(b'@');

/// A part of a path.
pub(in crate::cli) fn segment(text: &str) -> String {
    utf8_percent_encode(text, IN_PATH).to_string()
}

/// The id of a subscription that is named by it, by its `uid` (with or without `uid:`) or by its name; an error names
/// those there are.
pub(in crate::cli) async fn find_subscription(remote: &Remote, word: &str) -> anyhow::Result<String> {
    let direct =
        if word.starts_with("sub_") || word.starts_with("uid:") { word.to_owned() } else { format!("uid:{word}") };
    let missing = match remote.get(&format!("/v1/subscriptions/{}", segment(&direct))).await {
        Ok(answer) => return Ok(text(&answer.json(), "id").to_owned()),
        // A word that is no id is no mistake: it may be a name.
        Err(error) if is_missing(&error) => error,
        Err(error) => return Err(error),
    };
    let all = every(remote, "/v1/subscriptions?limit=200").await?;
    let mut named = all.iter().filter(|one| text(one, "name") == word);
    match (named.next(), named.next()) {
        (Some(one), None) => Ok(text(one, "id").to_owned()),
        (Some(_), Some(_)) => {
            let ids: Vec<&str> =
                all.iter().filter(|one| text(one, "name") == word).map(|one| text(one, "id")).collect();
            bail!("several subscriptions are called `{word}`: name one by its id: {}", ids.join(", "))
        }
        (None, _) => {
            let there_is = listed(all.iter().map(called), "subscription");
            Err(in_words(missing, format!("there is no subscription `{word}`; {there_is}")))
        }
    }
}

/// What a subscription may be named by.
fn called(one: &Value) -> String {
    let also = [text(one, "uid"), text(one, "name")].into_iter().find(|name| !name.is_empty());
    also.map_or_else(|| text(one, "id").to_owned(), |also| format!("{} ({})", text(one, "id"), plain(also)))
}

/// `error`, with the newest deliveries where it is that there is no such one.
pub(in crate::cli) async fn missing_delivery(remote: &Remote, word: &str, error: anyhow::Error) -> anyhow::Error {
    if !is_missing(&error) {
        return error;
    }
    let newest = remote.get(&format!("/v1/deliveries?limit={NAMED}")).await.map(|answer| answer.json());
    let ids = newest.iter().flat_map(|page| page.get("data")).filter_map(Value::as_array).flatten();
    let there_is = listed(ids.map(|one| format!("{} ({})", text(one, "id"), text(one, "status"))), "delivery");
    in_words(error, format!("there is no delivery `{word}`; {there_is}"))
}

/// `error`, with the plugins there are where it is that there is no such one.
pub(in crate::cli) async fn missing_plugin(remote: &Remote, word: &str, error: anyhow::Error) -> anyhow::Error {
    if !is_missing(&error) {
        return error;
    }
    let all = every(remote, PLUGINS).await.unwrap_or_default();
    let there_is = listed(all.iter().map(|one| format!("{}@{}", text(one, "name"), text(one, "version"))), "plugin");
    in_words(error, format!("there is no plugin `{word}`; {there_is}"))
}

fn is_missing(error: &anyhow::Error) -> bool {
    // A 404 without a problem comes from something that is no gateway: that is said as it is.
    error
        .downcast_ref::<Refused>()
        .is_some_and(|refused| refused.status == StatusCode::NOT_FOUND && refused.problem.is_some())
}

/// A refusal in words that say all that its own do.
fn in_words(error: anyhow::Error, words: String) -> anyhow::Error {
    match error.downcast::<Refused>() {
        Ok(refused) => refused.in_words(words).into(),
        Err(error) => error.context(words),
    }
}

/// What there is, as far as it is not too many to be named.
pub(in crate::cli) fn listed(names: impl Iterator<Item = String>, what: &str) -> String {
    let names: Vec<String> = names.collect();
    match names.len() {
        0 => format!("there is no {what} at all"),
        count if count > NAMED => {
            format!("there are {count}, among them {}", names.get(..NAMED).unwrap_or_default().join(", "))
        }
        _ => format!("there is: {}", names.join(", ")),
    }
}

/// Every item of a list, page after page. `path` has a query already.
pub(in crate::cli) async fn every(remote: &Remote, path: &str) -> anyhow::Result<Vec<Value>> {
    let mut all = Vec::new();
    let mut next = String::new();
    loop {
        let mut page = remote.get(&format!("{path}{next}")).await?.json();
        if let Some(data) = page.get_mut("data").and_then(Value::as_array_mut) {
            all.append(data);
        }
        match page.get("next").and_then(Value::as_str) {
            Some(cursor) => next = format!("&cursor={cursor}"),
            None => return Ok(all),
        }
    }
}
