//! Receivers: code that verifies what a scheme signs, in the languages people receive with.
//!
//! A template per language (`receiver/`) is a whole program; what differs between schemes is filled in: `@NAME@` by an
//! expression, `@if NAME` … `@end` by its lines or by nothing. What a client wrote (literals, the URL, header names)
//! goes in only as a quoted text of that language.

use std::fmt::Write as _;

use serde::Deserialize;

use super::claim::Grammar;
use super::key::Hash;
use super::scheme::{Family, Layout, Scheme};
use super::template::{Piece, Placeholder, Template};
use super::time::Written;
use crate::domain::{Encoding, SecretDecoding};

/// A language that receivers are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// JavaScript for Node.js.
    #[default]
    Node,
    /// Python.
    Python,
    /// Go.
    Go,
    /// PHP.
    Php,
    /// Ruby.
    Ruby,
    /// Rust.
    Rust,
}

/// A program that verifies what one scheme signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receiver {
    /// What the file may be called.
    pub filename: &'static str,
    /// The program.
    pub code: String,
    /// How it is tried on one request.
    pub run: &'static str,
    /// What else there is to know.
    pub notes: Vec<String>,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Node, Self::Python, Self::Go, Self::Php, Self::Ruby, Self::Rust];

    /// Its name in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Python => "python",
            Self::Go => "go",
            Self::Php => "php",
            Self::Ruby => "ruby",
            Self::Rust => "rust",
        }
    }

    fn template(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Node => ("verify.js", "node verify.js < request.json", include_str!("receiver/node.js")),
            Self::Python => ("verify.py", "python3 verify.py < request.json", include_str!("receiver/python.py")),
            Self::Go => ("verify.go", "go run verify.go < request.json", include_str!("receiver/go.go")),
            Self::Php => ("verify.php", "php verify.php < request.json", include_str!("receiver/php.php")),
            Self::Ruby => ("verify.rb", "ruby verify.rb < request.json", include_str!("receiver/ruby.rb")),
            Self::Rust => ("main.rs", "cargo run < request.json", include_str!("receiver/rust.rs")),
        }
    }

    /// A text as a literal of this language. Double quotes in all of them, and nothing in them is ever filled in.
    fn quoted(self, text: &str) -> String {
        let mut quoted = String::with_capacity(text.len() + 2);
        quoted.push('"');
        for c in text.chars() {
            match c {
                '\\' | '"' => quoted.extend(['\\', c]),
                '\n' => quoted.push_str("\\n"),
                '\r' => quoted.push_str("\\r"),
                '\t' => quoted.push_str("\\t"),
                // `$name` and `#{…}` would be filled in.
                '$' if self == Self::Php => quoted.push_str("\\$"),
                '#' if self == Self::Ruby => quoted.push_str("\\#"),
                // Invisible characters in a literal are an error there.
                c if self == Self::Rust && !c.is_ascii() && !c.is_alphanumeric() => quoted.extend(c.escape_unicode()),
                c if c.is_ascii_control() => {
                    let _ = write!(quoted, "\\x{:02x}", u32::from(c));
                }
                c => quoted.push(c),
            }
        }
        quoted.push('"');
        quoted
    }

    /// A variable of the template.
    fn variable(self, name: &str) -> String {
        if self == Self::Php { format!("${name}") } else { name.to_owned() }
    }

    /// The value of a header that is not a signature's.
    fn header(self, name: &str) -> String {
        let name = self.quoted(name);
        match self {
            Self::Node | Self::Python | Self::Rust => format!("header({name})"),
            Self::Php => format!("$header({name})"),
            Self::Go => format!("headers[{name}]"),
            Self::Ruby => format!("headers[{name}].to_s"),
        }
    }

    /// What a pattern finds in the signature's header.
    fn found(self, pattern: &str) -> String {
        format!("first({}, {}[0])", self.quoted(pattern), self.variable("values"))
    }

    /// The variable `timestamp` as what the template counts with.
    fn seconds(self, written: Written) -> &'static str {
        match (self, written) {
            (Self::Node, Written::Seconds) => "Number(timestamp)",
            (Self::Node, Written::Milliseconds) => "Number(timestamp) / 1000",
            (Self::Node, Written::Rfc3339 | Written::HttpDate) => "Date.parse(timestamp) / 1000",
            (Self::Python, Written::Seconds) => "int(timestamp)",
            (Self::Python, Written::Milliseconds) => "int(timestamp) / 1000",
            (Self::Python, Written::Rfc3339) => {
                "datetime.fromisoformat(timestamp.replace(\"Z\", \"+00:00\")).timestamp()"
            }
            (Self::Python, Written::HttpDate) => "parsedate_to_datetime(timestamp).timestamp()",
            (Self::Go, Written::Seconds) => "unix(timestamp, 1)",
            (Self::Go, Written::Milliseconds) => "unix(timestamp, 1000)",
            (Self::Go, Written::Rfc3339) => "time.Parse(time.RFC3339, timestamp)",
            (Self::Go, Written::HttpDate) => "time.Parse(\"Mon, 02 Jan 2006 15:04:05 GMT\", timestamp)",
            (Self::Php, Written::Seconds) => "(int) $timestamp",
            (Self::Php, Written::Milliseconds) => "intdiv((int) $timestamp, 1000)",
            (Self::Php, Written::Rfc3339 | Written::HttpDate) => "(int) strtotime($timestamp)",
            (Self::Ruby, Written::Seconds) => "Integer(timestamp, 10)",
            (Self::Ruby, Written::Milliseconds) => "Integer(timestamp, 10) / 1000",
            (Self::Ruby, Written::Rfc3339) => "Time.iso8601(timestamp).to_i",
            (Self::Ruby, Written::HttpDate) => "Time.httpdate(timestamp).to_i",
            (Self::Rust, Written::Seconds) => "timestamp.parse().ok()",
            (Self::Rust, Written::Milliseconds) => "timestamp.parse().ok().map(|ms: i64| ms / 1000)",
            (Self::Rust, Written::Rfc3339) => "timestamp.parse().ok().map(|at: jiff::Timestamp| at.as_second())",
            (Self::Rust, Written::HttpDate) => {
                "jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(timestamp).ok().map(|at| at.as_second())"
            }
        }
    }

    /// The secret's text as the key.
    fn key(self, decode: SecretDecoding) -> &'static str {
        match (self, decode) {
            (Self::Python, SecretDecoding::Utf8) => "text.encode()",
            (Self::Python, SecretDecoding::Base64) => "base64.b64decode(text + \"==\")",
            (Self::Python, SecretDecoding::Hex) => "bytes.fromhex(text)",
            (Self::Php, SecretDecoding::Base64) => "base64_decode($text)",
            (Self::Php, SecretDecoding::Hex) => "hex2bin($text)",
            (Self::Php, SecretDecoding::Utf8) => "$text",
            (Self::Ruby, SecretDecoding::Base64) => "text.unpack1('m')",
            (Self::Ruby, SecretDecoding::Hex) => "[text].pack('H*')",
            // These say it in the template.
            (Self::Ruby | Self::Node | Self::Go | Self::Rust, _) => "text",
        }
    }

    /// The bytes `mac` as they are written on the request.
    fn encoded(self, encoding: Encoding) -> &'static str {
        match (self, encoding) {
            (Self::Python, Encoding::Hex) => "mac.hexdigest()",
            (Self::Python, Encoding::Base64) => "base64.b64encode(mac.digest()).decode()",
            (Self::Python, Encoding::Base64url) => "base64.urlsafe_b64encode(mac.digest()).decode().rstrip(\"=\")",
            (Self::Php, Encoding::Hex) => "bin2hex($mac)",
            (Self::Php, Encoding::Base64) => "base64_encode($mac)",
            (Self::Php, Encoding::Base64url) => "rtrim(strtr(base64_encode($mac), '+/', '-_'), '=')",
            (Self::Ruby, Encoding::Hex) => "mac.unpack1('H*')",
            (Self::Ruby, Encoding::Base64) => "[mac].pack('m0')",
            (Self::Ruby, Encoding::Base64url) => "[mac].pack('m0').tr('+/', '-_').delete('=')",
            (Self::Node | Self::Go | Self::Rust, _) => "",
        }
    }

    /// The text `signature` as bytes.
    fn decoded(self, encoding: Encoding) -> &'static str {
        match (self, encoding) {
            (Self::Python, Encoding::Hex) => "bytes.fromhex(signature)",
            (Self::Python, Encoding::Base64) => "base64.b64decode(signature)",
            (Self::Python, Encoding::Base64url) => "base64.urlsafe_b64decode(signature + \"==\")",
            (Self::Php, Encoding::Hex) => "(string) hex2bin($signature)",
            (Self::Php, Encoding::Base64) => "base64_decode($signature)",
            (Self::Php, Encoding::Base64url) => "base64_decode(strtr($signature, '-_', '+/'))",
            (Self::Ruby, Encoding::Hex) => "[signature].pack('H*')",
            (Self::Ruby, Encoding::Base64) => "signature.unpack1('m')",
            (Self::Ruby, Encoding::Base64url) => "signature.tr('-_', '+/').unpack1('m')",
            (Self::Node | Self::Go | Self::Rust, _) => "",
        }
    }
}

