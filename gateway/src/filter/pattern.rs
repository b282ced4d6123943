//! Which event types a subscription names.

use std::fmt;

use crate::domain::RESERVED_PREFIX;

/// The longest pattern, in bytes: as long as the longest event type.
const MAX_LENGTH: usize = 200;

/// A name in a subscription's `events`: an exact event type, or a wildcard.
///
/// | written | matches |
/// |---|---|
/// | `player.created` | that type |
/// | `*` | every type but the gateway's own operational events (`hookmill.…`) |
/// | `player.*` | `player.` and one or more further segments |
/// | `player.*.done` | any one segment between |
///
/// Segments are split by `.`. Operational events must be named: `hookmill.*` matches them, `*` and
/// `*.delivery.failed` do not.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventPattern {
    text: Box<str>,
    shape: Shape,
}

/// How a pattern is looked up; see [`super::TypeIndex`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Shape {
    /// No wildcard.
    Exact,
    /// `*`.
    Everything,
    /// The only wildcard is a trailing `.*`.
    Prefix,
    /// Anything else.
    Inner,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It is empty or longer than 200 bytes.
    #[error("an event type or pattern has 1 to 200 characters, this one has {0}")]
    Length(usize),
    /// It has a character that no event type has.
    #[error("`{0}` cannot stand in an event type: use A-Z a-z 0-9 . _ : / - and `*` as a whole segment")]
    Character(char),
    /// A `*` shares its segment with other characters.
    #[error("`*` must be a whole segment between dots, `{0}` is not: write `a.*` or `a.*.b`")]
    PartialWildcard(String),
}

impl EventPattern {
    /// Checks and takes a pattern.
    ///
    /// # Errors
    /// If its length, a character or the place of a `*` is wrong; the message says which.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() || text.len() > MAX_LENGTH {
            return Err(PatternError::Length(text.chars().count()));
        }
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '/' | '-' | '*');
        if let Some(character) = text.chars().find(|&c| !fits(c)) {
            return Err(PatternError::Character(character));
        }
        if let Some(segment) = text.split('.').find(|segment| segment.contains('*') && *segment != "*") {
            return Err(PatternError::PartialWildcard(segment.to_owned()));
        }
        let shape = if text == "*" {
            Shape::Everything
        } else if !text.contains('*') {
            Shape::Exact
        } else if text.strip_suffix(".*").is_some_and(|prefix| !prefix.contains('*')) {
            Shape::Prefix
        } else {
            Shape::Inner
        };
        Ok(Self { text: text.into(), shape })
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it names one type only.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.shape == Shape::Exact
    }

    /// Whether it matches an event type.
    #[must_use]
    pub fn matches(&self, event_type: &str) -> bool {
        let reserved = event_type.starts_with(RESERVED_PREFIX);
        match self.shape {
            Shape::Exact => *self.text == *event_type,
            Shape::Everything => !reserved && !event_type.is_empty(),
            Shape::Prefix => {
                event_type.strip_prefix(self.prefix()).is_some_and(|rest| rest.len() > 1 && rest.starts_with('.'))
            }
            Shape::Inner => (!reserved || self.text.starts_with(RESERVED_PREFIX)) && self.matches_segments(event_type),
        }
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    /// The text before a trailing `.*`.
    pub(super) fn prefix(&self) -> &str {
        self.text.strip_suffix(".*").unwrap_or(&self.text)
    }

    fn matches_segments(&self, event_type: &str) -> bool {
        let mut wanted = self.text.split('.').peekable();
        let mut found = event_type.split('.');
        while let Some(segment) = wanted.next() {
            let Some(there) = found.next() else { return false };
            match segment {
                "*" if there.is_empty() => return false,
                // A trailing `*` takes all that is left.
                "*" if wanted.peek().is_none() => return true,
                "*" => {}
                exact if exact == there => {}
                _ => return false,
            }
        }
        found.next().is_none()
    }
}

impl fmt::Display for EventPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for EventPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

impl std::str::FromStr for EventPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matches() {
        for (pattern, yes, no) in [
            ("a.b", &["a.b"][..], &["a", "a.b.c", "a.bc", "A.b", "xa.b"][..]),
            ("*", &["a", "a.b.c", "PRIZE_PAYOUT_CREATED", "hookmillx", "hookmill"], &["hookmill.delivery.failed"]),
            ("a.*", &["a.b", "a.b.c", "a.b.c.d"], &["a", "a.", "ab", "ab.c", "b.a.c"]),
            ("a.*.c", &["a.b.c", "a.x.c"], &["a.c", "a.b.b.c", "a..c", "a.b.c.d", "a.b.cd"]),
            ("*.created", &["player.created", "x.created"], &["created", "a.b.created", "hookmill.created"]),
            ("*.a.*", &["x.a.b", "x.a.b.c"], &["a.b", "x.a", "x.b.a.c", "hookmill.a.b"]),
            ("*.*", &["a.b", "a.b.c"], &["a", "hookmill.x"]),
            ("a.*.*", &["a.b.c", "a.b.c.d"], &["a.b", "a"]),
            ("hookmill.*", &["hookmill.x", "hookmill.delivery.failed"], &["hookmill", "hookmillx.y"]),
            ("hookmill.*.failed", &["hookmill.delivery.failed"], &["hookmill.failed", "a.delivery.failed"]),
            ("hookmill.delivery.failed", &["hookmill.delivery.failed"], &["hookmill.delivery"]),
            ("com.example/a:b-c.*", &["com.example/a:b-c.d"], &["com.example/a:b-c"]),
        ] {
            let parsed = EventPattern::parse(pattern).unwrap();
            for event_type in yes {
                assert!(parsed.matches(event_type), "{pattern} should match {event_type}");
            }
            for event_type in no {
                assert!(!parsed.matches(event_type), "{pattern} should not match {event_type}");
            }
        }
    }

    #[test]
    fn what_is_refused() {
        for bad in ["", "a b", "ä", "a*", "*a", "a.b*", "a.**", "**", "a.*b.c", "a\n", &"x".repeat(201)] {
            assert!(EventPattern::parse(bad).is_err(), "{bad}");
        }
        let message = EventPattern::parse("player.creat*").unwrap_err().to_string();
        assert!(message.contains("`creat*`"), "{message}");
    }
}
