//! JSONPath (RFC 9535), under a budget.
//!
//! `jsonpath-rust` reads the expressions; we walk them. Its own evaluator has no bound (`$..*..*..*` takes a
//! quarter of a second over 221 bytes), and its numbers are `f64`. So: [`guard`] refuses what would make the
//! *grammar* run away, [`compile`] checks types as RFC 9535, 2.4.3 demands and turns the crate's tree into
//! [`query`], and [`walk`] goes through a [`Node`] in the order of the RFC, paying a step for each value.
//!
//! Stricter than the RFC, always with a message when saved: one `..` per expression, at most 2 KiB, 16 nested
//! brackets, 3 nested calls, and a pattern written into the expression must be an I-Regexp.

mod compile;
mod guard;
mod query;
mod walk;

#[cfg(test)]
mod tests;

use std::fmt;

use super::budget::{Steps, TooExpensive};
use super::json::{JsonFault, Node, Step, raw_at};
use super::regexes::RegexError;
use query::{Query, Segment, Selector};
use walk::Walk;

/// A compiled JSONPath.
#[derive(Clone)]
pub struct Path {
    text: Box<str>,
    query: Query,
}

/// Why a text is no JSONPath, or none that is run here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Longer than 2 KiB.
    #[error("a JSONPath has at most 2048 bytes, this one has {0}")]
    TooLong(usize),
    /// It cannot be read.
    #[error("{detail} at character {column}")]
    Syntax {
        /// The character, from 1.
        column: usize,
        /// What is wrong there.
        detail: String,
    },
    /// It can be read but says nothing: a function's argument or result is of the wrong type, say.
    #[error("{0}")]
    Meaning(String),
    /// A pattern of `match` or `search` is refused.
    #[error(transparent)]
    Regex(#[from] RegexError),
}

impl PathError {
    fn at(text: &str, offset: usize, detail: &str) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        Self::Syntax { column: before.chars().count() + 1, detail: detail.to_owned() }
    }
}

impl Path {
    /// Compiles an expression.
    ///
    /// # Errors
    /// If it is not RFC 9535, not well-typed, or over a limit; the message says what and, where it can, at
    /// which character.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        Ok(Self { text: text.into(), query: compile::compile(text)? })
    }

    /// The expression as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it selects at most one value, whatever the document (a singular query of the RFC).
    #[must_use]
    pub fn is_singular(&self) -> bool {
        self.query.is_singular()
    }

    /// The first value that it selects.
    ///
    /// # Errors
    /// If that takes more than [`super::MAX_STEPS`].
    pub fn first<'n>(&'n self, root: &'n Node<'n>) -> Result<Option<&'n Node<'n>>, TooExpensive> {
        let steps = Steps::new();
        let mut first = None;
        self.visit(root, &steps, &mut |node| {
            first = Some(node);
            Ok(false)
        })?;
        Ok(first)
    }

    /// Everything that it selects, in the order of the RFC; a value may be selected more than once.
    ///
    /// # Errors
    /// If that takes more than [`super::MAX_STEPS`].
    pub fn select<'n>(&'n self, root: &'n Node<'n>) -> Result<Vec<&'n Node<'n>>, TooExpensive> {
        let steps = Steps::new();
        let mut all = Vec::new();
        self.visit(root, &steps, &mut |node| {
            all.push(node);
            Ok(true)
        })?;
        Ok(all)
    }

    /// The text of the value that a singular path selects, byte for byte as it stands in `text`: how a source
    /// takes an event's `data` out of what a product posted. `None` if there is none, or the path is not
    /// singular (see [`Self::is_singular`]).
    ///
    /// # Errors
    /// If `text` is not JSON as far as it had to be read.
    pub fn raw<'a>(&self, text: &'a str) -> Result<Option<&'a str>, JsonFault> {
        let steps: Option<Vec<Step>> = self.query.segments.iter().map(Segment::step).collect();
        steps.map_or(Ok(None), |steps| raw_at(text, &steps))
    }

    /// Shows every selected value to `visit`, until it says `false`. Whether it never did.
    pub(super) fn visit<'n>(
        &'n self,
        root: &'n Node<'n>,
        steps: &Steps,
        visit: &mut dyn FnMut(&'n Node<'n>) -> Result<bool, TooExpensive>,
    ) -> Result<bool, TooExpensive> {
        Walk { root, steps }.select(&self.query.segments, root, visit)
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Path({})", self.text)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Path {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Path {}

impl Segment {
    /// The step of a segment that selects one part by name or index.
    fn step(&self) -> Option<Step> {
        match self {
            Segment::Child(selectors) => match selectors.as_slice() {
                [Selector::Name(name)] => Some(Step::Name(name.clone())),
                [Selector::Index(index)] => Some(Step::Index(*index)),
                _ => None,
            },
            Segment::Descendant(_) => None,
        }
    }
}
