//! The examples of RFC 9535, and what it must not be possible to do with it.

use proptest::prelude::*;

use super::*;
use crate::filter::budget::MAX_STEPS;

/// What an expression selects, as compact JSON.
fn select(path: &str, document: &str) -> Vec<String> {
    let path = Path::parse(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let root = Node::parse(document).unwrap();
    path.select(&root).unwrap().iter().map(ToString::to_string).collect()
}

fn check(document: &str, table: &[(&str, &[&str])]) {
    for (path, expected) in table {
        assert_eq!(select(path, document), *expected, "{path}");
    }
}

/// RFC 9535, 1.5.
const BOOKSTORE: &str = r#"{"store":{"book":[
    {"category":"reference","author":"Nigel Rees","title":"Sayings of the Century","price":8.95},
    {"category":"fiction","author":"Evelyn Waugh","title":"Sword of Honour","price":12.99},
    {"category":"fiction","author":"Herman Melville","title":"Moby Dick","isbn":"0-553-21311-3","price":8.99},
    {"category":"fiction","author":"J. R. R. Tolkien","title":"The Lord of the Rings","isbn":"0-395-19395-8","price":22.99}],
    "bicycle":{"color":"red","price":399}}}"#;

#[test]
fn the_bookstore() {
    let authors: &[&str] = &["\"Nigel Rees\"", "\"Evelyn Waugh\"", "\"Herman Melville\"", "\"J. R. R. Tolkien\""];
    check(
        BOOKSTORE,
        &[
            ("$.store.book[*].author", authors),
            ("$..author", authors),
            ("$.store..price", &["8.95", "12.99", "8.99", "22.99", "399"]),
            ("$..book[2].title", &["\"Moby Dick\""]),
            ("$..book[2].publisher", &[]),
            ("$..book[-1].title", &["\"The Lord of the Rings\""]),
            ("$..book[0,1].author", &["\"Nigel Rees\"", "\"Evelyn Waugh\""]),
            ("$..book[:2].author", &["\"Nigel Rees\"", "\"Evelyn Waugh\""]),
            ("$..book[?@.isbn].price", &["8.99", "22.99"]),
            ("$..book[?@.price<10].price", &["8.95", "8.99"]),
            ("$.store.book[?@.price < 10].title", &["\"Sayings of the Century\"", "\"Moby Dick\""]),
        ],
    );
    assert_eq!(select("$.store.*", BOOKSTORE).len(), 2);
    assert_eq!(select("$..*", BOOKSTORE).len(), 27);
}

#[test]
fn selectors() {
    // RFC 9535, tables 5, 6, 7, 9 and 15.
    let names = r#"{"o":{"j j":{"k.k":3}},"'":{"@":2}}"#;
    check(
        names,
        &[
            ("$.o['j j']", &["{\"k.k\":3}"]),
            ("$.o['j j']['k.k']", &["3"]),
            ("$.o[\"j j\"][\"k.k\"]", &["3"]),
            ("$[\"'\"][\"@\"]", &["2"]),
            ("$['\\'']['\\u0040']", &["2"]),
        ],
    );
    check(
        r#"{"o":{"j":1,"k":2},"a":[5,3]}"#,
        &[
            ("$[*]", &["{\"j\":1,\"k\":2}", "[5,3]"]),
            ("$.o[*]", &["1", "2"]),
            ("$.o[*, *]", &["1", "2", "1", "2"]),
            ("$.a[*]", &["5", "3"]),
        ],
    );
    let letters = r#"["a","b","c","d","e","f","g"]"#;
    check(
        letters,
        &[
            ("$[1]", &["\"b\""]),
            ("$[-2]", &["\"f\""]),
            ("$[7]", &[]),
            ("$[1:3]", &["\"b\"", "\"c\""]),
            ("$[5:]", &["\"f\"", "\"g\""]),
            ("$[1:5:2]", &["\"b\"", "\"d\""]),
            ("$[5:1:-2]", &["\"f\"", "\"d\""]),
            ("$[::-1]", &["\"g\"", "\"f\"", "\"e\"", "\"d\"", "\"c\"", "\"b\"", "\"a\""]),
            ("$[1:3:0]", &[]),
            ("$[-2:]", &["\"f\"", "\"g\""]),
            ("$[:-5]", &["\"a\"", "\"b\""]),
            ("$[0, 3]", &["\"a\"", "\"d\""]),
            ("$[0:2, 5]", &["\"a\"", "\"b\"", "\"f\""]),
            ("$[0, 0]", &["\"a\"", "\"a\""]),
            ("$[-9007199254740991:9007199254740991:9007199254740991]", &["\"a\""]),
            ("$.a", &[]),
        ],
    );
    assert_eq!(select("$[::-1]", "[]"), Vec::<String>::new());
    check(
        r#"{"o":{"j":1,"k":2},"a":[5,3,[{"j":4},{"k":6}]]}"#,
        &[
            ("$..j", &["1", "4"]),
            ("$..[0]", &["5", "{\"j\":4}"]),
            ("$.a..[0, 1]", &["5", "3", "{\"j\":4}", "{\"k\":6}"]),
        ],
    );
    // RFC 9535, 2.6: null is a value like any other.
    check(
        r#"{"a":null,"b":[null],"c":[{}],"null":1}"#,
        &[
            ("$.a", &["null"]),
            ("$.a[0]", &[]),
            ("$.a.d", &[]),
            ("$.b[?@]", &["null"]),
            ("$.b[?@==null]", &["null"]),
            ("$.c[?@.d==null]", &[]),
            ("$.null", &["1"]),
        ],
    );
}

