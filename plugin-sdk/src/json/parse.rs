//! One pass over a JSON text: checks it and notes where each value stands.

use super::{Entry, Kind};
use crate::Fault;

/// Deeper than any real event, shallower than a guest's stack.
const DEPTH: u32 = 128;

/// The table of a text's values, in the order of the text.
pub(super) fn entries(text: &str) -> Result<Vec<Entry>, Fault> {
    if u32::try_from(text.len()).is_err() {
        return Err(Fault::new("json: longer than 4 GiB"));
    }
    let mut parser = Parser { bytes: text.as_bytes(), at: 0, entries: Vec::with_capacity(text.len() / 16 + 1) };
    parser.space();
    let here = parser.here();
    parser.value((here, here), 0)?;
    parser.space();
    if parser.at < parser.bytes.len() {
        return Err(parser.expected("the end"));
    }
    Ok(parser.entries)
}

struct Parser<'t> {
    bytes: &'t [u8],
    at: usize,
    entries: Vec<Entry>,
}

impl Parser<'_> {
    fn here(&self) -> u32 {
        // `entries` has made sure that every place in the text fits.
        self.at as u32
    }

    fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    fn space(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
    }

    fn expected(&self, what: &str) -> Fault {
        Fault::new(format!("json: expected {what} at byte {}", self.at))
    }

    fn value(&mut self, key: (u32, u32), depth: u32) -> Result<(), Fault> {
        if depth > DEPTH {
            return Err(Fault::new(format!("json: deeper than {DEPTH} levels at byte {}", self.at)));
        }
        let index = self.entries.len();
        let start = self.here();
        let kind = match self.peek() {
            b'{' => Kind::Object,
            b'[' => Kind::Array,
            b'"' => Kind::String,
            b't' | b'f' => Kind::Bool,
            b'n' => Kind::Null,
            _ => Kind::Number,
        };
        self.entries.push(Entry { kind, start, end: start, key: key.0, key_end: key.1, after: 0 });
        match kind {
            Kind::Object => self.items(b'}', depth)?,
            Kind::Array => self.items(b']', depth)?,
            Kind::String => self.string()?,
            Kind::Bool if self.peek() == b't' => self.word("true")?,
            Kind::Bool => self.word("false")?,
            Kind::Null => self.word("null")?,
            Kind::Number => self.number()?,
        }
        let (end, after) = (self.here(), self.entries.len() as u32);
        let entry = &mut self.entries[index];
        entry.end = end;
        entry.after = after;
        Ok(())
    }

    fn items(&mut self, close: u8, depth: u32) -> Result<(), Fault> {
        self.at += 1;
        self.space();
        if self.peek() == close {
            self.at += 1;
            return Ok(());
        }
        loop {
            let mut key = (self.here(), self.here());
            if close == b'}' {
                if self.peek() != b'"' {
                    return Err(self.expected("a name in quotes"));
                }
                self.string()?;
                key.1 = self.here();
                self.space();
                if self.peek() != b':' {
                    return Err(self.expected("a colon"));
                }
                self.at += 1;
                self.space();
            }
            self.value(key, depth + 1)?;
            self.space();
            match self.peek() {
                b',' => self.at += 1,
                byte if byte == close => break,
                _ => return Err(self.expected("a comma or the closing bracket")),
            }
            self.space();
        }
        self.at += 1;
        Ok(())
    }

    fn string(&mut self) -> Result<(), Fault> {
        self.at += 1;
        loop {
            self.at += plain(self.bytes.get(self.at..).unwrap_or_default());
            match self.bytes.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    let escape = self.bytes.get(self.at + 1).copied().unwrap_or(0);
                    let length = match escape {
                        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => 2,
                        b'u' => 6,
                        _ => return Err(self.expected("an escape")),
                    };
                    let digits = self.bytes.get(self.at + 2..self.at + length);
                    if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                        return Err(self.expected("four hexadecimal digits"));
                    }
                    self.at += length;
                }
                // Nothing else is left: a control character.
                Some(_) => return Err(self.expected("no control character in a string")),
                None => return Err(self.expected("the end of a string")),
            }
        }
        self.at += 1;
        Ok(())
    }

    fn word(&mut self, word: &str) -> Result<(), Fault> {
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return Err(self.expected(word));
        }
        self.at += word.len();
        Ok(())
    }

    fn number(&mut self) -> Result<(), Fault> {
        self.at += usize::from(self.peek() == b'-');
        if self.peek() == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), b'+' | b'-'));
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Fault> {
        if !self.peek().is_ascii_digit() {
            return Err(self.expected("a value"));
        }
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        Ok(())
    }
}

/// How many bytes there are before one that ends a string, begins an escape or is no part of one. They are looked at
/// eight at a time: most of an event is text, and a guest takes as long for a word as for a byte.
fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const TOPS: u64 = ONES << 7;
    // The top bit of each byte that is smaller than `least`; of bytes behind the first such, perhaps too.
    let below = |word: u64, least: u8| word.wrapping_sub(ONES * u64::from(least)) & !word & TOPS;
    let (words, rest) = bytes.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
        let found = is(b'"') | is(b'\\') | below(word, b' ');
        if found != 0 {
            return 8 * number + found.trailing_zeros() as usize / 8;
        }
    }
    let is_plain = |byte: &&u8| !matches!(byte, b'"' | b'\\' | ..b' ');
    8 * words.len() + rest.iter().take_while(is_plain).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{entries, plain};

    proptest! {
        /// The same texts are JSON here and for serde_json. Short ones from JSON's own alphabet reach
        /// every branch.
        #[test]
        fn accepts_what_serde_json_accepts(text in r#"[\[\]{},:"\\ 0-2.eE+\-truefalsn]{0,12}"#) {
            let known = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
            prop_assert_eq!(entries(&text).is_ok(), known, "{}", text);
        }

        /// Eight at a time as one at a time, wherever the first of the others stands.
        #[test]
        fn plain_bytes_are_counted(bytes in prop::collection::vec(prop_oneof![Just(b'"'), Just(b'\\'), 0x1e_u8..0x24, 0x5a_u8..0x5e, any::<u8>(), any::<u8>()], 0..40)) {
            let one_by_one = bytes.iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | ..b' ')).count();
            prop_assert_eq!(plain(&bytes), one_by_one);
        }

        #[test]
        fn never_panics(text in ".{0,40}") {
            let _ = entries(&text);
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(entries(&nested(128)).is_ok());
        assert!(entries(&nested(10_000)).is_err());
    }
}
