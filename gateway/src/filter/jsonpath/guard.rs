//! What stands before the grammar.
//!
//! `jsonpath-rust` parses with a PEG that tries a function call up to three times, once for each thing it might
//! be: calls nested in calls cost up to 3ⁿ. So the text is looked over
//! first, in one pass, and refused if it is long, nested, or has more than one `..`.
//!
//! The same pass takes the number literals out, because the crate keeps them as `i64` or `f64` and refuses
//! integers beyond 2⁵³: each is replaced by an integer that says where in [`Guarded::numbers`] its text is. One
//! digit stands for itself, so that replacing never makes the text longer and places in messages stay true.

use super::PathError;

/// The longest expression, in bytes.
pub(super) const MAX_LENGTH: usize = 2048;
/// How deep brackets and parentheses may be nested.
const MAX_NESTING: usize = 16;
/// How deep function calls may be nested: the grammar tries the innermost 3³ times.
const MAX_CALLS: usize = 3;
/// One digit and two: what fits in the place of the shortest literals.
const MAX_NUMBERS: usize = 100;

/// An expression that the grammar can be trusted with.
#[derive(Debug)]
pub(super) struct Guarded {
    /// The expression, its number literals replaced by indexes.
    pub(super) text: String,
    /// The literals.
    pub(super) numbers: Vec<Box<str>>,
}

/// Looks an expression over.
pub(super) fn guard(text: &str) -> Result<Guarded, PathError> {
    if text.len() > MAX_LENGTH {
        return Err(PathError::TooLong(text.len()));
    }
    if !text.starts_with('$') {
        return Err(PathError::at(text, 0, "a JSONPath begins with `$`"));
    }
    if text.ends_with([' ', '\t', '\n', '\r']) {
        return Err(PathError::at(text, text.len(), "white space may not stand at the end"));
    }
    let mut scan = Scan {
        source: text,
        at: 0,
        text: String::with_capacity(text.len()),
        numbers: (0..10).map(|digit| digit.to_string().into()).collect(),
        open: Vec::new(),
        last: b'$',
        descents: 0,
    };
    while let Some(byte) = scan.peek(0) {
        scan.token(byte)?;
    }
    Ok(Guarded { text: scan.text, numbers: scan.numbers })
}

/// What is open around a place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Bracket,
    Parenthesis,
    Call,
}

struct Scan<'a> {
    source: &'a str,
    at: usize,
    text: String,
    numbers: Vec<Box<str>>,
    open: Vec<Open>,
    /// The last byte that is not white space.
    last: u8,
    descents: usize,
}

impl Scan<'_> {
    fn token(&mut self, byte: u8) -> Result<(), PathError> {
        let length = match byte {
            b'\'' | b'"' => self.string(byte)?,
            b'_' | b'a'..=b'z' | b'A'..=b'Z' | 0x80.. => self.run(is_name),
            b'-' | b'0'..=b'9' => return self.number(),
            b'(' | b'[' => {
                self.enter(byte)?;
                1
            }
            b')' | b']' => {
                self.open.pop();
                1
            }
            b'.' if self.peek(1) == Some(b'.') => {
                self.descents += 1;
                if self.descents > 1 {
                    return Err(self.fault("`..` may be used once: two of them visit every value for every value"));
                }
                2
            }
            _ => 1,
        };
        self.copy(length);
        Ok(())
    }

    fn enter(&mut self, byte: u8) -> Result<(), PathError> {
        let open = match byte {
            b'[' => Open::Bracket,
            // A name stands before the arguments of a call, with nothing between.
            _ if self.source[..self.at].bytes().next_back().is_some_and(is_name) => Open::Call,
            _ => Open::Parenthesis,
        };
        self.open.push(open);
        if self.open.len() > MAX_NESTING {
            return Err(self.fault("brackets and parentheses may be nested 16 deep"));
        }
        if self.open.iter().filter(|&&open| open == Open::Call).count() > MAX_CALLS {
            return Err(self.fault("function calls may be nested 3 deep"));
        }
        Ok(())
    }

    /// The length of a string literal with its quotes.
    fn string(&self, quote: u8) -> Result<usize, PathError> {
        let mut length = 1;
        loop {
            match self.peek(length) {
                Some(b'\\') => length += 2,
                Some(byte) if byte == quote => return Ok(length + 1),
                Some(_) => length += 1,
                None => return Err(self.fault("a string without its closing quote")),
            }
        }
    }

    fn number(&mut self) -> Result<(), PathError> {
        let rest = &self.source[self.at..];
        let length = number_length(rest)
            .ok_or_else(|| self.fault("not a number (and a name that has `-` in it is written `['a-b']`)"))?;
        let literal = &rest[..length];
        // In brackets, what follows the bracket, a comma or a colon is an index or part of a slice.
        let is_index = match self.open.last() {
            Some(Open::Bracket) => matches!(self.last, b'[' | b',' | b':'),
            Some(Open::Call | Open::Parenthesis) => false,
            None => true,
        };
        if is_index {
            self.copy(length);
            return Ok(());
        }
        let index = match self.numbers.iter().position(|known| **known == *literal) {
            Some(index) => index,
            None if self.numbers.len() == MAX_NUMBERS => return Err(self.fault("at most 90 different numbers")),
            None => {
                self.numbers.push(literal.into());
                self.numbers.len() - 1
            }
        };
        self.text.push_str(&format!("{index:<length$}"));
        self.at += length;
        self.last = b'0';
        Ok(())
    }

    fn run(&self, belongs: fn(u8) -> bool) -> usize {
        self.source[self.at..].bytes().take_while(|&byte| belongs(byte)).count()
    }

    fn copy(&mut self, length: usize) {
        let end = (self.at + length).min(self.source.len());
        let token = &self.source[self.at..end];
        self.text.push_str(token);
        if let Some(last) = token.bytes().rfind(|byte| !byte.is_ascii_whitespace()) {
            self.last = last;
        }
        self.at = end;
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.source.as_bytes().get(self.at + ahead).copied()
    }

    fn fault(&self, detail: &str) -> PathError {
        PathError::at(self.source, self.at, detail)
    }
}

