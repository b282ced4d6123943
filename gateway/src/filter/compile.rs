//! From what a tenant wrote to conditions, with every mistake in its place.

use super::json::{Node, Object};
use super::jsonpath::Path;
use super::operators::{Condition, Field, Key, Operator, Test};
use super::regexes;
use crate::domain::pointer::escape;

/// The largest filter, in bytes of JSON.
const MAX_BYTES: usize = 16 * 1024;
/// The most conditions in a filter, counting operators.
const MAX_CONDITIONS: usize = 64;
/// The most regular expressions in a filter: each may keep 256 KiB for as long as its subscription lives.
const MAX_REGEXES: usize = 8;
/// How deep `all`, `any` and `not` may be nested.
const MAX_NESTING: usize = 8;

/// A mistake in a filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pointer}: {detail}")]
pub struct FilterError {
    /// Where: an RFC 6901 pointer from the value of `filters`; empty for the whole of it.
    pub pointer: String,
    /// What is wrong, and what to write instead.
    pub detail: String,
}

/// What a filter was compiled to.
#[derive(Debug, Clone)]
pub(super) enum Program {
    /// The operator form.
    Conditions(Condition),
    /// A JSONPath that must select something.
    Selects(Path),
}

/// Compiles the text of a filter.
pub(super) fn compile(text: &str) -> Result<Program, Vec<FilterError>> {
    let mut compiler = Compiler::default();
    if text.len() > MAX_BYTES {
        compiler.refuse("", format!("a filter has at most {MAX_BYTES} bytes of JSON, this one has {}", text.len()));
        return Err(compiler.errors);
    }
    let program = match Node::parse(text) {
        Ok(Node::Object(object)) => Some(Program::Conditions(compiler.all("", &object, 0))),
        Ok(Node::String(path)) => compiler.path("", &path).map(Program::Selects),
        Ok(other) => {
            let detail = format!("a filter is an object of conditions or a JSONPath in a string, not {}", other.kind());
            compiler.refuse("", detail);
            None
        }
        Err(fault) => {
            compiler.refuse("", format!("not JSON: {fault}"));
            None
        }
    };
    if compiler.conditions > MAX_CONDITIONS {
        let detail = format!("a filter has at most {MAX_CONDITIONS} conditions, this one has {}", compiler.conditions);
        compiler.refuse("", detail);
    }
    if compiler.regexes > MAX_REGEXES {
        compiler.refuse(
            "",
            format!("a filter has at most {MAX_REGEXES} regular expressions, this one has {}", compiler.regexes),
        );
    }
    match program {
        Some(program) if compiler.errors.is_empty() => Ok(program),
        _ => Err(compiler.errors),
    }
}

/// What has been found so far. Conditions that are refused leave no trace but their error, as a filter with an
/// error is never run.
#[derive(Default)]
struct Compiler {
    errors: Vec<FilterError>,
    conditions: usize,
    regexes: usize,
}

impl Compiler {
    /// The conditions of an object, all of which must hold.
    fn all(&mut self, pointer: &str, object: &Object<'_>, nesting: usize) -> Condition {
        let mut parts = Vec::new();
        for (name, value) in object.iter() {
            let place = child(pointer, name);
            match name {
                "all" | "any" | "not" if nesting == MAX_NESTING => {
                    self.refuse(&place, format!("`all`, `any` and `not` may be nested {MAX_NESTING} deep"));
                }
                "all" => parts.push(Condition::All(self.list(&place, value, nesting))),
                "any" => parts.push(Condition::Any(self.list(&place, value, nesting))),
                "not" => parts.push(Condition::Not(Box::new(self.nested(&place, value, nesting)))),
                path => self.field(&place, path, value, &mut parts),
            }
        }
        Condition::All(parts)
    }

    fn list(&mut self, pointer: &str, value: &Node<'_>, nesting: usize) -> Vec<Condition> {
        match value {
            Node::Array(items) if !items.is_empty() => {
                let numbered = items.iter().enumerate();
                numbered.map(|(n, item)| self.nested(&child(pointer, &n.to_string()), item, nesting)).collect()
            }
            other => {
                let found = if matches!(other, Node::Array(_)) { "an empty one" } else { other.kind() };
                self.refuse(pointer, format!("wanted an array of filters, each an object, not {found}"));
                Vec::new()
            }
        }
    }

    fn nested(&mut self, pointer: &str, value: &Node<'_>, nesting: usize) -> Condition {
        match value {
            Node::Object(object) if !object.is_empty() => self.all(pointer, object, nesting + 1),
            other => {
                let found = if matches!(other, Node::Object(_)) { "an empty one" } else { other.kind() };
                self.refuse(pointer, format!("wanted a filter, an object of conditions, not {found}"));
                Condition::All(Vec::new())
            }
        }
    }

