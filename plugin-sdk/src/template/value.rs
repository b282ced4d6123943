//! An event's values as the template engine sees them: looked up when asked for, printed as they were
//! written.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use minijinja::value::{Enumerator, Object, ObjectRepr, ValueKind};
use minijinja::{Error, ErrorKind, Value};

use super::{Escape, NAMES};
use crate::json::{Document, Kind, Node, quote};

/// What all templates over one event share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) document: Document,
    /// Numbers that a template has looked up and that would not print as they were written: their
    /// bits, and where they stand. The engine computes with floats; this is how their spelling
    /// survives it.
    numbers: Mutex<Vec<(u64, usize)>>,
    /// The first name at the top that an event does not have.
    unknown: Mutex<Option<String>>,
}

/// One object or array of the event.
struct Container {
    shared: Arc<Shared>,
    index: usize,
}

impl Shared {
    pub(super) fn new(document: Document) -> Self {
        Self { document, numbers: Mutex::default(), unknown: Mutex::default() }
    }

    /// The event, for a template to look into.
    pub(super) fn root(self: &Arc<Self>) -> Value {
        *self.unknown.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.value(self.document.root())
    }

    /// Complains of a name at the top that can't be there.
    pub(super) fn check(&self) -> Result<(), Error> {
        match self.unknown.lock().unwrap_or_else(PoisonError::into_inner).take() {
            None => Ok(()),
            Some(name) => Err(Error::new(
                ErrorKind::UndefinedError,
                format!(
                    "`{name}` is not known; there are {} (an event's own fields are below `data`)",
                    NAMES.join(", ")
                ),
            )),
        }
    }

    fn value(self: &Arc<Self>, node: Node<'_>) -> Value {
        match node.kind() {
            Kind::Null => Value::from(()),
            Kind::Bool => Value::from(node.raw() == "true"),
            Kind::String => Value::from(node.as_str().unwrap_or_default().into_owned()),
            Kind::Number => self.number(node),
            Kind::Array | Kind::Object => {
                Value::from_object(Container { shared: Arc::clone(self), index: node.index() })
            }
        }
    }

    fn number(&self, node: Node<'_>) -> Value {
        let raw = node.raw();
        if raw != "-0" {
            if let Ok(whole) = raw.parse::<i64>() {
                return Value::from(whole);
            }
            if let Ok(whole) = raw.parse::<i128>() {
                return Value::from(whole);
            }
        }
        // Never fails: JSON's numbers are a part of what Rust reads. Too large ones are infinite.
        let float = raw.parse::<f64>().unwrap_or(f64::NAN);
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.push((float.to_bits(), node.index()));
        Value::from(float)
    }

    /// How the number was written, if it was looked up: by its value, the latest first.
    fn written(&self, value: &Value) -> Option<Node<'_>> {
        if value.is_integer() {
            return None;
        }
        let bits = f64::try_from(value.clone()).ok()?.to_bits();
        let numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, index) = numbers.iter().rev().find(|(known, _)| *known == bits)?;
        self.document.node(*index)
    }

    /// Appends what a value prints.
    pub(super) fn print(&self, value: &Value, escape: Escape, out: &mut String) -> Result<(), Error> {
        if let Some(container) = value.downcast_object_ref::<Container>() {
            if let Some(node) = self.document.node(container.index) {
                escape.node(node, out);
            }
            return Ok(());
        }
        match value.kind() {
            ValueKind::Undefined | ValueKind::None => {}
            ValueKind::Number => match self.written(value) {
                Some(node) => out.push_str(node.raw()),
                None => out.push_str(&value.to_string()),
            },
            ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::String => {
                let text = value.as_str().unwrap_or_default();
                if value.is_safe() { out.push_str(text) } else { escape.text(text, out) }
            }
            _ => escape.container(&self.to_json(value)?, out),
        }
        Ok(())
    }

    /// A value's JSON text.
    pub(super) fn to_json(&self, value: &Value) -> Result<String, Error> {
        if let Some(container) = value.downcast_object_ref::<Container>() {
            return Ok(self.document.node(container.index).map_or("null", |node| node.raw()).to_owned());
        }
        Ok(match value.kind() {
            ValueKind::Undefined | ValueKind::None => "null".to_owned(),
            ValueKind::Bool => value.is_true().to_string(),
            ValueKind::Number => match self.written(value) {
                Some(node) => node.raw().to_owned(),
                None if value.is_integer() => value.to_string(),
                // JSON has no word for infinity.
                None => match f64::try_from(value.clone()) {
                    Ok(float) if float.is_finite() => value.to_string(),
                    _ => "null".to_owned(),
                },
            },
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Result<Vec<String>, Error> = value.try_iter()?.map(|item| self.to_json(&item)).collect();
                format!("[{}]", items?.join(","))
            }
            ValueKind::Map => {
                let mut members = Vec::new();
                for key in value.try_iter()? {
                    members.push(format!("{}:{}", quote(&key.to_string()), self.to_json(&value.get_item(&key)?)?));
                }
                format!("{{{}}}", members.join(","))
            }
            _ => quote(&value.to_string()),
        })
    }
}

impl Container {
    fn node(&self) -> Node<'_> {
        // Containers are only made of nodes of this document.
        self.shared.document.node(self.index).unwrap_or_else(|| self.shared.document.root())
    }

    fn look_up(&self, name: &str) -> Option<Value> {
        let found = self.node().get(name);
        if found.is_none() && self.index == 0 {
            let mut unknown = self.shared.unknown.lock().unwrap_or_else(PoisonError::into_inner);
            unknown.get_or_insert_with(|| name.to_owned());
        }
        Some(self.shared.value(found?))
    }
}

impl fmt::Debug for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.node().raw())
    }
}

impl Object for Container {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        if self.node().kind() == Kind::Array { ObjectRepr::Seq } else { ObjectRepr::Map }
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match key.as_str() {
            Some(name) => self.look_up(name),
            None => Some(self.shared.value(self.node().at(key.as_i64()?)?)),
        }
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        self.look_up(key)
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let children = self.node().children();
        let items: Vec<Value> = match self.node().kind() {
            Kind::Array => children.map(|child| self.shared.value(child)).collect(),
            _ => children.filter_map(Node::key).map(|key| Value::from(key.into_owned())).collect(),
        };
        Enumerator::Values(items)
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.node().raw())
    }
}