fn is_name(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphanumeric() || byte >= 0x80
}

/// The length of the number a text begins with: `(int / "-0") [ frac ] [ exp ]` (RFC 9535, 2.3.5.1).
fn number_length(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let digits = |from: usize| bytes.iter().skip(from).take_while(|byte| byte.is_ascii_digit()).count();
    let mut length = usize::from(bytes.first() == Some(&b'-'));
    let whole = digits(length);
    if whole == 0 || (whole > 1 && bytes.get(length) == Some(&b'0')) {
        return None;
    }
    length += whole;
    if bytes.get(length) == Some(&b'.') && digits(length + 1) > 0 {
        length += 1 + digits(length + 1);
    }
    if let Some(b'e' | b'E') = bytes.get(length) {
        let sign = usize::from(matches!(bytes.get(length + 1), Some(b'+' | b'-')));
        let exponent = digits(length + 1 + sign);
        if exponent == 0 {
            return None;
        }
        length += 1 + sign + exponent;
    }
    Some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_taken_out() {
        for (text, expected, numbers) in [
            ("$.a[0].b[-1,2:3:1]", "$.a[0].b[-1,2:3:1]", &[][..]),
            ("$[?@.a==12345678901234567890.5]", "$[?@.a==10                    ]", &["12345678901234567890.5"]),
            ("$[?@.a1==7 && 1e3>@['2']]", "$[?@.a1==7 && 10 >@['2']]", &["1e3"]),
            ("$[?length(@.a[0])> -10]", "$[?length(@.a[0])> 10 ]", &["-10"]),
            ("$[?(10==@.b) || @.c!=10]", "$[?(10==@.b) || @.c!=10]", &["10"]),
            ("$['\\'5',?@<20]", "$['\\'5',?@<10]", &["20"]),
        ] {
            let guarded = guard(text).unwrap();
            assert_eq!(guarded.text, expected);
            let taken: Vec<&str> = guarded.numbers[10..].iter().map(AsRef::as_ref).collect();
            assert_eq!(taken, numbers, "{text}");
        }
    }

    #[test]
    fn what_is_refused() {
        for (text, place, detail) in [
            ("", 1, "begins with"),
            (" $", 1, "begins with"),
            ("$.a ", 5, "white space"),
            ("$..a..b", 5, "`..`"),
            ("$..a[?@..b]", 8, "`..`"),
            ("$['a", 3, "closing quote"),
            ("$['a\\", 3, "closing quote"),
            ("$[?@.a==01]", 9, "not a number"),
            ("$[?@.a==1e]", 9, "not a number"),
            ("$[?@.a==-]", 9, "not a number"),
            ("$[?f(f(f(f(1))))]", 11, "3 deep"),
        ] {
            let error = guard(text).unwrap_err();
            let PathError::Syntax { column, detail: found } = &error else { panic!("{text}: {error}") };
            assert_eq!(*column, place, "{text}: {error}");
            assert!(found.contains(detail), "{text}: {error}");
        }
        assert!(guard(&format!("${}", "[?@".repeat(17))).is_err());
        assert_eq!(guard(&format!("$.{}", "a".repeat(2048))).unwrap_err(), PathError::TooLong(2050));
    }
}