/// RFC 9535, table 11.
#[test]
fn comparisons() {
    let document = r#"{"obj":{"x":"y"},"arr":[2,3]}"#;
    for (condition, expected) in [
        ("$.absent1 == $.absent2", true),
        ("$.absent1 <= $.absent2", true),
        ("$.absent == 'g'", false),
        ("$.absent1 != $.absent2", false),
        ("$.absent != 'g'", true),
        ("1 <= 2", true),
        ("1 > 2", false),
        ("13 == '13'", false),
        ("'a' <= 'b'", true),
        ("'a' > 'b'", false),
        ("$.obj == $.arr", false),
        ("$.obj != $.arr", true),
        ("$.obj == $.obj", true),
        ("$.obj != $.obj", false),
        ("$.arr == $.arr", true),
        ("$.arr != $.arr", false),
        ("$.obj == 17", false),
        ("$.obj != 17", true),
        ("$.obj <= $.arr", false),
        ("$.obj < $.arr", false),
        ("$.obj <= $.obj", true),
        ("$.arr <= $.arr", true),
        ("1 <= $.arr", false),
        ("1 >= $.arr", false),
        ("1 > $.arr", false),
        ("1 < $.arr", false),
        ("true <= true", true),
        ("true > true", false),
        // Exactly, beyond what an f64 or the crate's own literals hold.
        ("12345678901234567890 < 12345678901234567891", true),
        ("12345678901234567890 == 12345678901234567891", false),
        ("0.1 == 0.10", true),
        ("1e2 == 100", true),
        ("-0 == 0", true),
        ("0.30000000000000004 == 0.3", false),
        ("length($.arr) == 2.0", true),
    ] {
        let found = select(&format!("$[?{condition}]"), document);
        assert_eq!(found.len(), if expected { 2 } else { 0 }, "{condition}");
    }
}

