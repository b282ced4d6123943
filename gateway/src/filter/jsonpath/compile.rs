//! From the crate's tree to ours: types are checked, numbers put back, patterns compiled.

use std::borrow::Cow;

use jsonpath_rust::parser::errors::JsonPathError;
use jsonpath_rust::parser::{model, parse_json_path};

use super::PathError;
use super::guard::guard;
use super::query::{Comparison, Logical, Operand, Origin, Pattern, Query, Segment, Selector};
use crate::filter::json::Node;
use crate::filter::regexes::compile_interoperable;

/// Compiles an expression that begins with `$`.
pub(super) fn compile(text: &str) -> Result<Query, PathError> {
    let guarded = guard(text)?;
    let parsed = parse_json_path(&guarded.text).map_err(|error| refused(text, &error))?;
    Compiler { numbers: &guarded.numbers }.query(&parsed.segments)
}

/// The grammar's complaint, without its picture of the rules.
fn refused(text: &str, error: &JsonPathError) -> PathError {
    let detail = "this is not RFC 9535 JSONPath";
    match error {
        JsonPathError::PestError(error) => {
            let offset = place(&error.to_string()).map_or(0, |(line, column)| offset(text, line, column));
            PathError::at(text, offset, detail)
        }
        other => PathError::Meaning(format!("{detail}: {other}")),
    }
}

/// Reads ` --> line:column` out of the grammar's message, which has it nowhere else that can be named from here.
fn place(message: &str) -> Option<(usize, usize)> {
    let (line, column) = message.split_once("--> ")?.1.lines().next()?.split_once(':')?;
    Some((line.trim().parse().ok()?, column.trim().parse().ok()?))
}

fn offset(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let within = text.get(start..).unwrap_or_default();
    start + within.char_indices().nth(column.saturating_sub(1)).map_or(within.len(), |(at, _)| at)
}

struct Compiler<'a> {
    numbers: &'a [Box<str>],
}

