//! A checked query, as it is walked.

use crate::filter::json::Node;
use crate::filter::regexes::Bounded;

/// Segments, from `$` or `@`.
#[derive(Debug, Clone)]
pub(super) struct Query {
    pub(super) segments: Vec<Segment>,
}

/// One segment.
#[derive(Debug, Clone)]
pub(super) enum Segment {
    /// `[…]` or `.name`
    Child(Vec<Selector>),
    /// `..[…]` or `..name`
    Descendant(Vec<Selector>),
}

/// One selector.
#[derive(Debug, Clone)]
pub(super) enum Selector {
    Name(Box<str>),
    Wildcard,
    /// Negative ones count from the end.
    Index(i64),
    /// `start:end:step`
    Slice(Option<i64>, Option<i64>, i64),
    /// `?…`
    Filter(Logical),
}

/// Where a query within a filter begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// `$`
    Root,
    /// `@`
    Current,
}

/// What is true or false.
#[derive(Debug, Clone)]
pub(super) enum Logical {
    Any(Vec<Logical>),
    All(Vec<Logical>),
    Not(Box<Logical>),
    /// The query selects something.
    Exists(Origin, Query),
    Compare(Comparison, Operand, Operand),
    /// `match` and `search`.
    Matches(Operand, Pattern),
}

/// A comparison of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Eq,
    Ne,
    Lt,
    Lte,
    Gt,
    Gte,
}

/// What is a value, or nothing (RFC 9535's `ValueType`).
#[derive(Debug, Clone)]
pub(super) enum Operand {
    Literal(Node<'static>),
    /// A singular query.
    Query(Origin, Query),
    Length(Box<Operand>),
    Count(Origin, Query),
    Value(Origin, Query),
}

/// The pattern of `match` (which wants the whole text) or `search`.
#[derive(Debug, Clone)]
pub(super) enum Pattern {
    /// Written into the expression, and compiled with it.
    Literal(Bounded),
    /// Found in the document.
    Found { pattern: Operand, whole: bool },
}

impl Query {
    pub(super) fn is_singular(&self) -> bool {
        self.segments.iter().all(|segment| segment.step().is_some())
    }
}
