//! Which events a subscription wants.
//!
//! **Who acts.** Control compiles what a tenant wrote when it is saved; the pipeline asks [`TypeIndex`] who
//! names an event's type, then each of those for its [`Filter`]; the log asks [`Filter::explain`] why not.
//! Sources use [`Path`] to take an event out of what a product posted. Everything here is pure: no I/O, no
//! clock, no state.
//!
//! **What is promised.**
//! - A filter that was saved can be run: every mistake is reported when it is compiled, all at once, each with
//!   its place.
//! - No filter runs away, whatever a tenant writes and a product posts: an evaluation takes at most
//!   [`MAX_STEPS`] steps or ends in [`TooExpensive`]; expressions, nesting and compiled patterns are bounded;
//!   regular expressions take linear time. Nothing panics or overflows the stack.
//! - Comparisons are exact: numbers are compared as the decimals they were written as, never as `f64`.
//! - A missing value makes every condition false, `ne` and `nin` too, but for `exists: false`.
//!
//! **What is deliberately not.** Nothing is coerced: the string `"50"` is not a number, is unequal to every
//! number, and neither above nor below one. There is no arithmetic, no reference from one field to another but
//! in JSONPath, and no way to see the clock or another event. A filter that is too expensive neither matches
//! nor does not; what becomes of the delivery then is the pipeline's to say.
//!
//! Read `pattern` and `index` for event types, `document` for what an expression sees, `operators` and
//! `compile` for the operator form, `jsonpath` for the other, and `budget` for what it all may cost.

mod budget;
mod compile;
mod compiled;
mod document;
mod index;
mod json;
mod jsonpath;
mod operators;
mod pattern;
mod regexes;

pub use budget::{MAX_STEPS, TooExpensive};
pub use compile::FilterError;
pub use compiled::{Explanation, Filter};
pub use document::Document;
pub use index::TypeIndex;
pub use json::{JsonFault, MAX_DEPTH, Node, Object, check_json, compare_numbers};
pub use jsonpath::{Path, PathError};
pub use pattern::{EventPattern, PatternError};
pub use regexes::RegexError;
