//! Redact: masks or hashes what a receiver should not see.
//!
//! **What is promised.** Every value a path names is replaced, all of them if a name stands there twice,
//! and nothing else changes by a byte: not the spelling of a number, not the order of keys, not the white
//! space. A path that names nothing is no error, since events differ.
//!
//! **What is not.** `hash` gives the same word for the same value, so that a receiver can still join and
//! count. It is not secret: whoever guesses a value can check the guess, and an e-mail address or a phone
//! number is soon guessed. The salt stands in the config and only keeps your hashes apart from someone
//! else's; a secret salt is not possible, since a plugin never sees a secret. Mask what must not be known.

use hookmill_plugin::json::{self, Document, Kind, Node, quote};
use hookmill_plugin::path::Path;
use hookmill_plugin::prelude::*;
use sha2::{Digest, Sha256};

/// The settings.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What to hide, as JSONPath: `$.data.customer.email`, `$..email` at any depth, `$.attributes['x-user']`. Without `$` a path starts inside the data.
    #[schemars(length(min = 1))]
    paths: Vec<String>,
    /// `mask` hides the value, `hash` replaces it by the SHA-256 of salt and value in hexadecimal.
    #[serde(default)]
    mode: Mode,
    /// What a masked value becomes.
    #[serde(default = "stars")]
    mask: String,
    /// Masked texts and numbers keep this many characters at their end, if that is at most half of them.
    #[serde(default)]
    keep_last: u32,
    /// Goes before the value when hashing. It is not a secret.
    #[serde(default)]
    salt: String,
}

/// How a value is hidden.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Mode {
    #[default]
    Mask,
    Hash,
}

fn stars() -> String {
    "***".to_owned()
}

/// The transform.
#[derive(Debug)]
pub struct Redact;

impl Transform for Redact {
    type Config = Config;

    const MANIFEST: Manifest = Manifest::transform("redact", env!("CARGO_PKG_VERSION")).title("Redact").description(
        "Hides values of an event before it goes on: masks them, keeping the last characters if wanted, or replaces \
         them by a hash that still joins. Changes nothing but the paths it is given.",
    );

    fn transform(mut event: Event, config: &Config) -> Result<Decision, Fault> {
        let document = Document::parse(event.data.as_str())?;
        let (mut values, mut attributes) = (Vec::new(), Vec::new());
        for text in &config.paths {
            let path = Path::parse(text).map_err(|fault| Fault::new(format!("paths: {}", fault.message)))?;
            let (in_data, in_attributes) = (path.within("data"), path.within("attributes"));
            if in_data.is_none() && in_attributes.is_none() {
                return Err(Fault::new(format!(
                    "paths: `{text}` leads neither into `$.data` nor into `$.attributes`, the parts that can be redacted"
                )));
            }
            if let Some(path) = in_data {
                values.extend(path.select(document.root()));
            }
            attributes.extend(in_attributes);
        }
        if !attributes.is_empty() {
            redact_attributes(&mut event, &attributes, config)?;
        }
        event.data = json::replace(&document, &values, |node| hidden(node, config));
        Ok(event.into())
    }
}

hookmill_plugin::transform!(Redact, emptied);

fn redact_attributes(event: &mut Event, paths: &[Path], config: &Config) -> Result<(), Fault> {
    let document = event.document()?;
    let Some(all) = document.root().get("attributes") else { return Ok(()) };
    let found: Vec<usize> = paths.iter().flat_map(|path| path.select(all)).collect();
    let whole = found.contains(&all.index());
    for (node, (_, value)) in all.children().zip(&mut event.attributes) {
        if whole || found.contains(&node.index()) {
            *value = hide(value, config);
        }
    }
    Ok(())
}

/// What a value becomes, as JSON. `null` hides nothing and stays.
fn hidden(node: Node<'_>, config: &Config) -> String {
    match node.kind() {
        Kind::Null => "null".to_owned(),
        Kind::String => quote(&hide(&node.as_str().unwrap_or_default(), config)),
        Kind::Number => quote(&hide(node.raw(), config)),
        // Parts of JSON text are no use to anyone, and might be the very thing to hide.
        _ if config.mode == Mode::Mask => quote(&config.mask),
        _ => quote(&hide(node.raw(), config)),
    }
}

fn hide(text: &str, config: &Config) -> String {
    if config.mode == Mode::Hash {
        let digest = Sha256::new().chain_update(&config.salt).chain_update(text).finalize();
        return digest
            .iter()
            .flat_map(|byte| [byte >> 4, byte & 15])
            .filter_map(|half| char::from_digit(half.into(), 16))
            .collect();
    }
    let keep = config.keep_last as usize;
    let count = text.chars().count();
    if keep == 0 || keep > count / 2 {
        return config.mask.clone();
    }
    config.mask.chars().chain(text.chars().skip(count - keep)).collect()
}

#[cfg(test)]
mod tests;
