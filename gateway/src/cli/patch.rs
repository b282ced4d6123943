//! What has become otherwise, as a gateway tells it: JSON patches (RFC 6902).

use serde::Deserialize;
use serde_json::value::RawValue;

/// An operation of a patch; its value stays the text that it is.
#[derive(Debug, Deserialize)]
pub(super) struct Operation {
    op: String,
    path: String,
    value: Option<Box<RawValue>>,
}

/// A patch in words, of which the gateway may have left out something.
pub(super) fn patch_lines(patch: &[Operation], truncated: bool) -> Vec<String> {
    let mut lines: Vec<String> = patch.iter().map(Operation::line).collect();
    match (patch.is_empty(), truncated) {
        (true, _) => lines.push("    in a secret, or in more than can be shown".to_owned()),
        (false, true) => lines.push("    and more".to_owned()),
        (false, false) => {}
    }
    lines
}

impl Operation {
    fn line(&self) -> String {
        let Self { op, path, value } = self;
        let value = match value {
            Some(value) => format!(": {}", value.get()),
            None if op == "remove" => String::new(),
            None => ": null".to_owned(),
        };
        format!("    {op} {path}{value}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_in_words() {
        let patch = r#"[{"op":"remove","path":"/a"},{"op":"add","path":"/b","value":1.10},
            {"op":"replace","path":"/c","value":null}]"#;
        let patch: Vec<Operation> = serde_json::from_str(patch).unwrap();
        let operations = ["    remove /a", "    add /b: 1.10", "    replace /c: null"];
        assert_eq!(patch_lines(&patch, false), operations);
        assert_eq!(patch_lines(&patch, true).last().map(String::as_str), Some("    and more"));
        assert_eq!(patch_lines(&[], true), ["    in a secret, or in more than can be shown"]);
    }
}
