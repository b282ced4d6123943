//! The walk of a query through a document.
//!
//! Depth first, which gives the RFC's order, and without lists in between, so that the first value that is
//! wanted ends it. Every segment goes one level down, so recursion is bounded by the document's depth and the
//! expression's length; time is bounded by the steps.

use std::borrow::Cow;

use super::query::{Comparison, Logical, Operand, Origin, Pattern, Query, Segment, Selector};
use crate::filter::budget::{Steps, TooExpensive, equal};
use crate::filter::json::Node;
use crate::filter::regexes::compile_interoperable;

/// What compiling a pattern that was found in the document costs: a few of them, not one per value.
const COMPILE_STEPS: usize = 1000;

/// Where the walk takes place.
#[derive(Clone, Copy)]
pub(super) struct Walk<'n, 's> {
    pub(super) root: &'n Node<'n>,
    pub(super) steps: &'s Steps,
}

type Visit<'v, 'n> = &'v mut dyn FnMut(&'n Node<'n>) -> Result<bool, TooExpensive>;

/// An operand's value.
enum Value<'n> {
    Nothing,
    Node(&'n Node<'n>),
    Number(usize),
}

impl<'n> Walk<'n, '_> {
    /// Shows `visit` what the segments select from a value, until it says `false`. Whether it never did.
    pub(super) fn select(
        self,
        segments: &'n [Segment],
        node: &'n Node<'n>,
        visit: Visit<'_, 'n>,
    ) -> Result<bool, TooExpensive> {
        match segments.split_first() {
            None => visit(node),
            Some((Segment::Child(selectors), rest)) => self.children(selectors, rest, node, visit),
            Some((Segment::Descendant(selectors), rest)) => self.descend(selectors, rest, node, visit),
        }
    }

    fn descend(
        self,
        selectors: &'n [Selector],
        rest: &'n [Segment],
        node: &'n Node<'n>,
        visit: Visit<'_, 'n>,
    ) -> Result<bool, TooExpensive> {
        self.steps.spend(1)?;
        if !self.children(selectors, rest, node, visit)? {
            return Ok(false);
        }
        for child in node.children() {
            if !self.descend(selectors, rest, child, visit)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn children(
        self,
        selectors: &'n [Selector],
        rest: &'n [Segment],
        node: &'n Node<'n>,
        visit: Visit<'_, 'n>,
    ) -> Result<bool, TooExpensive> {
        for selector in selectors {
            self.steps.spend(1)?;
            let goes_on = match selector {
                Selector::Name(name) => node.get(name).map_or(Ok(true), |child| self.select(rest, child, visit))?,
                Selector::Index(index) => node.at(*index).map_or(Ok(true), |child| self.select(rest, child, visit))?,
                Selector::Wildcard => self.each(node.children(), None, rest, visit)?,
                Selector::Filter(filter) => self.each(node.children(), Some(filter), rest, visit)?,
                Selector::Slice(start, end, step) => {
                    let Node::Array(items) = node else { continue };
                    self.each(slice(items, *start, *end, *step), None, rest, visit)?
                }
            };
            if !goes_on {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn each(
        self,
        nodes: impl Iterator<Item = &'n Node<'n>>,
        filter: Option<&'n Logical>,
        rest: &'n [Segment],
        visit: Visit<'_, 'n>,
    ) -> Result<bool, TooExpensive> {
        for node in nodes {
            self.steps.spend(1)?;
            let wanted = filter.map_or(Ok(true), |filter| self.test(filter, node))?;
            if wanted && !self.select(rest, node, visit)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn test(self, logical: &'n Logical, current: &'n Node<'n>) -> Result<bool, TooExpensive> {
        match logical {
            Logical::Any(parts) => {
                for part in parts {
                    if self.test(part, current)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Logical::All(parts) => {
                for part in parts {
                    if !self.test(part, current)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Logical::Not(part) => Ok(!self.test(part, current)?),
            Logical::Exists(origin, query) => {
                let ended = self.select(&query.segments, self.origin(*origin, current), &mut |_| Ok(false))?;
                Ok(!ended)
            }
            Logical::Compare(comparison, left, right) => {
                let (left, right) = (self.value(left, current)?, self.value(right, current)?);
                self.compare(*comparison, &left, &right)
            }
            Logical::Matches(text, pattern) => self.matches(text, pattern, current),
        }
    }

    fn matches(self, text: &'n Operand, pattern: &'n Pattern, current: &'n Node<'n>) -> Result<bool, TooExpensive> {
        let Value::Node(Node::String(text)) = self.value(text, current)? else { return Ok(false) };
        match pattern {
            Pattern::Literal(regex) => regex.is_match(text, self.steps),
            Pattern::Found { pattern, whole } => {
                let Value::Node(Node::String(pattern)) = self.value(pattern, current)? else { return Ok(false) };
                self.steps.spend(COMPILE_STEPS)?;
                // A text that is no I-Regexp matches nothing (RFC 9535, 2.4.6).
                compile_interoperable(pattern, *whole).map_or(Ok(false), |regex| regex.is_match(text, self.steps))
            }
        }
    }

    fn compare(self, comparison: Comparison, left: &Value<'n>, right: &Value<'n>) -> Result<bool, TooExpensive> {
        match comparison {
            Comparison::Eq => self.equal(left, right),
            Comparison::Ne => Ok(!self.equal(left, right)?),
            Comparison::Lt => self.less(left, right),
            Comparison::Gt => self.less(right, left),
            Comparison::Lte => Ok(self.less(left, right)? || self.equal(left, right)?),
            Comparison::Gte => Ok(self.less(right, left)? || self.equal(left, right)?),
        }
    }

    fn equal(self, left: &Value<'n>, right: &Value<'n>) -> Result<bool, TooExpensive> {
        match (left.node(), right.node()) {
            (Some(left), Some(right)) => equal(&left, &right, self.steps),
            (None, None) => Ok(true),
            _ => Ok(false),
        }
    }

    fn less(self, left: &Value<'n>, right: &Value<'n>) -> Result<bool, TooExpensive> {
        let (Some(left), Some(right)) = (left.node(), right.node()) else { return Ok(false) };
        self.steps.spend_text(left.as_text().map_or(0, str::len).max(right.as_text().map_or(0, str::len)))?;
        Ok(left.order(&right).is_some_and(std::cmp::Ordering::is_lt))
    }

    fn value(self, operand: &'n Operand, current: &'n Node<'n>) -> Result<Value<'n>, TooExpensive> {
        Ok(match operand {
            Operand::Literal(node) => Value::Node(node),
            Operand::Query(origin, query) | Operand::Value(origin, query) => self.only(*origin, query, current)?,
            Operand::Count(origin, query) => {
                let mut count = 0;
                self.select(&query.segments, self.origin(*origin, current), &mut |_| {
                    count += 1;
                    Ok(true)
                })?;
                Value::Number(count)
            }
            Operand::Length(operand) => match self.value(operand, current)? {
                Value::Node(Node::String(text)) => {
                    self.steps.spend_text(text.len())?;
                    Value::Number(text.chars().count())
                }
                Value::Node(Node::Array(items)) => Value::Number(items.len()),
                Value::Node(Node::Object(object)) => Value::Number(object.len()),
                _ => Value::Nothing,
            },
        })
    }

    /// The value that a query selects, if it selects exactly one.
    fn only(self, origin: Origin, query: &'n Query, current: &'n Node<'n>) -> Result<Value<'n>, TooExpensive> {
        let mut found = Value::Nothing;
        let single = self.select(&query.segments, self.origin(origin, current), &mut |node| {
            let first = matches!(found, Value::Nothing);
            found = Value::Node(node);
            Ok(first)
        })?;
        Ok(if single { found } else { Value::Nothing })
    }

    fn origin(self, origin: Origin, current: &'n Node<'n>) -> &'n Node<'n> {
        match origin {
            Origin::Root => self.root,
            Origin::Current => current,
        }
    }
}

impl<'n> Value<'n> {
    fn node(&self) -> Option<Cow<'n, Node<'n>>> {
        match self {
            Value::Nothing => None,
            Value::Node(node) => Some(Cow::Borrowed(node)),
            Value::Number(number) => Some(Cow::Owned(Node::Number(Cow::Owned(number.to_string())))),
        }
    }
}

/// RFC 9535, 2.3.4.2.2.
fn slice<'n>(
    items: &'n [Node<'n>],
    start: Option<i64>,
    end: Option<i64>,
    step: i64,
) -> impl Iterator<Item = &'n Node<'n>> {
    let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
    let normal = |index: i64| if index >= 0 { index } else { length.saturating_add(index) };
    let (mut at, limit) = if step >= 0 {
        (normal(start.unwrap_or(0)).clamp(0, length), normal(end.unwrap_or(length)).clamp(0, length))
    } else {
        let last = length - 1;
        let end = end.map_or(-1, |end| normal(end).clamp(-1, last));
        (normal(start.unwrap_or(last)).clamp(-1, last), end)
    };
    std::iter::from_fn(move || {
        let within = if step > 0 { at < limit } else { step < 0 && at > limit };
        let item = items.get(usize::try_from(at).ok().filter(|_| within)?)?;
        at = at.saturating_add(step);
        Some(item)
    })
}
