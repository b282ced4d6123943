//! Times of signing, as products write them.

use jiff::Timestamp;
use jiff::fmt::rfc2822;

/// The longest text that is looked at; the longest known, RFC 3339 with nanoseconds and an offset, has 35 bytes.
const MAX_LEN: usize = 64;

/// How a time is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    Seconds,
    Milliseconds,
    Rfc3339,
    HttpDate,
}

impl Written {
    /// In words, for "the timestamp is not …".
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Seconds => "a whole number of Unix seconds",
            Self::Milliseconds => "a whole number of Unix milliseconds",
            Self::Rfc3339 => "a time such as `2026-01-31T09:30:00Z` (RFC 3339)",
            Self::HttpDate => "a time such as `Sat, 31 Jan 2026 09:30:00 GMT` (RFC 9110)",
        }
    }

    /// Reads a time as Unix seconds. Numbers are digits and nothing else: a sign, a point or an exponent would be
    /// signed as written by one side and as understood by the other.
    pub(super) fn read(self, text: &[u8]) -> Option<i64> {
        let text = std::str::from_utf8(text).ok().filter(|text| text.len() <= MAX_LEN)?;
        let number = || -> Option<i64> {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            if digits { text.parse().ok() } else { None }
        };
        match self {
            Self::Seconds => number(),
            Self::Milliseconds => number().map(|milliseconds| milliseconds / 1_000),
            Self::Rfc3339 => text.parse::<Timestamp>().ok().map(Timestamp::as_second),
            Self::HttpDate => rfc2822::DateTimeParser::new().parse_timestamp(text).ok().map(Timestamp::as_second),
        }
    }

    /// Writes a time; before 1970 counts as 1970, and what is too late for a calendar as its last day.
    pub(super) fn write(self, seconds: i64) -> String {
        let seconds = seconds.max(0);
        let time = || Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
        match self {
            Self::Seconds => seconds.to_string(),
            Self::Milliseconds => seconds.saturating_mul(1_000).to_string(),
            Self::Rfc3339 => time().to_string(),
            Self::HttpDate => rfc2822::DateTimePrinter::new()
                .timestamp_to_rfc9110_string(&time())
                .unwrap_or_else(|_| seconds.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_written() {
        for (written, text, seconds) in [
            (Written::Seconds, "784111777", Some(784_111_777)),
            (Written::Seconds, "784111777.0", None),
            (Written::Seconds, "", None),
            (Written::Milliseconds, "784111777999", Some(784_111_777)),
            (Written::Milliseconds, "-784111777000", None),
            (Written::Rfc3339, "1994-11-06T08:49:37Z", Some(784_111_777)),
            // Twitch writes nanoseconds.
            (Written::Rfc3339, "1994-11-06T09:49:37.123456789+01:00", Some(784_111_777)),
            (Written::Rfc3339, "1994-11-06T08:49:37", None),
            (Written::Rfc3339, "784111777", None),
            // RFC 9110, section 5.6.7.
            (Written::HttpDate, "Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            (Written::HttpDate, "yesterday", None),
            (Written::HttpDate, "784111777", None),
        ] {
            assert_eq!(written.read(text.as_bytes()), seconds, "{text}");
        }
        for written in [Written::Seconds, Written::Milliseconds, Written::Rfc3339, Written::HttpDate] {
            for seconds in [0, 784_111_777, 4_000_000_000] {
                assert_eq!(written.read(written.write(seconds).as_bytes()), Some(seconds), "{written:?}");
            }
            assert_eq!(written.read(b"\xff"), None);
            // A clock gone mad makes a wrong header, not a panic.
            assert!(!written.write(i64::MAX).is_empty() && !written.write(i64::MIN).is_empty());
        }
    }
}
