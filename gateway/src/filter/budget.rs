//! What one evaluation may cost.

use std::cell::Cell;

use super::json::{JsonFault, Node};

/// How many steps one evaluation of a filter may take. A value looked at is a step; long texts cost one more for
/// each KiB, and regular expressions by the size of their program times the length of the text. Ten thousand
/// steps take about a millisecond as a rule, and tens of milliseconds with a hostile regular expression.
pub const MAX_STEPS: u32 = 10_000;

/// Why an evaluation was given up: it neither matched nor did not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TooExpensive {
    /// The filter looked at more values of this event than an evaluation may.
    #[error(
        "the filter is too expensive: it took more than {MAX_STEPS} steps on this event; name what it looks for more closely"
    )]
    Steps,
    /// The event's data is nested too deeply to be looked into (or is not JSON, which ingest excludes).
    #[error("the event's data cannot be looked into: {0}")]
    Data(#[from] JsonFault),
}

/// The steps that are left, shared by all parts of one evaluation.
#[derive(Debug)]
pub(super) struct Steps(Cell<u32>);

impl Steps {
    pub(super) fn new() -> Self {
        Self(Cell::new(MAX_STEPS))
    }

    /// Pays for looking at so many values.
    pub(super) fn spend(&self, steps: usize) -> Result<(), TooExpensive> {
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        let left = self.0.get().checked_sub(steps);
        // Nothing is left after a refusal: whoever asks again is refused again.
        self.0.set(left.unwrap_or(0));
        left.map(drop).ok_or(TooExpensive::Steps)
    }

    /// Pays for reading a text once from front to back: a step for each KiB.
    pub(super) fn spend_text(&self, bytes: usize) -> Result<(), TooExpensive> {
        self.spend(bytes / 1024)
    }

    /// Pays for running a compiled regular expression over a text. A hostile one visits every state of its program
    /// for every byte, so the price is the product: about 10 KiB of text for a program of 32 KiB.
    pub(super) fn spend_regex(&self, bytes: usize, program_kib: usize) -> Result<(), TooExpensive> {
        self.spend(1 + bytes.saturating_mul(program_kib) / 32)
    }

    /// How many are left.
    #[cfg(test)]
    pub(super) fn left(&self) -> u32 {
        self.0.get()
    }
}

/// Whether two values are equal: of the same type, numbers by decimal value, arrays item by item, objects by
/// member whatever the order. A step for each pair of values.
pub(super) fn equal(left: &Node<'_>, right: &Node<'_>, steps: &Steps) -> Result<bool, TooExpensive> {
    steps.spend(1)?;
    match (left, right) {
        (Node::Null, Node::Null) => Ok(true),
        (Node::Bool(left), Node::Bool(right)) => Ok(left == right),
        (Node::Number(left_text), Node::Number(right_text)) => {
            steps.spend_text(left_text.len().max(right_text.len()))?;
            Ok(left.order(right).is_some_and(std::cmp::Ordering::is_eq))
        }
        (Node::String(left), Node::String(right)) => {
            steps.spend_text(left.len().min(right.len()))?;
            Ok(left == right)
        }
        (Node::Array(left), Node::Array(right)) if left.len() == right.len() => {
            for (left, right) in left.iter().zip(right) {
                if !equal(left, right, steps)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (Node::Object(left), Node::Object(right)) if left.len() == right.len() => {
            for (name, left) in left.iter() {
                steps.spend_text(name.len())?;
                let Some(right) = right.get(name) else { return Ok(false) };
                if !equal(left, right, steps)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        _ => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spent_budget_stays_spent() {
        let steps = Steps::new();
        assert!(steps.spend(MAX_STEPS as usize).is_ok());
        assert_eq!(steps.spend(1), Err(TooExpensive::Steps));
        let steps = Steps::new();
        assert_eq!(steps.spend(usize::MAX), Err(TooExpensive::Steps));
        assert_eq!(steps.spend(1), Err(TooExpensive::Steps));
    }

    #[test]
    fn equality() {
        for (left, right, expected) in [
            ("1", "1.0", true),
            ("12345678901234567890", "12345678901234567891", false),
            ("\"1\"", "1", false),
            ("null", "false", false),
            ("[1,[2]]", "[1.0,[2e0]]", true),
            ("[1]", "[1,2]", false),
            (r#"{"a":1,"b":[]}"#, r#"{"b":[],"a":1}"#, true),
            (r#"{"a":1}"#, r#"{"b":1}"#, false),
            (r#"{"a":1}"#, r#"{"a":1,"b":1}"#, false),
            ("\"\\u00e9\"", "\"é\"", true),
        ] {
            let (left, right) = (Node::parse(left).unwrap(), Node::parse(right).unwrap());
            assert_eq!(equal(&left, &right, &Steps::new()), Ok(expected), "{left} {right}");
            assert_eq!(equal(&right, &left, &Steps::new()), Ok(expected), "{right} {left}");
        }
    }

    #[test]
    fn long_values_cost_more() {
        let long = format!("1.{}", "0".repeat(1 << 20));
        let (left, right) = (Node::parse("1").unwrap(), Node::parse(&long).unwrap());
        let steps = Steps::new();
        assert_eq!(equal(&left, &right, &steps), Ok(true));
        assert!(steps.left() < MAX_STEPS - 1000);
        assert!((0..10).any(|_| equal(&left, &right, &steps).is_err()));
    }
}
