use hookmill_plugin::{Decision, Transform, testing};
use proptest::prelude::*;

use super::{Config, Redact};

#[test]
fn golden() {
    testing::transform::<Redact>("golden");
}

#[test]
fn manifest() {
    testing::manifest::<Config>(&Redact::MANIFEST);
}

/// JSON as a person or a program may have written it: any spelling of a number, any white space.
#[derive(Debug, Clone)]
enum Json {
    Scalar(&'static str),
    Array(Vec<Json>),
    /// Name (as written), white space around it, value.
    Object(Vec<(&'static str, &'static str, Json)>),
}

impl Json {
    /// Its text; with `mask`, what must come of hiding every member called `secret` except nulls. The
    /// same walk writes both, so they differ in nothing but that.
    fn write(&self, mask: Option<&str>, out: &mut String) {
        match self {
            Json::Scalar(text) => out.push_str(text),
            Json::Array(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    out.push_str(if at > 0 { " ,\n" } else { " " });
                    item.write(mask, out);
                }
                out.push(']');
            }
            Json::Object(members) => {
                out.push('{');
                for (at, (name, space, value)) in members.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    out.push_str(space);
                    out.push_str(name);
                    out.push_str(space);
                    out.push(':');
                    out.push_str(space);
                    let secret = name.ends_with("ecret\"");
                    match mask {
                        Some(mask) if secret && !matches!(value, Json::Scalar("null")) => out.push_str(mask),
                        _ => value.write(mask, out),
                    }
                }
                out.push('}');
            }
        }
    }
}

fn json() -> impl Strategy<Value = Json> {
    let scalar = prop::sample::select(vec![
        "0",
        "-0",
        "1.0",
        "1.50",
        "1e2",
        "1E+2",
        "0.1e-7",
        "12345678901234567890",
        "-9007199254740993",
        "1e400",
        "true",
        "false",
        "null",
        "\"\"",
        "\"secret\"",
        "\"a\\u00e9\\/\\\"b\"",
        "\"\\ud83d\\ude00 😀\"",
        "\"\\ud800\"",
        "\" {[,:]} \"",
    ])
    .prop_map(Json::Scalar);
    let name = prop::sample::select(vec!["\"a\"", "\"b c\"", "\"secret\"", "\"\\u0073ecret\"", "\"\""]);
    let space = prop::sample::select(vec!["", " ", "\n\t"]);
    scalar.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Json::Array),
            prop::collection::vec((name.clone(), space.clone(), inner), 0..5).prop_map(Json::Object),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// The design's promise: redact changes nothing but its paths, 20-digit integers included.
    #[test]
    fn changes_nothing_but_its_paths(json in json()) {
        let (mut text, mut expected) = (String::new(), String::new());
        json.write(None, &mut text);
        json.write(Some("\"XXX\""), &mut expected);
        let config: Config = serde_json::from_str(r#"{"paths":["$..secret"],"mask":"XXX"}"#).unwrap();
        match Redact::transform(testing::event("t", &text), &config).unwrap() {
            Decision::Keep(events) => prop_assert_eq!(&events[0].data, &expected),
            Decision::Drop(reason) => prop_assert!(false, "{}", reason),
        }
    }

    #[test]
    fn a_path_that_names_nothing_changes_nothing(json in json()) {
        let mut text = String::new();
        json.write(None, &mut text);
        let config: Config = serde_json::from_str(r#"{"paths":["$.data.nothing[3]","$..nowhere","$.attributes.x"],"mode":"hash"}"#).unwrap();
        match Redact::transform(testing::event("t", &text), &config).unwrap() {
            Decision::Keep(events) => prop_assert_eq!(&events[0].data, &text),
            Decision::Drop(reason) => prop_assert!(false, "{}", reason),
        }
    }
}
