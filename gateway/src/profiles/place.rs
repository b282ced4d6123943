//! A TOML text as a JSON value, and the line on which each part of it stands.

use serde_json::{Map, Number, Value};
use toml_edit::{ImDocument, Item, TableLike, Value as Toml};

use crate::domain::FieldError;
use crate::domain::pointer::{escape, unescape};

/// A TOML text, read.
pub(super) struct Page {
    document: ImDocument<String>,
}

impl Page {
    /// Reads a text.
    ///
    /// # Errors
    /// The line on which it stops being TOML, and why.
    pub(super) fn parse(text: &str) -> Result<Self, (usize, String)> {
        match ImDocument::parse(text.to_owned()) {
            Ok(document) => Ok(Self { document }),
            Err(error) => {
                let line = line_at(text, error.span().map_or(0, |span| span.start));
                Err((line, error.message().trim().replace('\n', "; ")))
            }
        }
    }

    /// The whole as a JSON value; the order of keys is kept.
    ///
    /// # Errors
    /// What JSON has no form for, with its place.
    pub(super) fn value(&self) -> Result<Value, FieldError> {
        table(self.document.as_table(), "")
    }

    /// The line of what a JSON Pointer names, or of the nearest thing around it that is there; the first is 1.
    pub(super) fn line(&self, pointer: &str) -> usize {
        let mut at = 0;
        let mut here = Some(Here::Item(self.document.as_item()));
        for segment in pointer.split('/').skip(1) {
            let segment = unescape(segment);
            let Some((start, next)) = here.and_then(|here| here.step(&segment)) else { break };
            at = start.unwrap_or(at);
            here = Some(next);
        }
        line_at(self.document.raw(), at)
    }
}

/// A place in the document.
#[derive(Clone, Copy)]
enum Here<'a> {
    Item(&'a Item),
    Table(&'a dyn TableLike),
    Value(&'a Toml),
}

impl<'a> Here<'a> {
    /// One segment further: where it begins, if that is known, and what is there.
    fn step(self, segment: &str) -> Option<(Option<usize>, Self)> {
        let in_table = |table: &'a dyn TableLike| {
            let (key, item) = table.get_key_value(segment)?;
            let start = key.span().or_else(|| item.span()).map(|span| span.start);
            Some((start, Here::Item(item)))
        };
        let in_array = |array: &'a toml_edit::Array| {
            let value = array.get(segment.parse().ok()?)?;
            Some((value.span().map(|span| span.start), Here::Value(value)))
        };
        match self {
            Self::Table(table) => in_table(table),
            Self::Value(Toml::InlineTable(table)) => in_table(table),
            Self::Value(Toml::Array(array)) => in_array(array),
            Self::Value(_) => None,
            Self::Item(Item::ArrayOfTables(tables)) => {
                let table = tables.get(segment.parse().ok()?)?;
                Some((table.span().map(|span| span.start), Here::Table(table)))
            }
            Self::Item(Item::Value(value)) => Here::Value(value).step(segment),
            Self::Item(Item::Table(table)) => in_table(table),
            Self::Item(Item::None) => None,
        }
    }
}

fn line_at(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

fn table(table: &dyn TableLike, at: &str) -> Result<Value, FieldError> {
    let mut object = Map::new();
    for (key, item) in table.iter() {
        let at = format!("{at}/{}", escape(key));
        let value = match item {
            Item::None => continue,
            Item::Value(value) => plain(value, &at)?,
            Item::Table(inner) => self::table(inner, &at)?,
            Item::ArrayOfTables(tables) => {
                let items =
                    tables.iter().enumerate().map(|(index, inner)| self::table(inner, &format!("{at}/{index}")));
                Value::Array(items.collect::<Result<_, _>>()?)
            }
        };
        object.insert(key.to_owned(), value);
    }
    Ok(Value::Object(object))
}

fn plain(value: &Toml, at: &str) -> Result<Value, FieldError> {
    Ok(match value {
        Toml::String(text) => Value::from(text.value().as_str()),
        Toml::Integer(number) => Value::from(*number.value()),
        Toml::Float(number) => Number::from_f64(*number.value())
            .map(Value::Number)
            .ok_or_else(|| FieldError::new(at, "a number that JSON does not have"))?,
        Toml::Boolean(value) => Value::from(*value.value()),
        Toml::Datetime(_) => return Err(FieldError::new(at, "write a time as text, in quotation marks")),
        Toml::Array(items) => {
            let items = items.iter().enumerate().map(|(index, item)| plain(item, &format!("{at}/{index}")));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        Toml::InlineTable(inner) => table(inner, at)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "name = 'x'\n\n[source]\nkeep = [\n  'a',\n  'b',\n]\n\n[source.inner]\n'a/b' = { c = 1 }\n\n\
                        [[events]]\nname = 'one'\n\n[[events]]\nname = 'two'\n[[events.samples]]\nbody = '''\n{}'''\n";

    #[test]
    fn places_have_lines() {
        let page = Page::parse(TEXT).unwrap();
        for (pointer, line) in [
            ("", 1),
            ("/name", 1),
            ("/source", 3),
            ("/source/keep/1", 6),
            ("/source/inner/a~1b/c", 10),
            ("/source/inner/none", 9),
            ("/events/0", 12),
            ("/events/1/name", 16),
            ("/events/1/samples/0", 17),
            ("/events/1/samples/0/body", 18),
            ("/events/1/samples/0/id", 17),
        ] {
            assert_eq!(page.line(pointer), line, "{pointer}");
        }
    }

    #[test]
    fn values_keep_their_order_and_their_form() {
        let page = Page::parse(TEXT).unwrap();
        let value = page.value().unwrap();
        assert_eq!(value["events"][1]["samples"][0]["body"], "{}");
        assert_eq!(value.as_object().unwrap().keys().collect::<Vec<_>>(), ["name", "source", "events"]);
        let dated = Page::parse("a = 1\nb = 2020-01-01T00:00:00Z").unwrap();
        assert_eq!(dated.value().unwrap_err().pointer, "/b");
        assert!(Page::parse("a = inf").unwrap().value().is_err());
        assert_eq!(Page::parse("a = 1\nb = ").err().unwrap().0, 2);
    }
}