impl Scheme {
    /// A program that verifies what this scheme signs for `url`, which may be cut because it is a credential; `None` if
    /// it signs nothing, or the parameters of a form, which the programs do not read.
    #[must_use]
    pub fn receiver(&self, language: Language, url: &str, is_cut: bool) -> Option<Receiver> {
        let layout = self.layout().filter(|layout| !layout.content.has(Placeholder::Form))?;
        let (filename, run, template) = language.template();
        let parts = layout.parts_for(language, url)?;
        let is_ed25519 = matches!(layout.family, Family::Asymmetric);
        let has_time = layout.content.has(Placeholder::Timestamp);
        let cut = is_cut && layout.content.has(Placeholder::Url);
        let wanted = |name: &str| match name {
            "timestamp" => has_time,
            "untimed" => !has_time,
            "calendar" => has_time && matches!(layout.written, Written::Rfc3339 | Written::HttpDate),
            "cut" => cut,
            "id" => layout.content.has(Placeholder::Id),
            "ed25519" => is_ed25519,
            _ => !is_ed25519,
        };
        let mut notes = vec![match is_ed25519 {
            true => "Set HOOKMILL_SECRET to the subscription's `public_key`.".to_owned(),
            false => "Set HOOKMILL_SECRET to the subscription's secret, and during a rotation HOOKMILL_SECRET_NEXT to \
                      the next one."
                .to_owned(),
        }];
        notes.push(
            "request.json is {\"method\": …, \"headers\": {…}, \"body\": base64}, header names in lower case."
                .to_owned(),
        );
        if is_ed25519 && language == Language::Python {
            notes.push("Python's standard library has no Ed25519: `pip install cryptography`.".to_owned());
        }
        if language == Language::Rust {
            notes.push(
                "The file is `src/main.rs` of a package; its first lines say what `Cargo.toml` needs.".to_owned(),
            );
        }
        if cut {
            notes.push(
                "The URL is part of what is signed, and it is a credential: in the program it is cut. Put in the whole one, as \
                 the subscription has it."
                    .to_owned(),
            );
        } else if layout.content.has(Placeholder::Url) {
            notes.push(
                "The URL is part of what is signed, as the subscription has it, not as the server sees it.".to_owned(),
            );
        }
        Some(Receiver { filename, code: fill(template, wanted, &parts), run, notes })
    }
}