/// RFC 9535, table 12.
#[test]
fn filters() {
    let document = r#"{"a":[3,5,1,2,4,6,{"b":"j"},{"b":"k"},{"b":{}},{"b":"kilo"}],"o":{"p":1,"q":2,"r":3,"s":5,"t":{"u":6}},"e":"f"}"#;
    let (j, k, braces, kilo) = ("{\"b\":\"j\"}", "{\"b\":\"k\"}", "{\"b\":{}}", "{\"b\":\"kilo\"}");
    check(
        document,
        &[
            ("$.a[?@.b == 'kilo']", &[kilo]),
            ("$.a[?(@.b == 'kilo')]", &[kilo]),
            ("$.a[?@>3.5]", &["5", "4", "6"]),
            ("$.a[?@.b]", &[j, k, braces, kilo]),
            ("$.o[?@<3, ?@<3]", &["1", "2", "1", "2"]),
            ("$.a[?@<2 || @.b == \"k\"]", &["1", k]),
            ("$.a[?match(@.b, \"[jk]\")]", &[j, k]),
            ("$.a[?search(@.b, \"[jk]\")]", &[j, k, kilo]),
            ("$.o[?@>1 && @<4]", &["2", "3"]),
            ("$.o[?@.u || @.x]", &["{\"u\":6}"]),
            ("$.a[?@.b == $.x]", &["3", "5", "1", "2", "4", "6"]),
            ("$.a[?@ == @]", &["3", "5", "1", "2", "4", "6", j, k, braces, kilo]),
            ("$.a[?!@.b]", &["3", "5", "1", "2", "4", "6"]),
            ("$.a[?!(@.b || @ > 2)]", &["1", "2"]),
            ("$.a[?length(@.b) == 4]", &[kilo]),
            ("$.a[?length(@.b) == 0]", &[braces]),
            ("$.a[?match(@.b, $.e)]", &[]),
            ("$.a[?match(@.b, 'k.*')]", &[k, kilo]),
            ("$.a[?search(@.b, 'l')].b", &["\"kilo\""]),
            ("$.a[?search(@.b, '^k')]", &[]),
        ],
    );
    assert_eq!(select("$[?@.*]", document).len(), 2);
    assert_eq!(select("$[?@[?@.b]]", document).len(), 1);
    assert_eq!(select("$[?count(@.*) == 5].p", document), ["1"]);
    assert_eq!(select("$[?count(@.*) > 5][0]", document), ["3"]);
    assert_eq!(select("$[?value(@..u) == 6].p", document), ["1"]);
    assert_eq!(select("$[?value(@..b) == 'j']", document), Vec::<String>::new());
    assert_eq!(select("$[?match(@.p, @.q)]", r#"[{"p":"ab","q":"a."},{"p":"ab","q":"("}]"#).len(), 1);
}

#[test]
fn what_is_refused() {
    for (path, detail) in [
        ("", "begins with `$`"),
        ("a", "begins with `$`"),
        ("$.a ", "white space"),
        ("$.", "character 3"),
        ("$[", "RFC 9535"),
        ("$.a[?@.b==]", "RFC 9535"),
        ("$..a..b", "used once"),
        ("$.a[01]", "not a number"),
        ("$.a-b", "['a-b']"),
        ("$[?length(@.a)]", "compare it"),
        ("$[?length(@.*) == 1]", "one value"),
        ("$[?count(1) == 1]", "count"),
        ("$[?value('a') == 1]", "`@` or `$`"),
        ("$[?count(@.a)]", "compare it"),
        ("$[?match(@.a, 'x') == true]", "not comparable"),
        ("$[?match(@.a, '(')]", "regular expression"),
        ("$[?match(@.a, '\\\\d')]", "I-Regexp"),
        ("$[?match(@.a, 1)]", "pattern in quotes"),
        ("$[?in(@.a, $.b)]", "no function in()"),
        ("$[?foo(@.a)]", "RFC 9535"),
        ("$[?@.* == 1]", "RFC 9535"),
        ("$[?1]", "RFC 9535"),
        ("$[9007199254740992]", "RFC 9535"),
    ] {
        let error = Path::parse(path).expect_err(path).to_string();
        assert!(error.contains(detail), "{path}: {error}");
    }
}

#[test]
fn hostile_expressions_end_at_the_budget() {
    let wide = format!("[{}]", vec!["[1,2,3,4,5,6,7,8,9,[1,2,3,4,5,6,7,8,9]]"; 200].join(","));
    let root = Node::parse(&wide).unwrap();
    for path in [
        "$..*[?@.a || !@.b]",
        "$..[?count($..*) > 0]",
        "$[?count($.*.*) > 0]",
        "$[?$[?$[?$[?$[?@ == 1]]]]]",
        "$[*,*,*,*,*,*,*,*][*,*,*,*,*,*,*][*]",
    ] {
        match Path::parse(path) {
            Ok(path) => assert_eq!(path.select(&root).unwrap_err(), TooExpensive::Steps, "{path}"),
            Err(error) => assert!(error.to_string().contains("used once"), "{path}: {error}"),
        }
    }
    assert!(Path::parse("$..*..*..*").is_err());
}

#[test]
fn a_step_is_paid_for_every_value() {
    let items = |count: u32| format!("[{}]", vec!["0"; count as usize].join(","));
    let path = Path::parse("$[*]").unwrap();
    let (fits, over) = (items(MAX_STEPS - 1), items(MAX_STEPS));
    assert!(path.select(&Node::parse(&fits).unwrap()).is_ok());
    assert_eq!(path.select(&Node::parse(&over).unwrap()).unwrap_err(), TooExpensive::Steps);
    // Only the first is wanted, and only that is paid for.
    assert!(path.first(&Node::parse(&over).unwrap()).unwrap().is_some());
}

#[test]
fn patterns_and_texts_from_the_document_are_paid_for() {
    let root = format!("[{}]", vec![r#"{"t":"aaaa","p":"a{90}"}"#; 20].join(","));
    let path = Path::parse("$[?match(@.t, @.p)]").unwrap();
    assert_eq!(path.select(&Node::parse(&root).unwrap()).unwrap_err(), TooExpensive::Steps);
    let long = format!("[\"{}\"]", "a".repeat(100_000));
    let path = Path::parse("$[?search(@, '(a|b)*c')]").unwrap();
    assert_eq!(path.select(&Node::parse(&long).unwrap()).unwrap_err(), TooExpensive::Steps);
}

/// What the grammar would take exponential time or a deep stack for does not reach it.
#[test]
fn the_grammar_is_spared() {
    for (open, close) in
        [("length(", ")"), ("@[?match(", ",'a')]"), ("(", ")"), ("!(", ")"), ("@[?", "]"), ("count(@[?", "])>0")]
    {
        let nested = format!("$[?{}@.a{}]", open.repeat(150), close.repeat(150));
        let error = Path::parse(&nested).unwrap_err().to_string();
        assert!(error.contains("nested") || error.contains("at most"), "{open}: {error}");
        // Unclosed, and as deep as is allowed.
        for depth in 1..=3 {
            assert!(Path::parse(&format!("$[?{}", open.repeat(depth))).is_err());
        }
    }
}

/// As deep as an expression and a document may be, at once.
#[test]
fn deep_walks_do_not_overflow() {
    let document = format!("{}0{}", "[".repeat(128), "]".repeat(128));
    let root = Node::parse(&document).unwrap();
    let deep = "[0]".repeat(120);
    for path in [format!("${deep}"), format!("$..[?@{deep}]"), format!("$[?${deep}[?$[0][?${deep}]]]")] {
        let path = Path::parse(&path).unwrap();
        let _ = path.select(&root);
    }
}

#[test]
fn raw_text() {
    let text = r#"{"event":{"data": {"n": 1.0, "s":"\u00e9"}}}"#;
    assert_eq!(Path::parse("$.event['data']").unwrap().raw(text).unwrap(), Some(r#"{"n": 1.0, "s":"\u00e9"}"#));
    assert_eq!(Path::parse("$").unwrap().raw(text).unwrap(), Some(text));
    assert_eq!(Path::parse("$.none").unwrap().raw(text).unwrap(), None);
    let all = Path::parse("$.event.*").unwrap();
    assert!(!all.is_singular());
    assert_eq!(all.raw(text).unwrap(), None);
    let path = Path::parse("$.event.data.n").unwrap();
    assert!(path.is_singular());
    assert_eq!(path.first(&Node::parse(text).unwrap()).unwrap().unwrap().as_text(), Some("1.0"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_expression_is_survived(parts in prop::collection::vec(prop::sample::select(vec![
        "$", "@", ".", "..", "*", "[", "]", "?", "(", ")", "!", "&&", "||", "==", "<=", "<", "'a'", "\"b\"", "a", "b",
        "0", "-1", "2.5e3", ":", ",", " ", "length(", "count(", "match(", "value(", "true", "null", "\\", "ä", "\n",
    ]), 0..24)) {
        let text = format!("${}", parts.concat());
        if let Ok(path) = Path::parse(&text) {
            let root = Node::parse(BOOKSTORE).unwrap();
            let _ = path.select(&root);
            let _ = path.raw(BOOKSTORE);
        }
    }

    #[test]
    fn any_text_is_survived(text in "\\$\\PC{0,40}") {
        let _ = Path::parse(&text);
    }
}
