//! Regular expressions that cannot run away: small programs, linear time, compiled when a filter is saved.

use regex::{Regex, RegexBuilder};

use super::budget::{Steps, TooExpensive};

/// The longest pattern, in bytes.
const MAX_PATTERN: usize = 1024;
/// The sizes of compiled programs that are told apart, in KiB. The last is the limit: `((a{100}){100}){100}`
/// would otherwise take megabytes for twenty characters. It leaves room for an address with three `\w+`, each of
/// which is every letter of Unicode.
const PROGRAMS_KIB: [usize; 4] = [4, 16, 64, 256];

/// A compiled regular expression that knows what it costs.
#[derive(Debug, Clone)]
pub(super) struct Bounded {
    regex: Regex,
    program_kib: usize,
}

impl Bounded {
    /// Whether it matches somewhere in a text (or wherever it is anchored).
    pub(super) fn is_match(&self, text: &str, steps: &Steps) -> Result<bool, TooExpensive> {
        steps.spend_regex(text.len(), self.program_kib)?;
        Ok(self.regex.is_match(text))
    }
}

/// Why a pattern is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegexError {
    /// Longer than 1 KiB.
    #[error("a regular expression has at most {MAX_PATTERN} bytes, this one has {0}")]
    TooLong(usize),
    /// Repetitions or classes make it too large.
    #[error("the regular expression is too large when compiled (over 256 KiB): repeat less, or smaller parts")]
    TooLarge,
    /// It cannot be read.
    #[error("not a regular expression: {0}")]
    Syntax(String),
    /// It is not an I-Regexp.
    #[error("not an I-Regexp (RFC 9485): {0}")]
    Interoperable(&'static str),
}

/// Compiles a pattern in the `regex` crate's syntax; it may match anywhere in a text.
pub(super) fn compile(pattern: &str) -> Result<Bounded, RegexError> {
    if pattern.len() > MAX_PATTERN {
        return Err(RegexError::TooLong(pattern.len()));
    }
    build(pattern)
}

/// Compiles an I-Regexp (RFC 9485), the syntax of JSONPath's `match` (the `whole` text) and `search`
/// (anywhere in it). `^` and `$` are ordinary characters there, and there is no `\d`: write `[0-9]`.
pub(super) fn compile_interoperable(pattern: &str, whole: bool) -> Result<Bounded, RegexError> {
    if pattern.len() > MAX_PATTERN {
        return Err(RegexError::TooLong(pattern.len()));
    }
    let translated = translate(pattern)?;
    build(&if whole { format!("\\A(?:{translated})\\z") } else { translated })
}

/// Compiles within the smallest size that will do: the crate does not tell how large a program became.
fn build(pattern: &str) -> Result<Bounded, RegexError> {
    for program_kib in PROGRAMS_KIB {
        let bytes = program_kib * 1024;
        match RegexBuilder::new(pattern).size_limit(bytes).dfa_size_limit(bytes.max(64 * 1024)).nest_limit(32).build() {
            Ok(regex) => return Ok(Bounded { regex, program_kib }),
            Err(regex::Error::CompiledTooBig(_)) => {}
            Err(other) => {
                // The crate draws the place over several lines; the last one says what is wrong.
                let text = other.to_string();
                let last = text.lines().next_back().unwrap_or_default();
                return Err(RegexError::Syntax(last.trim_start_matches("error: ").to_owned()));
            }
        }
    }
    Err(RegexError::TooLarge)
}

