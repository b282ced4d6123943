//! A fuzzer on stable Rust: hostile inputs by the thousand, or by the million.
//!
//! **Who acts.** A test gives [`fuzz`] examples, words of their language, and a target that reads an input and says
//! what it made of it; [`mutate`](mutate::Mutator) makes one input after the other out of the examples. An input of
//! which the target says something new becomes an example itself. **What is promised.** The same seed makes the same
//! inputs: `HOOKMILL_FUZZ_SEED` repeats a run, and an input that panics is printed as a Rust literal, to be kept as
//! a test. `HOOKMILL_LONG=1` makes a million inputs for each target, with a seed of its own. A target that took
//! nothing, or refused nothing, has not been tested, and its test fails. **What is deliberately not.** No code
//! coverage is measured, which wants a nightly compiler; and no test fails for being slow, but what took longer than
//! 50 ms is printed, as is what took longest.
//!
//! An input of several parts (a content type and a body, say) is one text, parted by [`PART`], so that mutations
//! may cross parts and tear them apart.

mod filters;
mod ingest;
mod mutate;
mod signatures;

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use mutate::Mutator;

/// What stands between the parts of an input.
pub(crate) const PART: u8 = 0x1e;

/// Inputs in the suite, and in the long form.
const INPUTS: (u64, u64) = (5_000, 1_000_000);
/// Examples that are kept beside those that were given.
const KEPT: usize = 2_000;
/// What is called slow.
const SLOW: Duration = Duration::from_millis(50);

/// What a target made of an input, in few words: it took it, or it refused it.
pub(crate) type Said = Result<String, String>;

/// Feeds a target.
///
/// # Panics
/// As the target does; and if it took every input, or none.
pub(crate) fn fuzz(name: &str, examples: &[Vec<u8>], words: &[&str], target: impl Fn(&[u8]) -> Said) {
    let is_long = std::env::var_os("HOOKMILL_LONG").is_some_and(|value| value == "1");
    let inputs = if is_long { INPUTS.1 } else { INPUTS.0 };
    let seed = match std::env::var("HOOKMILL_FUZZ_SEED") {
        Ok(text) => text.parse().expect("HOOKMILL_FUZZ_SEED is a number"),
        Err(_) if is_long => rand::random(),
        Err(_) => 0,
    };
    let started = Instant::now();
    let mut mutator = Mutator::new(seed, words);
    let mut pool = examples.to_vec();
    let mut seen = HashSet::new();
    let mut taken = 0;
    let mut slowest = (Duration::ZERO, Vec::new());
    for number in 0..inputs {
        // Every example is good as it stands.
        let example = usize::try_from(number).ok().and_then(|at| examples.get(at));
        let input = example.cloned().unwrap_or_else(|| mutator.next(&pool, examples.len()));
        let began = Instant::now();
        let said = catch_unwind(AssertUnwindSafe(|| target(&input))).unwrap_or_else(|panic| {
            eprintln!("{name}: seed {seed}, input {number} panics:\nb\"{}\"", input.escape_ascii());
            resume_unwind(panic)
        });
        let mut took = began.elapsed();
        if took > SLOW {
            // The machine may have been busy elsewhere: what is slow is slow again.
            took = std::iter::repeat_with(|| time(|| target(&input))).take(2).fold(took, Duration::min);
        }
        if took > SLOW {
            eprintln!("{name}: seed {seed}, input {number} took {took:?}:\nb\"{}\"", input.escape_ascii());
        }
        if took > slowest.0 {
            slowest = (took, input.clone());
        }
        assert!(example.is_none() || said.is_ok(), "{name}: example {number} is refused: {said:?}");
        taken += u64::from(said.is_ok());
        let mut hasher = DefaultHasher::new();
        said.hash(&mut hasher);
        if seen.insert(hasher.finish()) && example.is_none() {
            mutator.keep(&mut pool, input, examples.len(), KEPT);
        }
    }
    let start = &slowest.1[..slowest.1.len().min(200)];
    eprintln!(
        "{name}: {inputs} inputs in {:.1} s with seed {seed}, {taken} taken, {} different answers; the slowest took \
         {:?} over {} bytes: b\"{}\"",
        started.elapsed().as_secs_f64(),
        seen.len(),
        slowest.0,
        slowest.1.len(),
        start.escape_ascii()
    );
    assert!(0 < taken && taken < inputs, "{name}: {taken} of {inputs} were taken, which tests nothing");
}

fn time<T>(run: impl FnOnce() -> T) -> Duration {
    let began = Instant::now();
    run();
    began.elapsed()
}

/// The words of a sentence without what it quotes, which is as various as the inputs.
pub(crate) fn shape(sentence: &str) -> String {
    let unquoted = sentence.split(['`', '"']).step_by(2).flat_map(str::chars);
    unquoted.filter(|c| c.is_ascii_lowercase() || *c == ' ').take(48).collect()
}

/// An example of these parts.
pub(crate) fn example(parts: &[&str]) -> Vec<u8> {
    parts.iter().map(|part| part.as_bytes()).collect::<Vec<_>>().join(&PART)
}

/// The parts of an input; what is missing is empty, and the last takes the rest.
pub(crate) fn parts<const N: usize>(input: &[u8]) -> [&[u8]; N] {
    let mut parts = [&input[input.len()..]; N];
    for (part, found) in parts.iter_mut().zip(input.splitn(N, |byte| *byte == PART)) {
        *part = found;
    }
    parts
}

/// Bytes as the text that most targets want, mended where they are none.
pub(crate) fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// Headers, one a line, `name: value`. A line that is none is left out, as a server would never hand it on.
fn headers(lines: &[u8]) -> http::HeaderMap {
    let mut headers = http::HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n') {
        let Some(at) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (line[..at].trim_ascii(), line[at + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (http::HeaderName::from_bytes(name), http::HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    headers
}