    /// The conditions on one field.
    fn field(&mut self, pointer: &str, path: &str, value: &Node<'_>, parts: &mut Vec<Condition>) {
        let field = if path.starts_with('$') {
            self.path(pointer, path).map(Field::Selected)
        } else {
            self.dotted(pointer, path)
        };
        let mut test = |compiler: &mut Self, place: &str, operator, operand: &Node<'_>| {
            compiler.conditions += 1;
            let test = compiler.test(place, operator, operand);
            if let (Some(field), Some(test)) = (&field, test) {
                parts.push(Condition::Field(field.clone(), test));
            }
        };
        match value {
            Node::Object(operators) if operators.is_empty() => {
                self.refuse(pointer, "wanted an operator, such as {\"eq\": 1}, not an empty object".to_owned());
            }
            Node::Object(operators) => {
                for (name, operand) in operators.iter() {
                    let place = child(pointer, name);
                    match Operator::ALL.iter().find(|(known, _)| *known == name) {
                        Some(&(_, operator)) => test(self, &place, operator, operand),
                        None => self.refuse(&place, unknown_operator(name)),
                    }
                }
            }
            Node::Array(_) => {
                self.refuse(pointer, "an array is not a condition: write {\"in\": […]} or {\"eq\": […]}".to_owned());
            }
            scalar => test(self, pointer, Operator::Eq, scalar),
        }
    }

    fn test(&mut self, pointer: &str, operator: Operator, operand: &Node<'_>) -> Option<Test> {
        let (fits, wanted) = match operator {
            Operator::Eq | Operator::Ne => (true, ""),
            Operator::Gt | Operator::Gte | Operator::Lt | Operator::Lte => {
                (matches!(operand, Node::Number(_) | Node::String(_)), "a number or a string")
            }
            Operator::In | Operator::Nin => {
                (matches!(operand, Node::Array(items) if !items.is_empty()), "an array of at least one value")
            }
            Operator::Exists => (matches!(operand, Node::Bool(_)), "true or false"),
            Operator::Contains => {
                (!matches!(operand, Node::Array(_) | Node::Object(_)), "a part of a string or an element")
            }
            Operator::StartsWith | Operator::EndsWith | Operator::Regex => {
                (matches!(operand, Node::String(_)), "a string")
            }
        };
        if !fits {
            let found = if matches!(operand, Node::Array(items) if items.is_empty()) {
                "an empty array"
            } else {
                operand.kind()
            };
            self.refuse(pointer, format!("wanted {wanted}, not {found}"));
            return None;
        }
        let mut regex = None;
        if let (Operator::Regex, Node::String(pattern)) = (operator, operand) {
            self.regexes += 1;
            if self.regexes <= MAX_REGEXES {
                match regexes::compile(pattern) {
                    Ok(compiled) => regex = Some(compiled),
                    Err(error) => self.refuse(pointer, error.to_string()),
                }
            }
        }
        Some(Test { operator, operand: operand.clone().into_owned(), regex })
    }

    fn path(&mut self, pointer: &str, text: &str) -> Option<Path> {
        self.conditions += usize::from(pointer.is_empty());
        Path::parse(text).map_err(|error| self.refuse(pointer, error.to_string())).ok()
    }

    /// A dotted path: names between dots, `\.` for a dot in a name and `\\` for a backslash.
    fn dotted(&mut self, pointer: &str, text: &str) -> Option<Field> {
        let mut names = vec![String::new()];
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            match character {
                '.' => names.push(String::new()),
                '\\' => match characters.next() {
                    Some(escaped @ ('.' | '\\')) => names.last_mut()?.push(escaped),
                    _ => {
                        self.refuse(pointer, "in a path, `\\` stands before a dot or another `\\`".to_owned());
                        return None;
                    }
                },
                other => names.last_mut()?.push(other),
            }
        }
        if names.iter().any(String::is_empty) {
            let detail = "a path is names with one dot between them, from `data` on, or begins with `$`";
            self.refuse(pointer, detail.to_owned());
            return None;
        }
        if names.len() > super::MAX_DEPTH {
            self.refuse(pointer, format!("a path has at most {} names", super::MAX_DEPTH));
            return None;
        }
        let keys = names.into_iter().map(|name| Key { index: index_of(&name), name: name.into() }).collect();
        Some(Field::Dotted(text.into(), keys))
    }

    fn refuse(&mut self, pointer: &str, detail: String) {
        self.errors.push(FilterError { pointer: pointer.to_owned(), detail });
    }
}

/// A name as an array's index: decimal digits, with no zero in front.
fn index_of(name: &str) -> Option<i64> {
    let digits = name.bytes().all(|byte| byte.is_ascii_digit());
    if digits && (name == "0" || !name.starts_with('0')) { name.parse().ok() } else { None }
}

/// A pointer one level down (RFC 6901, 3).
fn child(pointer: &str, name: &str) -> String {
    format!("{pointer}/{}", escape(name))
}

fn unknown_operator(name: &str) -> String {
    let known: Vec<&str> = Operator::ALL.iter().map(|(known, _)| *known).collect();
    format!(
        "there is no operator `{name}`: use one of {}, or {{\"eq\": …}} around an object to compare with",
        known.join(", ")
    )
}