impl Layout {
    /// What stands for each `@NAME@`.
    fn parts_for(&self, language: Language, url: &str) -> Option<Vec<(&'static str, String)>> {
        let carrier = self.carriers.first()?;
        let name = carrier.header.as_str();
        let mut headers = language.quoted(name);
        if let Some(beside) = self.carriers.get(1).filter(|_| self.rotates_beside) {
            let _ = write!(headers, ", {}", language.quoted(beside.header.as_str()));
        }
        let stated = |named: Option<&http::HeaderName>, placeholder| match named {
            Some(header) => language.header(header.as_str()),
            None => language.found(&self.pattern(placeholder)),
        };
        let (hash, prefix, decode) = match &self.family {
            Family::Hmac(hash, form) => (*hash, form.strip_prefix.as_deref().unwrap_or_default(), form.decode),
            _ => (Hash::Sha256, "whsec_", SecretDecoding::Base64),
        };
        let (hash, package, constructor, library, kind) = match hash {
            Hash::Sha1 => ("sha1", "sha1", "sha1.New", "sha1", "Sha1"),
            Hash::Sha256 => ("sha256", "sha256", "sha256.New", "sha2", "Sha256"),
            Hash::Sha512 => ("sha512", "sha512", "sha512.New", "sha2", "Sha512"),
        };
        let decode_name = match decode {
            SecretDecoding::Utf8 => "utf8",
            SecretDecoding::Base64 => "base64",
            SecretDecoding::Hex => "hex",
        };
        let encoding = match self.encoding {
            Encoding::Hex => "hex",
            Encoding::Base64 => "base64",
            Encoding::Base64url => "base64url",
        };
        let needs =
            if self.family == Family::Asymmetric { ", and the package cryptography" } else { ", and nothing else" };
        Some(vec![
            ("HEADERS", headers),
            ("HEADER", language.quoted(name)),
            ("TIMESTAMP", stated(carrier.timestamp_headers.first(), Placeholder::Timestamp)),
            ("SECONDS", language.seconds(self.written).to_owned()),
            ("ID", stated(carrier.id_header.as_ref(), Placeholder::Id)),
            ("CONTENT", self.content_in(language, url)),
            ("SIGNATURE", language.quoted(&self.pattern(Placeholder::Signature))),
            ("HASH", hash.to_owned()),
            ("GO_HASH", package.to_owned()),
            ("GO_NEW", constructor.to_owned()),
            ("RUST_CRATE", library.to_owned()),
            ("RUST_HASH", kind.to_owned()),
            ("PREFIX", language.quoted(prefix)),
            ("DECODE", decode_name.to_owned()),
            ("KEY", language.key(decode).to_owned()),
            ("ENCODING", encoding.to_owned()),
            ("ENCODED", language.encoded(self.encoding).to_owned()),
            ("DECODED", language.decoded(self.encoding).to_owned()),
            ("PYTHON_NEEDS", needs.to_owned()),
        ])
    }

