//! The operator form: conditions on values, and what they mean.

use super::budget::{Steps, TooExpensive, equal};
use super::json::Node;
use super::jsonpath::Path;
use super::regexes::Bounded;

/// How many characters of a value are shown in an explanation.
const EXCERPT: usize = 100;

/// A condition, or several.
#[derive(Debug, Clone)]
pub(super) enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
    Field(Field, Test),
}

/// The value that a condition is about.
#[derive(Debug, Clone)]
pub(super) enum Field {
    /// A dotted path from `data`.
    Dotted(Box<str>, Vec<Key>),
    /// A `$`-path from the envelope: it is enough that one of the values it selects passes.
    Selected(Path),
}

/// One part of a dotted path.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) name: Box<str>,
    /// The name as an index, if it is one: arrays have no names.
    pub(super) index: Option<i64>,
}

/// An operator and its operand.
#[derive(Debug, Clone)]
pub(super) struct Test {
    pub(super) operator: Operator,
    pub(super) operand: Node<'static>,
    /// The compiled operand of `regex`.
    pub(super) regex: Option<Bounded>,
}

/// The operators of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    /// Equal, of the same type.
    Eq,
    /// There, and not equal.
    Ne,
    /// Numbers by value, strings by code points; anything else is not ordered.
    Gt,
    Gte,
    Lt,
    Lte,
    /// Equal to one of a list.
    In,
    /// There, and equal to none of a list.
    Nin,
    /// There (`null` is there), or not.
    Exists,
    /// A string has this part, or an array this element.
    Contains,
    StartsWith,
    EndsWith,
    /// The expression matches somewhere in a string.
    Regex,
}

impl Operator {
    pub(super) const ALL: [(&'static str, Self); 13] = [
        ("eq", Self::Eq),
        ("ne", Self::Ne),
        ("gt", Self::Gt),
        ("gte", Self::Gte),
        ("lt", Self::Lt),
        ("lte", Self::Lte),
        ("in", Self::In),
        ("nin", Self::Nin),
        ("exists", Self::Exists),
        ("contains", Self::Contains),
        ("starts_with", Self::StartsWith),
        ("ends_with", Self::EndsWith),
        ("regex", Self::Regex),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, operator)| *operator == self).map_or("", |(name, _)| name)
    }
}

