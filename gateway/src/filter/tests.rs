//! What filters say about documents, and what they refuse.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::filter::budget::MAX_STEPS;

fn filter(text: &str) -> Filter {
    Filter::parse(text).unwrap_or_else(|errors| panic!("{text}: {errors:?}"))
}

fn document(data: &str) -> Document<'_> {
    Document::new("evt_1", "event.purchase_complete", "2026-01-01T00:00:00.000Z", Some("shop"), &[], data)
}

const ILARA: &str = r#"{"properties.amount":{"gte":50},"properties.currency":{"eq":"USD"}}"#;

#[test]
fn the_ilara_filter() {
    for (data, expected, because) in [
        (r#"{"properties":{"amount":9.99,"currency":"USD"}}"#, false, "`properties.amount` is 9.99, wanted gte 50"),
        (
            r#"{"properties":{"amount":50,"currency":"USD"}}"#,
            true,
            "`properties.amount` is 50 (gte 50); `properties.currency` is \"USD\" (eq \"USD\")",
        ),
        (
            r#"{"properties":{"amount":50,"currency":"EUR"}}"#,
            false,
            "`properties.currency` is \"EUR\", wanted eq \"USD\"",
        ),
        (r#"{"properties":{"amount":"50","currency":"USD"}}"#, false, "`properties.amount` is \"50\", wanted gte 50"),
        (r#"{"properties":{"currency":"USD"}}"#, false, "`properties.amount` is missing, wanted gte 50"),
        ("null", false, "`properties.amount` is missing, wanted gte 50"),
    ] {
        let explanation = filter(ILARA).explain(&document(data));
        assert_eq!((explanation.matched, explanation.because.as_str()), (expected, because), "{data}");
        assert_eq!(filter(ILARA).evaluate(&document(data)), Ok(expected));
    }
}

/// Every operator over a value of every type, and over none.
#[test]
fn operators() {
    const VALUES: [(&str, &str); 9] = [
        ("missing", ""),
        ("null", "null"),
        ("true", "true"),
        ("five", "5.0"),
        ("big", "12345678901234567891"),
        ("abc", "\"abc\""),
        ("five as text", "\"5\""),
        ("array", "[5,\"abc\",{\"k\":1}]"),
        ("object", "{\"k\":1}"),
    ];
    for (condition, holds_for) in [
        (r#"{"eq":5}"#, &["five"][..]),
        (r#"{"eq":"5"}"#, &["five as text"]),
        (r#"{"eq":null}"#, &["null"]),
        (r#"{"eq":true}"#, &["true"]),
        (r#"{"eq":{"k":1.0}}"#, &["object"]),
        (r#"{"eq":[5,"abc",{"k":1}]}"#, &["array"]),
        (r#"{"eq":12345678901234567891}"#, &["big"]),
        (r#"{"eq":12345678901234567890}"#, &[]),
        ("5e0", &["five"]),
        ("null", &["null"]),
        (r#""abc""#, &["abc"]),
        (r#"{"ne":5}"#, &["null", "true", "big", "abc", "five as text", "array", "object"]),
        (r#"{"gt":5}"#, &["big"]),
        (r#"{"gt":12345678901234567890}"#, &["big"]),
        (r#"{"gt":12345678901234567891}"#, &[]),
        (r#"{"gte":5}"#, &["five", "big"]),
        (r#"{"lt":5.01}"#, &["five"]),
        (r#"{"lt":5}"#, &[]),
        (r#"{"lte":5}"#, &["five"]),
        (r#"{"gt":"5"}"#, &["abc"]),
        (r#"{"lte":"5"}"#, &["five as text"]),
        (r#"{"in":[5,"abc",null]}"#, &["null", "five", "abc"]),
        (r#"{"nin":[5,"abc",null]}"#, &["true", "big", "five as text", "array", "object"]),
        (r#"{"exists":true}"#, &["null", "true", "five", "big", "abc", "five as text", "array", "object"]),
        (r#"{"exists":false}"#, &["missing"]),
        (r#"{"contains":"bc"}"#, &["abc"]),
        (r#"{"contains":"abc"}"#, &["abc", "array"]),
        (r#"{"contains":5}"#, &["array"]),
        (r#"{"starts_with":"ab"}"#, &["abc"]),
        (r#"{"ends_with":"bc"}"#, &["abc"]),
        (r#"{"regex":"^[a-b]{2}"}"#, &["abc"]),
        (r#"{"regex":"5"}"#, &["five as text"]),
        (r#"{"gte":5,"lt":6}"#, &["five"]),
    ] {
        for (name, value) in VALUES {
            let data = if value.is_empty() { "{}".to_owned() } else { format!(r#"{{"v":{value}}}"#) };
            let expected = holds_for.contains(&name);
            for path in ["v", "$.data.v"] {
                let text = format!(r#"{{"{path}":{condition}}}"#);
                let explanation = filter(&text).explain(&document(&data));
                assert_eq!(explanation.matched, expected, "{text} over {name}: {}", explanation.because);
                // `not` is the opposite, whatever is missing.
                let not = format!(r#"{{"not":{text}}}"#);
                assert_eq!(filter(&not).evaluate(&document(&data)), Ok(!expected), "{not} over {name}");
            }
        }
    }
}

#[test]
fn paths() {
    let data = r#"{"a":{"b.c":1,"d\\e":2,"0":3},"list":[{"n":1},{"n":2}],"all":4}"#;
    for (text, expected) in [
        (r#"{"a.b\\.c":1}"#, true),
        (r#"{"a.b.c":1}"#, false),
        (r#"{"a.d\\\\e":2}"#, true),
        (r#"{"a.0":3}"#, true),
        (r#"{"list.0.n":1}"#, true),
        (r#"{"list.1.n":2}"#, true),
        (r#"{"list.01.n":2}"#, false),
        (r#"{"list.2.n":{"exists":false}}"#, true),
        (r#"{"list.n":{"exists":true}}"#, false),
        (r#"{"list.-1.n":{"exists":true}}"#, false),
        (r#"{"$.data.list[-1].n":2}"#, true),
        (r#"{"$.data.list[*].n":{"gt":1}}"#, true),
        (r#"{"$.data.list[*].n":{"gt":2}}"#, false),
        (r#"{"$.data.list[*].n":{"ne":1}}"#, true),
        (r#"{"$.data.list[*].x":{"exists":false}}"#, true),
        (r#"{"$.data.all":4}"#, true),
        (r#"{"$.type":{"starts_with":"event."},"$.source":"shop","$.id":"evt_1"}"#, true),
        (r#"{"$.timestamp":{"gte":"2026"}}"#, true),
        (r#"{"$.attributes.x":{"exists":false}}"#, true),
        ("{}", true),
        (r#""$.data.list[?@.n == 2]""#, true),
        (r#""$.data.list[?@.n == 3]""#, false),
        (r#""$.data[?@.a]""#, false),
        (r#"{"any":[{"all":[{"list.0.n":2}]},{"list.0.n":1,"list.1.n":2}]}"#, true),
        (r#"{"any":[{"list.0.n":2},{"list.0.n":3}]}"#, false),
        (r#"{"all":[{"list.0.n":1},{"list.1.n":3}]}"#, false),
        (r#"{"list.0.n":1,"any":[{"list.1.n":3}]}"#, false),
        (r#"{"not":{"list.0.n":2}}"#, true),
    ] {
        let explanation = filter(text).explain(&document(data));
        assert_eq!(explanation.matched, expected, "{text}: {}", explanation.because);
    }
}

#[test]
fn explanations() {
    let long = format!(r#"{{"s":"{}","list":[1,2]}}"#, "x".repeat(500));
    for (text, expected) in [
        (r#"{"any":[{"s":1},{"t":2}]}"#.to_owned(), "nothing in `any` holds; its first: `s` is \"xxx"),
        (r#"{"not":{"list.0":{"gte":1}}}"#.to_owned(), "`not` excludes what holds: `list.0` is 1 (gte 1)"),
        (r#"{"not":{"list.0":2}}"#.to_owned(), "`list.0` is 1, wanted eq 2, which `not` asks for"),
        (r#"{"$.data.list[*]":{"gt":5}}"#.to_owned(), "`$.data.list[*]` selects 1 first, wanted gt 5"),
        (r#"{"$.data.list[*]":{"gt":1}}"#.to_owned(), "`$.data.list[*]` is 2 (gt 1)"),
        (r#""$.data.none""#.to_owned(), "`$.data.none` selects nothing"),
        (r#""$.data.list""#.to_owned(), "`$.data.list` selects [1,2]"),
        (r#"{"list":{"exists":false}}"#.to_owned(), "`list` is [1,2], wanted exists false"),
        ("{}".to_owned(), "nothing is asked"),
    ] {
        let because = filter(&text).explain(&document(&long)).because;
        assert!(because.starts_with(expected), "{text}: {because}");
        assert!(because.chars().count() < 300, "{text}: {because}");
    }
}

#[test]
fn mistakes_are_reported_all_at_once_with_their_places() {
    let errors = Filter::compile(&json!({
        "a": {"gte": true, "foo": 1},
        "b": [],
        "c..d": 1,
        "e/f~g": {},
        "any": [],
        "all": [{"x": {"regex": "("}}, 5, {"not": {"y": {"in": []}}}],
        "not": "x",
        "$.a[": 1,
        "q\\x": 1,
        "s": {"starts_with": 1, "exists": "yes", "contains": []},
        "list": {"in": 5},
    }))
    .unwrap_err();
    let places: Vec<(&str, &str)> =
        errors.iter().map(|error| (error.pointer.as_str(), error.detail.as_str())).collect();
    let expected = [
        ("/a/gte", "wanted a number or a string, not a boolean"),
        ("/a/foo", "there is no operator `foo`"),
        ("/b", "an array is not a condition"),
        ("/c..d", "names with one dot between them"),
        ("/e~1f~0g", "not an empty object"),
        ("/any", "not an empty one"),
        ("/all/0/x/regex", "unclosed group"),
        ("/all/1", "not a number"),
        ("/all/2/not/y/in", "not an empty array"),
        ("/not", "not a string"),
        ("/$.a[", "RFC 9535"),
        ("/q\\x", "`\\`"),
        ("/s/starts_with", "wanted a string, not a number"),
        ("/s/exists", "wanted true or false, not a string"),
        ("/s/contains", "not an empty array"),
        ("/list/in", "not a number"),
    ];
    assert_eq!(places.len(), expected.len(), "{places:#?}");
    for ((pointer, detail), (expected_pointer, expected_detail)) in places.iter().zip(expected) {
        assert_eq!(*pointer, expected_pointer, "{detail}");
        assert!(detail.contains(expected_detail), "{pointer}: {detail}");
    }
}

#[test]
fn whole_filters_that_are_refused() {
    for (text, detail) in [
        ("5", "not a number"),
        ("null", "not null"),
        ("[]", "not an array"),
        ("\"data.x\"", "begins with `$`"),
        ("\"$..*..*\"", "used once"),
        ("{", "not JSON"),
        ("", "not JSON"),
    ] {
        let errors = Filter::parse(text).unwrap_err();
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert_eq!(errors[0].pointer, "");
        assert!(errors[0].detail.contains(detail), "{text}: {}", errors[0]);
    }
}

#[test]
fn limits_on_both_sides() {
    let conditions = |count: usize| {
        let members: Vec<String> = (0..count).map(|n| format!(r#""f{n}":{n}"#)).collect();
        format!("{{{}}}", members.join(","))
    };
    assert!(Filter::parse(&conditions(64)).is_ok());
    assert!(Filter::parse(&conditions(65)).unwrap_err()[0].detail.contains("64 conditions"));

    let regexes = |count: usize| {
        let members: Vec<String> = (0..count).map(|n| format!(r#""f{n}":{{"regex":"a"}}"#)).collect();
        format!("{{{}}}", members.join(","))
    };
    assert!(Filter::parse(&regexes(8)).is_ok());
    assert!(Filter::parse(&regexes(9)).unwrap_err()[0].detail.contains("8 regular expressions"));

    let nested = |levels: usize| format!("{}{}{}", r#"{"not":"#.repeat(levels), r#"{"a":1}"#, "}".repeat(levels));
    assert!(Filter::parse(&nested(8)).is_ok());
    let error = &Filter::parse(&nested(9)).unwrap_err()[0];
    assert_eq!(error.pointer, "/not".repeat(9));
    assert!(error.detail.contains("nested 8 deep"), "{error}");

    let sized = |bytes: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes - 8));
    assert!(Filter::parse(&sized(16 * 1024)).is_ok());
    assert!(Filter::parse(&sized(16 * 1024 + 1)).unwrap_err()[0].detail.contains("16384 bytes"));
}

#[test]
fn the_whole_filter_shares_one_budget() {
    let data = format!("[{}]", vec!["0"; MAX_STEPS as usize / 4].join(","));
    let one = filter(r#"{"$.data[*]":1}"#);
    assert_eq!(one.evaluate(&document(&data)), Ok(false));
    let many: Vec<String> = (0..8).map(|n| format!(r#"{{"$.data[*]":{}}}"#, n + 1)).collect();
    let many = filter(&format!(r#"{{"any":[{}]}}"#, many.join(",")));
    assert_eq!(many.evaluate(&document(&data)), Err(TooExpensive::Steps));
    let explanation = many.explain(&document(&data));
    assert!(!explanation.matched && explanation.because.contains("too expensive"), "{explanation:?}");
}

#[test]
fn data_that_is_too_deep_is_said_to_be() {
    let data = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let error = filter(ILARA).evaluate(&document(&data)).unwrap_err();
    assert!(matches!(&error, TooExpensive::Data(fault) if fault.detail.contains("deeper")), "{error}");
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-9_i64..9).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(vec!["", "a", "b.c", "$.data.a", "$..*", "(", "[ab]+", "$[?@.a<2]"]).prop_map(Value::from),
    ];
    let name = prop::sample::select(vec![
        "a",
        "b",
        "a.b",
        "a.0",
        "$.data.a",
        "$..a",
        "$[?@.a]",
        "all",
        "any",
        "not",
        "eq",
        "ne",
        "gt",
        "gte",
        "lt",
        "lte",
        "in",
        "nin",
        "exists",
        "contains",
        "starts_with",
        "ends_with",
        "regex",
        "",
        "\\",
        "a..b",
    ]);
    leaf.prop_recursive(5, 32, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name.clone().prop_map(str::to_owned), inner), 0..5)
                .prop_map(|members| members.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn any_filter_over_any_document_is_survived(filters in any_json(), data in any_json()) {
        let data = data.to_string();
        if let Ok(filter) = Filter::compile(&filters) {
            let answer = filter.evaluate(&document(&data));
            let explanation = filter.explain(&document(&data));
            prop_assert_eq!(explanation.matched, answer.unwrap_or(false));
            prop_assert!(!explanation.because.is_empty());
        }
    }

    #[test]
    fn conditions_and_their_negation_are_opposites(
        path in prop::sample::select(vec!["a", "a.b", "a.0", "$.data.a", "$..a"]),
        operator in prop::sample::select(vec!["eq", "ne", "gt", "gte", "lt", "lte", "contains", "in", "nin"]),
        operand in any_json(),
        data in any_json(),
    ) {
        let data = data.to_string();
        let condition = json!({path: {operator: operand}});
        if let Ok(filter) = Filter::compile(&condition) {
            let negation = Filter::compile(&json!({"not": condition})).unwrap();
            let answer = filter.evaluate(&document(&data)).unwrap();
            prop_assert_eq!(negation.evaluate(&document(&data)), Ok(!answer));
        }
    }

    #[test]
    fn any_text_is_survived(text in "\\PC{0,40}") {
        let _ = Filter::parse(&text);
    }
}
