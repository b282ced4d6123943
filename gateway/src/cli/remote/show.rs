//! How answers look on a terminal.

use serde_json::Value;

/// A text field; empty where there is none.
pub(in crate::cli) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// A text that does nothing to a terminal: what others have written may hold its commands.
pub(in crate::cli) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Rows below a head, in columns that are as wide as they must be.
pub(in crate::cli) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let head = head.map(str::to_owned);
    let rows: Vec<[String; N]> = rows.iter().map(|row| row.each_ref().map(|cell| plain(cell))).collect();
    let all = || std::iter::once(&head).chain(&rows);
    let widths: Vec<usize> = (0..N)
        .map(|column| all().filter_map(|row| Some(row.get(column)?.chars().count())).max().unwrap_or(0))
        .collect();
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    all().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other_and_commands_do_nothing() {
        let rows = [["ä".to_owned(), "x".to_owned()], ["long one".to_owned(), "\u{1b}[2J".to_owned()]];
        assert_eq!(table(["A", "B"], &rows), "A         B\nä         x\nlong one  \u{fffd}[2J");
    }
}