impl Compiler<'_> {
    fn query(&self, segments: &[model::Segment]) -> Result<Query, PathError> {
        Ok(Query { segments: segments.iter().map(|segment| self.segment(segment)).collect::<Result<_, _>>()? })
    }

    fn segment(&self, segment: &model::Segment) -> Result<Segment, PathError> {
        Ok(match segment {
            model::Segment::Descendant(within) => match self.segment(within)? {
                Segment::Child(selectors) | Segment::Descendant(selectors) => Segment::Descendant(selectors),
            },
            model::Segment::Selector(selector) => Segment::Child(vec![self.selector(selector)?]),
            model::Segment::Selectors(selectors) => {
                Segment::Child(selectors.iter().map(|selector| self.selector(selector)).collect::<Result<_, _>>()?)
            }
        })
    }

    fn selector(&self, selector: &model::Selector) -> Result<Selector, PathError> {
        Ok(match selector {
            model::Selector::Name(name) => Selector::Name(name.as_str().into()),
            model::Selector::Wildcard => Selector::Wildcard,
            model::Selector::Index(index) => Selector::Index(*index),
            model::Selector::Slice(start, end, step) => Selector::Slice(*start, *end, step.unwrap_or(1)),
            model::Selector::Filter(filter) => Selector::Filter(self.logical(filter)?),
        })
    }

    fn logical(&self, filter: &model::Filter) -> Result<Logical, PathError> {
        let all = |parts: &[model::Filter]| parts.iter().map(|part| self.logical(part)).collect::<Result<_, _>>();
        Ok(match filter {
            model::Filter::Or(parts) => Logical::Any(all(parts)?),
            model::Filter::And(parts) => Logical::All(all(parts)?),
            model::Filter::Atom(model::FilterAtom::Comparison(comparison)) => self.comparison(comparison)?,
            model::Filter::Atom(model::FilterAtom::Filter { expr, not }) => negated(self.logical(expr)?, *not),
            model::Filter::Atom(model::FilterAtom::Test { expr, not }) => negated(self.test(expr)?, *not),
        })
    }

    fn comparison(&self, comparison: &model::Comparison) -> Result<Logical, PathError> {
        let kind = match comparison {
            model::Comparison::Eq(..) => Comparison::Eq,
            model::Comparison::Ne(..) => Comparison::Ne,
            model::Comparison::Gt(..) => Comparison::Gt,
            model::Comparison::Gte(..) => Comparison::Gte,
            model::Comparison::Lt(..) => Comparison::Lt,
            model::Comparison::Lte(..) => Comparison::Lte,
        };
        let (left, right) = comparison.vals();
        Ok(Logical::Compare(kind, self.comparable(left)?, self.comparable(right)?))
    }

    fn comparable(&self, comparable: &model::Comparable) -> Result<Operand, PathError> {
        Ok(match comparable {
            model::Comparable::Literal(literal) => Operand::Literal(self.literal(literal)?),
            model::Comparable::Function(function) => self.value_function(function)?,
            model::Comparable::SingularQuery(query) => {
                let (origin, segments) = match query {
                    model::SingularQuery::Current(segments) => (Origin::Current, segments),
                    model::SingularQuery::Root(segments) => (Origin::Root, segments),
                };
                let segment = |segment: &model::SingularQuerySegment| {
                    Segment::Child(vec![match segment {
                        model::SingularQuerySegment::Name(name) => Selector::Name(name.as_str().into()),
                        model::SingularQuerySegment::Index(index) => Selector::Index(*index),
                    }])
                };
                Operand::Query(origin, Query { segments: segments.iter().map(segment).collect() })
            }
        })
    }

    fn test(&self, test: &model::Test) -> Result<Logical, PathError> {
        Ok(match test {
            model::Test::RelQuery(segments) => Logical::Exists(Origin::Current, self.query(segments)?),
            model::Test::AbsQuery(query) => Logical::Exists(Origin::Root, self.query(&query.segments)?),
            model::Test::Function(function) => match function.as_ref() {
                model::TestFunction::Match(text, pattern) => self.matches(text, pattern, true)?,
                model::TestFunction::Search(text, pattern) => self.matches(text, pattern, false)?,
                model::TestFunction::Custom(name, _) => return Err(unknown(name)),
                model::TestFunction::Length(_) | model::TestFunction::Count(_) | model::TestFunction::Value(_) => {
                    return Err(meaning("length(), count() and value() give a value: compare it with something"));
                }
            },
        })
    }

    fn matches(&self, text: &model::FnArg, pattern: &model::FnArg, whole: bool) -> Result<Logical, PathError> {
        let pattern = match self.value(pattern)? {
            Operand::Literal(Node::String(pattern)) => Pattern::Literal(compile_interoperable(&pattern, whole)?),
            Operand::Literal(_) => {
                return Err(meaning("the second argument of match() and search() is a pattern in quotes"));
            }
            pattern => Pattern::Found { pattern, whole },
        };
        Ok(Logical::Matches(self.value(text)?, pattern))
    }

    fn value_function(&self, function: &model::TestFunction) -> Result<Operand, PathError> {
        Ok(match function {
            model::TestFunction::Length(argument) => Operand::Length(Box::new(self.value(argument)?)),
            model::TestFunction::Count(argument) => {
                let (origin, query) = self.nodes(argument)?;
                Operand::Count(origin, query)
            }
            model::TestFunction::Value(argument) => {
                let (origin, query) = self.nodes(argument)?;
                Operand::Value(origin, query)
            }
            model::TestFunction::Custom(name, _) => return Err(unknown(name)),
            model::TestFunction::Match(..) | model::TestFunction::Search(..) => {
                return Err(meaning("match() and search() are true or false: they cannot be compared"));
            }
        })
    }

    /// An argument that must be a value.
    fn value(&self, argument: &model::FnArg) -> Result<Operand, PathError> {
        let singular = |origin, query: Query| {
            if query.is_singular() {
                Ok(Operand::Query(origin, query))
            } else {
                Err(meaning("this argument must be one value: a path of names and indexes, or value(…)"))
            }
        };
        match argument {
            model::FnArg::Literal(literal) => Ok(Operand::Literal(self.literal(literal)?)),
            model::FnArg::Test(test) => match test.as_ref() {
                model::Test::RelQuery(segments) => singular(Origin::Current, self.query(segments)?),
                model::Test::AbsQuery(query) => singular(Origin::Root, self.query(&query.segments)?),
                model::Test::Function(function) => self.value_function(function),
            },
            model::FnArg::Filter(_) => Err(meaning("a function's argument cannot be a condition")),
        }
    }

    /// An argument that must be a query.
    fn nodes(&self, argument: &model::FnArg) -> Result<(Origin, Query), PathError> {
        if let model::FnArg::Test(test) = argument {
            match test.as_ref() {
                model::Test::RelQuery(segments) => return Ok((Origin::Current, self.query(segments)?)),
                model::Test::AbsQuery(query) => return Ok((Origin::Root, self.query(&query.segments)?)),
                model::Test::Function(_) => {}
            }
        }
        Err(meaning("the argument of count() and value() is a path that begins with `@` or `$`"))
    }

    fn literal(&self, literal: &model::Literal) -> Result<Node<'static>, PathError> {
        Ok(match literal {
            model::Literal::Int(index) => {
                let text = usize::try_from(*index).ok().and_then(|index| self.numbers.get(index));
                let text = text.ok_or_else(|| meaning("a number in a place where none can stand"))?;
                Node::Number(Cow::Owned(text.to_string()))
            }
            model::Literal::Float(_) => return Err(meaning("a number in a place where none can stand")),
            model::Literal::String(text) => Node::String(Cow::Owned(text.clone())),
            model::Literal::Bool(value) => Node::Bool(*value),
            model::Literal::Null => Node::Null,
        })
    }
}

fn negated(logical: Logical, not: bool) -> Logical {
    if not { Logical::Not(Box::new(logical)) } else { logical }
}

fn meaning(detail: &str) -> PathError {
    PathError::Meaning(detail.to_owned())
}

fn unknown(name: &str) -> PathError {
    PathError::Meaning(format!("there is no function {name}(): RFC 9535 has length, count, match, search and value"))
}
