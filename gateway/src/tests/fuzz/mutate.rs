//! From examples to inputs that nobody would write.

use std::ops::Range;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::PART;

/// The longest input.
const LONGEST: usize = 32 * 1024;

/// Numbers at which something ends.
const NUMBERS: [&str; 20] = [
    "0",
    "-0",
    "-1",
    "1e400",
    "-1e-400",
    "1.0",
    "0.1e1",
    "00",
    "1e",
    "9007199254740993",
    "2147483648",
    "4294967296",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "18446744073709551616",
    "99999999999999999999999999999999999999999",
    "1e999999999999",
    "253402300800",
    "-377705116801",
];

/// Bytes that texts stumble over: ends, marks, halves of characters, and what is no UTF-8.
const ODD: [&[u8]; 22] = [
    b"\0",
    b"\n",
    b"\r\n",
    b"\\",
    b"\"",
    b"\\u0000",
    b"\\ud800",
    b"\\udc00\\ud800",
    b"\\ud83d\\ude00",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xae",
    b"\xe2\x80\xa8",
    b"\xcc\x81",
    b"\xf0\x9f\x98\x80",
    b"\xf4\x8f\xbf\xbf",
    b"\xc3\x9f",
    b"\xff",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xf5\x80\x80\x80",
    b"%00",
    b"%ED%A0%80",
];

const PAIRS: [(&[u8], &[u8]); 6] =
    [(b"[", b"]"), (b"{\"a\":", b"}"), (b"(", b")"), (b"[?", b"]"), (b"{\"not\":", b"}"), (b"\"", b"\"")];

/// Makes one input after the other.
pub(super) struct Mutator<'a> {
    rng: StdRng,
    words: &'a [&'a str],
}

impl<'a> Mutator<'a> {
    pub(super) fn new(seed: u64, words: &'a [&'a str]) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), words }
    }

    /// The next input: mostly an example with a few changes, now and then words in any order.
    /// The first `given` examples are those that the test gave.
    pub(super) fn next(&mut self, pool: &[Vec<u8>], given: usize) -> Vec<u8> {
        let mut input = Vec::new();
        if self.rng.random_ratio(1, 20) {
            for _ in 0..self.rng.random_range(1..30) {
                let word = self.word();
                input.extend(word);
            }
        } else {
            let given_ones = self.rng.random_ratio(1, 3);
            input.clone_from(self.pick(if given_ones { &pool[..given] } else { pool }));
        }
        for _ in 0..self.rng.random_range(1..=5) {
            self.change(&mut input, pool);
        }
        input.truncate(LONGEST);
        input
    }

    /// Keeps an input as an example: for good while there is room, else in place of another that was kept.
    pub(super) fn keep(&mut self, pool: &mut Vec<Vec<u8>>, input: Vec<u8>, given: usize, most: usize) {
        if pool.len() < given + most {
            pool.push(input);
        } else {
            let at = self.rng.random_range(given..pool.len());
            pool[at] = input;
        }
    }

    fn pick<'p, T>(&mut self, from: &'p [T]) -> &'p T {
        &from[self.rng.random_range(0..from.len())]
    }

    fn word(&mut self) -> Vec<u8> {
        match self.rng.random_range(0..10) {
            0 => vec![PART],
            1 => self.pick(&NUMBERS).as_bytes().to_vec(),
            2 => self.pick(&ODD).to_vec(),
            _ => {
                let words = self.words;
                self.pick(words).as_bytes().to_vec()
            }
        }
    }

    /// A part of the input, mostly a short one.
    fn range(&mut self, input: &[u8]) -> Range<usize> {
        let start = self.rng.random_range(0..=input.len());
        let most = if self.rng.random_ratio(1, 4) { input.len() } else { 12 };
        let end = (start + self.rng.random_range(0..=most)).min(input.len());
        start..end
    }

    fn change(&mut self, input: &mut Vec<u8>, pool: &[Vec<u8>]) {
        let at = self.range(input);
        match self.rng.random_range(0..15) {
            0 if !input.is_empty() => {
                let index = self.rng.random_range(0..input.len());
                input[index] ^= 1 << self.rng.random_range(0..8);
            }
            1 if !input.is_empty() => {
                let index = self.rng.random_range(0..input.len());
                input[index] = self.rng.random();
            }
            2 => drop(input.drain(at)),
            3 => {
                let copy = input[at.clone()].to_vec();
                input.splice(at.end..at.end, copy);
            }
            4 | 5 => {
                let word = self.word();
                input.splice(at.start..at.start, word);
            }
            6 | 7 => {
                let word = self.word();
                input.splice(at, word);
            }
            8 => {
                let other = self.pick(pool).clone();
                let piece = self.range(&other);
                input.splice(at, other[piece].iter().copied());
            }
            9 => {
                // Its head, another's tail.
                let other = self.pick(pool).clone();
                let tail = self.rng.random_range(0..=other.len());
                input.truncate(at.start);
                input.extend_from_slice(&other[tail..]);
            }
            10 => {
                if let Some(digits) = digits(input, at.start) {
                    let number = *self.pick(&NUMBERS);
                    input.splice(digits, number.bytes());
                }
            }
            11 => {
                let (open, close) = *self.pick(&PAIRS);
                let most = *self.pick(&[2, 10, 130, 1_500]);
                let levels = self.rng.random_range(1..=most);
                let balanced = self.rng.random_ratio(3, 4);
                input.splice(at.end..at.end, close.repeat(if balanced { levels } else { levels - 1 }));
                input.splice(at.start..at.start, open.repeat(levels));
            }
            12 => {
                let odd = self.pick(&ODD).to_vec();
                input.splice(at.start..at.start, odd);
            }
            13 if at.len() < 40 => {
                let most = *self.pick(&[3, 20, 800]);
                let copies = input[at.clone()].repeat(self.rng.random_range(1..=most));
                input.splice(at, copies);
            }
            _ => input[at].iter_mut().for_each(|byte| {
                *byte = if byte.is_ascii_lowercase() { byte.to_ascii_uppercase() } else { byte.to_ascii_lowercase() };
            }),
        }
    }
}

/// The first number at or behind a place.
fn digits(input: &[u8], from: usize) -> Option<Range<usize>> {
    let start = from + input[from..].iter().position(u8::is_ascii_digit)?;
    let length = input[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    Some(start..start + length)
}
