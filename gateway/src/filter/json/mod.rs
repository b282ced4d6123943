//! JSON as a filter needs it: borrowed from the text, with numbers kept as they are written.
//!
//! `serde_json::Value` turns a number that fits nothing else into an `f64`, copies every string, and
//! follows 128 levels with no say in what that costs. [`Node`] is a tree over the text itself: a string with no
//! escapes and every number is a slice of it. A tree takes at most about 20 bytes per byte of text
//! (`[0,0,0,…]`), usually one or two.
//!
//! Deliberately not here: writing documents, changing them, and streaming.

mod node;
mod number;
mod parse;

pub use node::{Node, Object};
pub use number::compare_numbers;
pub use parse::{JsonFault, MAX_DEPTH, check_json};

pub(super) use parse::raw_at;

/// One step from a value to one of its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// A member of an object.
    Name(Box<str>),
    /// An element of an array; negative ones count from the end.
    Index(i64),
}
