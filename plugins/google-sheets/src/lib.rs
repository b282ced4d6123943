//! Google Sheets: a row for every event.
//!
//! **What is promised.** One event is one appended row with the columns of the config, in their order.
//! A column that is one expression keeps its type: numbers arrive as numbers, `true` as a checkbox's
//! value; a missing value leaves its cell alone. Values are stored `RAW`, so text from an event that looks
//! like a formula stays text. The host signs in with the service account; this plugin never sees its key.
//!
//! **What is not.** The Sheets API knows no idempotency: after a broken connection the row may be there
//! or not. Two rows would falsify every sum made of them, and nobody notices, so such a delivery is held for
//! a person (`on_unknown: hold`). A column with `{{ id }}` makes that look-up easy. A subscription whose
//! rows may be doubled can say `retry`.
//!
//! Facts are from Google's discovery document of Sheets v4 and its page on limits, read in 2026.

use hookmill_plugin::cut;
use hookmill_plugin::json::{Document, Kind, quote};
use hookmill_plugin::prelude::*;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::de::IgnoredAny;

/// Characters in a cell.
const CELL: usize = 50_000;

/// Columns in a sheet.
const COLUMNS: usize = 18_278;

/// The settings of a Google Sheets subscription.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The spreadsheet's id: the long part of its URL, between `/d/` and `/edit`.
    #[schemars(length(min = 1))]
    spreadsheet_id: String,
    /// Where the table is, for instance `Events!A:F`. Rows are added after the last one found there.
    #[schemars(length(min = 1))]
    range: String,
    /// One for each cell of the row, from left to right.
    #[schemars(length(min = 1))]
    columns: Vec<Column>,
    /// The service account's key file, its JSON. Share the spreadsheet with the account's e-mail as an editor.
    #[schemars(schema_with = "key_schema")]
    #[serde(rename = "service_account")]
    _service_account: IgnoredAny,
}

/// A column of the table.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Column {
    /// What the column is called, for people.
    header: String,
    /// Its cell, a template: `{{ data.amount }}`.
    value: String,
}

/// A key file can be pasted as text or given as the object it is.
fn key_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["string", "object"], "writeOnly": true })
}

/// The connector.
#[derive(Debug)]
pub struct GoogleSheets;

impl Connector for GoogleSheets {
    type Config = Config;

    const MANIFEST: Manifest = Manifest::connector("google-sheets", env!("CARGO_PKG_VERSION"))
        .title("Google Sheets")
        .description(
            "Appends a row to a spreadsheet for every event. Make a service account in Google Cloud with the Sheets \
             API enabled, share the spreadsheet with the account's e-mail as an editor, and paste the account's key. \
             If it cannot be told whether a row arrived, the delivery is held instead of adding a second row.",
        )
        .hosts(&["sheets.googleapis.com"])
        .auth(hookmill_plugin::Auth::GoogleServiceAccount {
            config_field: "/service_account",
            scopes: &["https://www.googleapis.com/auth/spreadsheets"],
        })
        .interprets(Interprets::Errors)
        .on_unknown(OnUnknown::Hold)
        .rate(60, 60_000);

    fn render(event: Event, config: &Config) -> Result<Outcome, Fault> {
        if config.columns.len() > COLUMNS {
            return Err(Fault::new(format!("columns: {} of them, and a sheet has {COLUMNS}", config.columns.len())));
        }
        let templates = Templates::new(&event, Escape::NONE)?;
        let mut row = Vec::with_capacity(config.columns.len());
        for (at, column) in config.columns.iter().enumerate() {
            let field = format!("columns/{at} ({})", column.header);
            row.push(cell(templates.json(&field, &column.value)?)?);
        }
        let mut url = "https://sheets.googleapis.com/v4/spreadsheets/".to_owned();
        Escape::URL.text(config.spreadsheet_id.trim(), &mut url);
        url.push_str("/values/");
        Escape::URL.text(config.range.trim(), &mut url);
        url.push_str(":append?valueInputOption=RAW&insertDataOption=INSERT_ROWS&includeValuesInResponse=false");
        let body = format!(r#"{{"majorDimension":"ROWS","values":[[{}]]}}"#, row.join(","));
        Ok(Request::json(body).to(url).into())
    }

    fn interpret(response: &Response, _: &Config) -> Verdict {
        let rejected = |what: &str| Verdict::Rejected(format!("{what} ({})", response.status));
        match response.status {
            200..300 => Verdict::Delivered,
            400 => rejected("Google does not accept the request; check the range, and that the sheet it names exists"),
            403 => rejected(
                "Google does not let the service account write; share the spreadsheet with its e-mail as an editor, \
                 and enable the Sheets API in its project",
            ),
            404 => rejected("there is no such spreadsheet; check spreadsheet_id"),
            413 => rejected("the row is too large for Google"),
            // The host renews the access token before the next attempt.
            401 => response.retry(Scope::Endpoint),
            // The quota belongs to the account, whichever spreadsheet it writes to.
            429 => response.retry(Scope::Host),
            408 | 425 | 500.. => response.retry(Scope::Endpoint),
            _ => rejected("Google refused the request"),
        }
    }
}

hookmill_plugin::connector!(GoogleSheets, emptied);

/// A JSON value as a cell: text, number, truth or nothing. What has parts becomes its JSON text.
fn cell(json: String) -> Result<String, Fault> {
    // Sheets counts in doubles: an id of more digits than those hold would come out as another id.
    if json.len() > 15 && json.trim_start_matches('-').bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(quote(&json));
    }
    // A short scalar needs no second look; most are.
    if json.len() <= CELL && !json.starts_with(['{', '[']) {
        return Ok(json);
    }
    let document = Document::parse(json)?;
    let root = document.root();
    Ok(match root.kind() {
        Kind::String => quote(&cut(root.as_str().unwrap_or_default().into_owned(), CELL)),
        Kind::Object | Kind::Array => quote(&cut(root.raw().to_owned(), CELL)),
        _ => root.raw().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use hookmill_plugin::{Connector, testing};

    #[test]
    fn golden() {
        testing::connector::<super::GoogleSheets>("golden");
    }

    #[test]
    fn manifest() {
        let schema = testing::manifest::<super::Config>(&super::GoogleSheets::MANIFEST);
        assert_eq!(schema["properties"]["service_account"]["writeOnly"], true);
        assert_eq!(schema["required"], serde_json::json!(["spreadsheet_id", "range", "columns", "service_account"]));
    }

    #[test]
    fn long_cells_are_cut() {
        let text = super::cell(format!("\"{}\"", "ä".repeat(60_000))).unwrap();
        assert_eq!(text.chars().count(), super::CELL + 2);
        let list = super::cell(format!("[{}1]", "1,".repeat(60_000))).unwrap();
        assert_eq!(list.chars().count(), super::CELL + 2);
    }
}