    /// What is signed, as a list's items.
    fn content_in(&self, language: Language, url: &str) -> String {
        let items = self.content.pieces().iter().map(|piece| {
            let item = match piece {
                Piece::Literal(text) => language.quoted(text),
                Piece::Header(name) => language.header(name.as_str()),
                Piece::Of(Placeholder::Url) => language.quoted(url),
                Piece::Of(Placeholder::Body) if language == Language::Go => "string(body)".to_owned(),
                Piece::Of(Placeholder::Body) if language == Language::Rust => return "&request.body".to_owned(),
                Piece::Of(Placeholder::Method) if language == Language::Rust => "request.method".to_owned(),
                Piece::Of(placeholder) => language.variable(placeholder.name()),
            };
            if language == Language::Rust { format!("{item}.as_bytes()") } else { item }
        });
        items.collect::<Vec<_>>().join(", ")
    }

    /// A regular expression, in the part of the notation that all languages share, whose one group is what stands for
    /// `wanted` in the signature's header.
    fn pattern(&self, wanted: Placeholder) -> String {
        match &self.grammar {
            Grammar::Versions if self.family == Family::Asymmetric => "(?:^| )v1a,([^ ]+)".to_owned(),
            Grammar::Versions => "(?:^| )v1,([^ ]+)".to_owned(),
            Grammar::Fields { separator, signature, timestamp, id } => {
                let field = match wanted {
                    Placeholder::Timestamp => timestamp.as_deref().unwrap_or_default(),
                    Placeholder::Id => id.as_deref().unwrap_or_default(),
                    _ => signature,
                };
                let stop = escaped(&char::from(*separator).to_string());
                format!("(?:^|{stop}) *{}=([^{stop} ]+)", escaped(field))
            }
            Grammar::Sequence => sequence(&self.value, wanted),
        }
    }
}