impl Condition {
    /// Whether it holds for an envelope.
    pub(super) fn holds<'n>(&'n self, root: &'n Node<'n>, steps: &Steps) -> Result<bool, TooExpensive> {
        match self {
            Self::All(parts) => {
                for part in parts {
                    if !part.holds(root, steps)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Self::Any(parts) => {
                for part in parts {
                    if part.holds(root, steps)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Self::Not(part) => Ok(!part.holds(root, steps)?),
            Self::Field(field, test) => field.passes(test, root, steps),
        }
    }

    /// Why it does not hold: the first condition that failed, and the value found. `None` if it holds.
    pub(super) fn failure<'n>(&'n self, root: &'n Node<'n>, steps: &Steps) -> Result<Option<String>, TooExpensive> {
        match self {
            Self::All(parts) => {
                for part in parts {
                    if let Some(failure) = part.failure(root, steps)? {
                        return Ok(Some(failure));
                    }
                }
                Ok(None)
            }
            Self::Any(parts) => {
                let mut first = None;
                for part in parts {
                    let Some(failure) = part.failure(root, steps)? else { return Ok(None) };
                    first.get_or_insert(failure);
                }
                Ok(Some(format!("nothing in `any` holds; its first: {}", first.unwrap_or_default())))
            }
            Self::Not(part) => {
                Ok(part.success(root, steps)?.map(|success| format!("`not` excludes what holds: {success}")))
            }
            Self::Field(field, test) => {
                if field.passes(test, root, steps)? {
                    return Ok(None);
                }
                Ok(Some(format!("{}, wanted {}", field.finding(None, root, steps)?, test.wish())))
            }
        }
    }

    /// Why it holds. `None` if it does not.
    pub(super) fn success<'n>(&'n self, root: &'n Node<'n>, steps: &Steps) -> Result<Option<String>, TooExpensive> {
        match self {
            Self::All(parts) => {
                let mut shown = Vec::new();
                for part in parts {
                    let Some(success) = part.success(root, steps)? else { return Ok(None) };
                    if shown.len() < 3 {
                        shown.push(success);
                    }
                }
                let more = parts.len() - shown.len();
                if more > 0 {
                    shown.push(format!("and {more} more"));
                }
                Ok(Some(if shown.is_empty() { "nothing is asked".to_owned() } else { shown.join("; ") }))
            }
            Self::Any(parts) => {
                for part in parts {
                    if let Some(success) = part.success(root, steps)? {
                        return Ok(Some(success));
                    }
                }
                Ok(None)
            }
            Self::Not(part) => Ok(part.failure(root, steps)?.map(|failure| format!("{failure}, which `not` asks for"))),
            Self::Field(field, test) => {
                if !field.passes(test, root, steps)? {
                    return Ok(None);
                }
                Ok(Some(format!("{} ({})", field.finding(Some(test), root, steps)?, test.wish())))
            }
        }
    }
}

impl Field {
    fn passes<'n>(&'n self, test: &'n Test, root: &'n Node<'n>, steps: &Steps) -> Result<bool, TooExpensive> {
        let wants_none = test.operator == Operator::Exists && matches!(test.operand, Node::Bool(false));
        if wants_none {
            return Ok(self.find(None, root, steps)?.is_none());
        }
        Ok(self.find(Some(test), root, steps)?.is_some())
    }

    /// The first value that passes the test, or the first at all.
    fn find<'n>(
        &'n self,
        test: Option<&'n Test>,
        root: &'n Node<'n>,
        steps: &Steps,
    ) -> Result<Option<&'n Node<'n>>, TooExpensive> {
        match self {
            Self::Dotted(_, keys) => {
                steps.spend(1 + keys.len())?;
                let found = keys.iter().try_fold(root.get("data"), |node, key| match node? {
                    array @ Node::Array(_) => Some(key.index.and_then(|index| array.at(index))),
                    other => Some(other.get(&key.name)),
                });
                match (found.flatten(), test) {
                    (Some(node), Some(test)) => Ok(test.passes(node, steps)?.then_some(node)),
                    (found, _) => Ok(found),
                }
            }
            Self::Selected(path) => {
                let mut found = None;
                path.visit(root, steps, &mut |node| {
                    let passes = test.map_or(Ok(true), |test| test.passes(node, steps))?;
                    if passes {
                        found = Some(node);
                    }
                    Ok(!passes)
                })?;
                Ok(found)
            }
        }
    }

    /// What was found, in words: the value that passed the test if one is given, else the first.
    fn finding<'n>(
        &'n self,
        test: Option<&'n Test>,
        root: &'n Node<'n>,
        steps: &Steps,
    ) -> Result<String, TooExpensive> {
        let test = test.filter(|test| test.operator != Operator::Exists);
        let found = self.find(test, root, steps)?.map(|node| node.excerpt(EXCERPT));
        Ok(match (self, found) {
            (Self::Dotted(text, _), Some(value)) => format!("`{text}` is {value}"),
            (Self::Dotted(text, _), None) => format!("`{text}` is missing"),
            (Self::Selected(path), Some(value)) if path.is_singular() || test.is_some() => {
                format!("`{path}` is {value}")
            }
            (Self::Selected(path), Some(value)) => format!("`{path}` selects {value} first"),
            (Self::Selected(path), None) => format!("`{path}` selects nothing"),
        })
    }
}

impl Test {
    /// Whether a value that is there passes.
    fn passes(&self, found: &Node<'_>, steps: &Steps) -> Result<bool, TooExpensive> {
        steps.spend(1)?;
        match self.operator {
            Operator::Eq => equal(found, &self.operand, steps),
            Operator::Ne => Ok(!equal(found, &self.operand, steps)?),
            Operator::In => any_equal(self.operand.children(), found, steps),
            Operator::Nin => Ok(!any_equal(self.operand.children(), found, steps)?),
            Operator::Exists => Ok(true),
            Operator::Gt | Operator::Gte | Operator::Lt | Operator::Lte => {
                steps.spend_text(found.as_text().map_or(0, str::len))?;
                Ok(found.order(&self.operand).is_some_and(|order| match self.operator {
                    Operator::Gt => order.is_gt(),
                    Operator::Gte => order.is_ge(),
                    Operator::Lt => order.is_lt(),
                    _ => order.is_le(),
                }))
            }
            Operator::Contains if matches!(found, Node::Array(_)) => any_equal(found.children(), &self.operand, steps),
            Operator::Contains | Operator::StartsWith | Operator::EndsWith => {
                let (Some(text), Some(part)) = (found.as_str(), self.operand.as_str()) else { return Ok(false) };
                Ok(match self.operator {
                    Operator::StartsWith => text.starts_with(part),
                    Operator::EndsWith => text.ends_with(part),
                    _ => {
                        steps.spend_text(text.len())?;
                        text.contains(part)
                    }
                })
            }
            Operator::Regex => {
                let (Some(text), Some(regex)) = (found.as_str(), &self.regex) else { return Ok(false) };
                regex.is_match(text, steps)
            }
        }
    }

    /// What was asked for, in words.
    fn wish(&self) -> String {
        format!("{} {}", self.operator.name(), self.operand.excerpt(EXCERPT))
    }
}

fn any_equal<'a, 'b: 'a>(
    nodes: impl Iterator<Item = &'a Node<'b>>,
    wanted: &Node<'_>,
    steps: &Steps,
) -> Result<bool, TooExpensive> {
    for node in nodes {
        if equal(node, wanted, steps)? {
            return Ok(true);
        }
    }
    Ok(false)
}
