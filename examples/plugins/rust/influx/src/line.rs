//! The line protocol: `measurement,tag=value field=value time`.

use hookmill_plugin::Fault;
use hookmill_plugin::json::{Document, Kind};

/// A line being written.
pub(crate) struct Point {
    series: String,
    fields: String,
}

impl Point {
    /// A point of this measurement.
    ///
    /// # Errors
    /// If the name is empty, or one that InfluxDB keeps for itself.
    pub(crate) fn new(measurement: &str) -> Result<Self, Fault> {
        if measurement.trim().is_empty() || measurement.starts_with('_') {
            return Err(Fault::new("measurement: empty for this event, or begins with `_`, which InfluxDB keeps"));
        }
        Ok(Self { series: escaped(measurement, ", "), fields: String::new() })
    }

    /// Adds a tag, unless it is empty.
    pub(crate) fn tag(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.series.push_str(&format!(",{}={}", escaped(name, ",= "), escaped(value, ",= ")));
        }
    }

    /// Adds a field of this JSON value, unless it is `null`.
    ///
    /// # Errors
    /// If the value is not JSON, which templates never give.
    pub(crate) fn field(&mut self, name: &str, json: &str) -> Result<(), Fault> {
        let document = Document::parse(json)?;
        let root = document.root();
        let value = match root.kind() {
            Kind::Null => return Ok(()),
            // As floats, whole or not: a field's type is fixed by its first point.
            Kind::Number | Kind::Bool => root.raw().to_owned(),
            Kind::String => quoted(&root.as_str().unwrap_or_default()),
            Kind::Object | Kind::Array => quoted(root.raw()),
        };
        let comma = if self.fields.is_empty() { "" } else { "," };
        self.fields.push_str(&format!("{comma}{}={value}", escaped(name, ",= ")));
        Ok(())
    }

    /// The line, if it has a field, at this time (RFC 3339, UTC), in milliseconds.
    ///
    /// # Errors
    /// If the time is in another form, which the contract excludes.
    pub(crate) fn at(self, timestamp: &str) -> Result<Option<String>, Fault> {
        let millis = millis(timestamp).ok_or_else(|| {
            Fault::new(format!("timestamp: {timestamp} is not a time such as 2026-11-21T12:00:00.000Z"))
        })?;
        Ok((!self.fields.is_empty()).then(|| format!("{} {} {millis}", self.series, self.fields)))
    }
}

/// With a backslash before each of these, and spaces for line breaks, which the protocol can't write outside of quotes.
/// A backslash of the text's own that stands before one of them, or at the end, would undo that, and is left out.
fn escaped(text: &str, special: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().map(|char| if matches!(char, '\n' | '\r') { ' ' } else { char }).peekable();
    while let Some(char) = chars.next() {
        if char == '\\' && chars.peek().is_none_or(|next| *next == '\\' || special.contains(*next)) {
            continue;
        }
        if special.contains(char) {
            out.push('\\');
        }
        out.push(char);
    }
    out
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Milliseconds since 1970 of `YYYY-MM-DDTHH:MM:SS.mmmZ`.
fn millis(text: &str) -> Option<i64> {
    let shape = |(at, byte): (usize, u8)| match at {
        4 | 7 => byte == b'-',
        10 => byte == b'T',
        13 | 16 => byte == b':',
        19 => byte == b'.',
        23 => byte == b'Z',
        _ => byte.is_ascii_digit(),
    };
    if text.len() != 24 || !text.bytes().enumerate().all(shape) {
        return None;
    }
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    // Days since 1970, by Howard Hinnant's `days_from_civil`: years begin in March, so that the leap day is the last.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    let seconds = days * 86_400 + number(11, 13)? * 3_600 + number(14, 16)? * 60 + number(17, 19)?;
    Some(seconds * 1_000 + number(20, 23)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_counted_from_1970() {
        for (text, expected) in [
            ("1970-01-01T00:00:00.000Z", Some(0)),
            ("2000-02-29T23:59:59.999Z", Some(951_868_799_999)),
            ("2026-11-21T12:00:00.000Z", Some(1_795_262_400_000)),
            ("1969-12-31T23:59:59.999Z", Some(-1)),
            ("2026-11-21T12:00:00Z", None),
            ("2026-11-21 12:00:00.000Z", None),
            ("2026-11-21T12:00:00.00éZ", None),
        ] {
            assert_eq!(millis(text), expected, "{text}");
        }
    }

    #[test]
    fn nothing_breaks_out_of_its_place() {
        let mut point = Point::new("or ders,x").unwrap();
        point.tag("who=", "a b,c=d\ne\\");
        point.tag("path", r"c:\x\\,y=\");
        point.tag("none", "");
        point.field("note", r#""say \"hi\" \\""#).unwrap();
        point.field("n", "12345678901234567890").unwrap();
        point.field("nothing", "null").unwrap();
        let line = point.at("1970-01-01T00:00:00.001Z").unwrap().unwrap();
        assert_eq!(
            line,
            r#"or\ ders\,x,who\==a\ b\,c\=d\ e,path=c:\x\,y\= note="say \"hi\" \\",n=12345678901234567890 1"#
        );
    }
}