fn sequence(value: &Template, wanted: Placeholder) -> String {
    let mut pattern = "^".to_owned();
    let mut pieces = value.pieces().iter().peekable();
    while let Some(piece) = pieces.next() {
        match piece {
            Piece::Literal(text) => pattern.push_str(&escaped(text)),
            Piece::Of(placeholder) => {
                let stop = match pieces.peek() {
                    Some(Piece::Literal(text)) => text.chars().next().map(|c| escaped(&c.to_string())),
                    _ => None,
                };
                let some = stop.map_or_else(|| ".+".to_owned(), |stop| format!("[^{stop}]+"));
                let _ = if *placeholder == wanted { write!(pattern, "({some})") } else { write!(pattern, "{some}") };
            }
            Piece::Header(_) => {}
        }
    }
    pattern.push('$');
    pattern
}

fn escaped(text: &str) -> String {
    // In some notations `\\<` is where a word begins.
    let special = |c: char| c.is_ascii_punctuation() && !matches!(c, '_' | '<' | '>');
    text.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

/// Fills a template in, in one pass: what is filled in is not read again.
fn fill(template: &str, wanted: impl Fn(&str) -> bool, parts: &[(&'static str, String)]) -> String {
    let mut filled = String::with_capacity(template.len() + 256);
    let mut shown = true;
    for line in template.lines() {
        if let Some(name) = line.strip_prefix("@if ") {
            shown = wanted(name);
        } else if line == "@end" {
            shown = true;
        } else if shown {
            let mut rest = line;
            while let Some((before, name, after)) = token(rest) {
                filled.push_str(before);
                match parts.iter().find(|(known, _)| *known == name) {
                    Some((_, value)) => filled.push_str(value),
                    None => debug_assert!(false, "the template has an unknown @{name}@"),
                }
                rest = after;
            }
            filled.push_str(rest);
            filled.push('\n');
        }
    }
    filled
}

/// The first `@NAME@`, with what is before and behind it.
fn token(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once('@')?;
    let (name, after) = rest.split_once('@')?;
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    is_name.then_some((before, name, after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Signing;

    fn scheme(text: &str) -> Scheme {
        let signing: Signing = serde_json::from_str(text).unwrap();
        Scheme::for_delivery(&signing).unwrap()
    }

    /// That the programs run is shown end to end; here: nothing of a client's gets out of its quotes.
    #[test]
    fn what_a_client_wrote_stays_a_literal() {
        let scheme = scheme(
            r##"{"scheme": "hmac", "header": "X-'`$A", "content": "{url}\"; evil($x #$y #@z\\\n@BODY@{body}",
                "value": "v=\"#{signature}"}"##,
        );
        for language in Language::ALL {
            let code = scheme.receiver(language, "https://a.example/?\"+evil()+\"@HASH@", false).unwrap().code;
            let (dollar, hash) = match language {
                Language::Php => ("\\$", "#"),
                Language::Ruby => ("$", "\\#"),
                _ => ("$", "#"),
            };
            let url = r#""https://a.example/?\"+evil()+\"@HASH@""#;
            let bytes = if language == Language::Rust { ".as_bytes()" } else { "" };
            let literal = format!(r#"{url}{bytes}, "\"; evil({dollar}x {hash}{dollar}y {hash}@z\\\n@BODY@"{bytes}, "#);
            assert!(code.contains(&literal), "{language:?}: {literal} in {code}");
            assert!(code.contains(&format!("\"x-'`{dollar}a\"")), "{language:?}: {code}");
        }
    }

    #[test]
    fn what_signs_nothing_has_no_receiver() {
        assert_eq!(scheme(r#"{"scheme": "none"}"#).receiver(Language::Node, "https://a.example", false), None);
        let form = scheme(r#"{"scheme": "hmac", "header": "x-a", "content": "{url}{form}"}"#);
        assert_eq!(form.receiver(Language::Node, "https://a.example", false), None);
    }

    #[test]
    fn a_url_that_is_cut_is_said_to_be() {
        let signs_url = scheme(r#"{"scheme": "hmac", "header": "x-a", "content": "{url}{body}"}"#);
        let without = scheme(r#"{"scheme": "hmac", "header": "x-a"}"#);
        for language in Language::ALL {
            for (scheme, is_cut, said) in
                [(&signs_url, true, true), (&signs_url, false, false), (&without, true, false)]
            {
                let receiver = scheme.receiver(language, "https://hooks.slack.com/…", is_cut).unwrap();
                assert_eq!(receiver.code.contains("cut here: put in the whole one"), said, "{}", receiver.code);
                assert_eq!(receiver.notes.iter().any(|note| note.contains("is cut")), said, "{:?}", receiver.notes);
            }
        }
    }

    #[test]
    fn in_rust_the_crates_that_are_used_are_named() {
        let all = ["base64", "ed25519-dalek", "hex", "hmac", "jiff", "regex", "serde_json", "sha1", "sha2"];
        for text in [
            r#"{"scheme": "standard"}"#,
            r#"{"scheme": "standard", "algorithm": "ed25519"}"#,
            r#"{"scheme": "hmac", "header": "x-a", "algorithm": "sha1"}"#,
            r#"{"scheme": "hmac", "header": "x-a", "content": "{timestamp}{body}",
                "timestamp": {"header": "x-time", "format": "http_date"}}"#,
        ] {
            let code = scheme(text).receiver(Language::Rust, "https://a.example", false).unwrap().code;
            let (head, program): (Vec<&str>, Vec<&str>) = code.lines().partition(|line| line.starts_with("//!"));
            for name in all {
                let listed = head.iter().any(|line| line.starts_with(&format!("//! {name} = ")));
                let path = format!("{}::", name.replace('-', "_"));
                let used = program.iter().any(|line| line.contains(&path));
                assert_eq!(listed, used, "{name} in {code}");
            }
        }
    }

    #[test]
    fn patterns_find_what_values_say() {
        for (value, wanted, pattern) in [
            ("{signature}", Placeholder::Signature, "^(.+)$"),
            ("sha256={signature}", Placeholder::Signature, r"(?:^|\,) *sha256=([^\, ]+)"),
            ("t={timestamp},v1={signature}", Placeholder::Timestamp, r"(?:^|\,) *t=([^\, ]+)"),
            ("ts={timestamp};h1={signature}", Placeholder::Signature, r"(?:^|\;) *h1=([^\; ]+)"),
            ("HMAC {signature}:{id}", Placeholder::Signature, r"^HMAC ([^\:]+)\:.+$"),
        ] {
            let text = serde_json::json!({
                "scheme": "hmac", "header": "x-a", "value": value,
                "content": if value.contains("{timestamp}") { "{timestamp}{body}" } else { "{body}" },
            });
            let scheme = scheme(&text.to_string());
            assert_eq!(scheme.layout().unwrap().pattern(wanted), pattern, "{value}");
        }
    }
}