/// The same I-Regexp in the `regex` crate's syntax.
fn translate(pattern: &str) -> Result<String, RegexError> {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut characters = pattern.chars().peekable();
    let mut in_class = false;
    let mut after_quantifier = false;
    while let Some(character) = characters.next() {
        let quantifies = !in_class && matches!(character, '*' | '+' | '?' | '{');
        if quantifies && after_quantifier {
            return Err(RegexError::Interoperable("a quantifier may not follow another"));
        }
        after_quantifier = false;
        match character {
            '\\' => match characters.next() {
                Some(escaped @ ('p' | 'P')) if characters.peek() == Some(&'{') => out.extend(['\\', escaped]),
                Some(escaped @ ('n' | 'r' | 't')) => out.extend(['\\', escaped]),
                Some(escaped) if "()*+-.?[\\]^{|}".contains(escaped) => out.extend(['\\', escaped]),
                _ => {
                    return Err(RegexError::Interoperable(
                        "after `\\` comes n r t p{..} P{..} or one of ()*+-.?[\\]^{|}",
                    ));
                }
            },
            '[' if in_class => return Err(RegexError::Interoperable("`[` in a class is written `\\[`")),
            '[' => {
                in_class = true;
                out.push('[');
                if characters.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
            }
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            '-' if in_class => out.push('-'),
            // The crate gives `&&`, `~~` and `^` a meaning in classes that RFC 9485 does not.
            other if in_class && other.is_ascii_punctuation() => out.extend(['\\', other]),
            other if in_class => out.push(other),
            ']' | '}' => return Err(RegexError::Interoperable("a closing bracket without its opening one")),
            '.' => out.push_str("[^\\n\\r]"),
            '^' | '$' => out.extend(['\\', character]),
            '(' if characters.peek() == Some(&'?') => {
                return Err(RegexError::Interoperable("`(?` does not exist: groups are `(…)`"));
            }
            '{' => {
                out.push('{');
                loop {
                    match characters.next() {
                        Some('}') => break out.push('}'),
                        Some(within @ ('0'..='9' | ',')) => out.push(within),
                        _ => return Err(RegexError::Interoperable("a repetition is {2}, {2,} or {2,5}")),
                    }
                }
                after_quantifier = true;
            }
            other => {
                after_quantifier = quantifies;
                out.push(other);
            }
        }
        // `\p{Lu}` has braces that are no repetition.
        if (out.ends_with("\\p") || out.ends_with("\\P")) && character == '\\' {
            for within in characters.by_ref() {
                out.push(within);
                if within == '}' {
                    break;
                }
            }
        }
    }
    if in_class { Err(RegexError::Interoperable("a class without its `]`")) } else { Ok(out) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn interoperable_expressions() {
        for (pattern, yes, no) in [
            ("a.b", &["axb", "a😀b"][..], &["a\nb", "a\rb", "ab", "xaxb"][..]),
            ("a|b", &["a", "b"], &["ab", "xa", "bx"]),
            ("1974-05-..", &["1974-05-11"], &["1974-05-1", "x1974-05-11"]),
            ("[a-c&&]+", &["a&b"], &["d"]),
            ("[^a^]", &["b"], &["a", "^"]),
            ("[.$]{2,3}", &[".$", "..."], &["ab", "."]),
            ("^a$", &["^a$"], &["a"]),
            ("\\p{Lu}\\P{Lu}*", &["Äb"], &["äb"]),
            ("[\\p{L}\\-\\]]*", &["a-]"], &["1"]),
            ("\\\\p", &["\\p"], &["p"]),
            ("(a(b)?){2}", &["aab"], &["a"]),
            ("", &[""], &["a"]),
        ] {
            let regex = compile_interoperable(pattern, true).unwrap_or_else(|error| panic!("{pattern}: {error}"));
            for text in yes {
                assert!(regex.regex.is_match(text), "{pattern} should match {text:?}");
            }
            for text in no {
                assert!(!regex.regex.is_match(text), "{pattern} should not match {text:?}");
            }
        }
        assert!(compile_interoperable("b.", false).unwrap().regex.is_match("abc"));
        for bad in ["\\d", "(?i)a", "a**", "a+?", "[a", "a]", "a}", "a{x}", "[[a]]", "\\", "(a", "a{2", "\\pL"] {
            assert!(compile_interoperable(bad, true).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_limited() {
        assert_eq!(compile(&"a".repeat(1025)).unwrap_err(), RegexError::TooLong(1025));
        for bomb in ["(((a{100}){100}){100})", "\\w{200}", "(?:\\pL{50}){50}"] {
            assert_eq!(compile(bomb).unwrap_err(), RegexError::TooLarge, "{bomb}");
        }
        assert!(matches!(compile(&"(".repeat(1000)), Err(RegexError::Syntax(_))));
        assert!(compile("^\\w+@\\w+\\.\\w+$").is_ok());
    }

    #[test]
    fn the_price_is_program_times_text() {
        for (pattern, fits, over) in [("a|b", 79_000, 81_000), ("(?:a|b)*a(?:a|b){200}[cd]", 4_900, 20_100)] {
            let regex = compile(pattern).unwrap();
            assert_eq!(regex.is_match(&"x".repeat(fits), &Steps::new()), Ok(false), "{pattern}");
            assert_eq!(regex.is_match(&"x".repeat(over), &Steps::new()), Err(TooExpensive::Steps), "{pattern}");
        }
    }

    #[test]
    fn messages_are_one_line() {
        let message = compile("a(b").unwrap_err().to_string();
        assert_eq!(message, "not a regular expression: unclosed group");
    }

    proptest! {
        #[test]
        fn any_pattern_is_survived(pattern in "[ab\\\\\\[\\](){}|*+?.^$pPLd0-9,&~-]{0,20}", other in "\\PC{0,20}") {
            let _ = compile_interoperable(&pattern, true);
            let _ = compile_interoperable(&other, false);
        }
    }
}
