use super::*;

fn event(data: &str) -> Event {
    Event {
        id: "evt_1".to_owned(),
        type_: "order.paid".to_owned(),
        source: "shop".to_owned(),
        timestamp: "2026-11-21T12:00:00.000Z".to_owned(),
        data: data.to_owned(),
        attributes: vec![("x-region".to_owned(), "eu".to_owned())],
    }
}

const DATA: &str = r#"{"name":"A & <b> \"q\"","amount":100.0,"big":12345678901234567890123,"e":1e2,"none":null,"yes":true,
 "list":[{"n":1},{"n":2.50}],"o":{"z":1.0,"a":"x"}, "odd key":7}"#;

fn templates(escape: Escape) -> Templates {
    Templates::new(&event(DATA), escape).unwrap()
}

#[test]
fn texts() {
    let templates = templates(Escape::NONE);
    for (template, expected) in [
        (
            "{{ id }} {{type}} {{ source }} {{ timestamp }} {{ attributes['x-region'] }}",
            "evt_1 order.paid shop 2026-11-21T12:00:00.000Z eu",
        ),
        ("{{ data.name }}", r#"A & <b> "q""#),
        ("{{ data.amount }} {{ data.big }} {{ data.e }}", "100.0 12345678901234567890123 1e2"),
        ("{% if true %}{{ data.amount }} {{ data.big }} {{ data.e }}{% endif %}", "100.0 12345678901234567890123 1e2"),
        ("[{{ data.none }}{{ data.missing }}{{ data.missing.deep.down }}{{ data.name.x }}]", "[]"),
        ("[{{- data.none }}{{ data.missing.deep.down }}]", "[]"),
        (
            "{{ data.o }} {{ data.list[1] }} {{ data.list[1].n }} {{ data['odd key'] }}",
            r#"{"z":1.0,"a":"x"} {"n":2.50} 2.50 7"#,
        ),
        ("{{ data.missing | default('none') }}/{{ data.none | default('null too') }}", "none/null too"),
        ("{% for item in data.list %}{{ loop.index }}:{{ item.n }};{% endfor %}", "1:1;2:2.50;"),
        ("{% if data.amount > 50 %}big{% else %}small{% endif %}", "big"),
        ("{{ data.amount * 2 }} {{ data.list|length }} {{ data.yes }}", "200.0 2 true"),
        ("{{ data.name | upper | truncate(4) }}", "A &…"),
        ("{{ data.name | urlencode }}", "A%20%26%20%3Cb%3E%20%22q%22"),
        ("{% for k, v in data.o | items %}{{ k }}={{ v }} {% endfor %}", "z=1.0 a=x "),
        ("{{ data.o | json }} {{ data.missing | json }} {{ [1, data.e] | json }}", r#"{"z":1.0,"a":"x"} null [1,1e2]"#),
        ("{ \"not\": {a template} }\n", "{ \"not\": {a template} }\n"),
        ("{{ 1 + 1 }}\n", "2\n"),
        ("", ""),
    ] {
        assert_eq!(
            templates.text("text", template).map_err(|fault| fault.message).as_deref(),
            Ok(expected),
            "{template}"
        );
    }
}

#[test]
fn values_are_escaped_and_text_is_not() {
    for (escape, template, expected) in [
        (Escape::HTML, "<b>{{ data.name }}</b>", "<b>A &amp; &lt;b&gt; &quot;q&quot;</b>"),
        (Escape::HTML, "<b>{% if 1 %}{{ data.name }}{% endif %}</b>", "<b>A &amp; &lt;b&gt; &quot;q&quot;</b>"),
        (Escape::HTML, "{{ '<i>' }}{{ data.o }}", "&lt;i&gt;{&quot;z&quot;:1.0,&quot;a&quot;:&quot;x&quot;}"),
        (Escape::HTML, "{% set x %}<i>{{ data.name }}{% endset %}{{ x }}", "<i>A &amp; &lt;b&gt; &quot;q&quot;"),
        (
            Escape::URL,
            "https://x/{{ data.name }}?q={{ data.name|urlencode }}",
            "https://x/A%20%26%20%3Cb%3E%20%22q%22?q=A%20%26%20%3Cb%3E%20%22q%22",
        ),
        (
            Escape::JSON,
            r#"{"n":"{{ data.name }}","a":{{ data.amount }},"o":{{ data.o }}}"#,
            r#"{"n":"A & <b> \"q\"","a":100.0,"o":{"z":1.0,"a":"x"}}"#,
        ),
        (
            Escape::JSON,
            r#"{"n":{{ data.name | json }},"m":{{ data.missing | json }}}"#,
            r#"{"n":"A & <b> \"q\"","m":null}"#,
        ),
    ] {
        assert_eq!(templates(escape).text("t", template).unwrap(), expected, "{template}");
    }
}

#[test]
fn one_expression_keeps_its_type() {
    let templates = templates(Escape::HTML);
    for (template, expected) in [
        ("{{ data.amount }}", "100.0"),
        (" {{ data.amount | default(1) }} ", "100.0"),
        ("{{ data.big }}", "12345678901234567890123"),
        ("{{ data.yes and data.amount > 5 }}", "true"),
        ("{{ data.missing }}", "null"),
        ("{{ data.name }}", r#""A & <b> \"q\"""#),
        ("{{ data.list }}", r#"[{"n":1},{"n":2.50}]"#),
        ("{{ data.amount }} EUR", r#""100.0 EUR""#),
        ("{{ data.amount }}{{ data.e }}", r#""100.01e2""#),
        ("{% if data.yes %}{{ data.name }}{% endif %}", r#""A & <b> \"q\"""#),
        ("plain", r#""plain""#),
        ("{{ {'a': data.amount, 'b': [none]} }}", r#"{"a":100.0,"b":[null]}"#),
    ] {
        assert_eq!(templates.json("f", template).map_err(|fault| fault.message).as_deref(), Ok(expected), "{template}");
    }
}

#[test]
fn faults_say_where_and_what() {
    let templates = templates(Escape::NONE);
    for (template, parts) in [
        ("{{ dta.x }}", &["text: line 1", "`dta` is not known", "attributes"][..]),
        ("one\n{{ data.x | shout }}", &["line 2", "shout", "there are abs", "in `{{ data.x | shout }}`"]),
        ("{% if data.x %}", &["line 1", "unexpected end"]),
        ("{{ data.name | safe }}", &["safe", "there are"]),
        ("{{ data. }}", &["line 1"]),
        ("{{ data.name / 2 }}", &["line 1"]),
    ] {
        let fault = templates.text("text", template).unwrap_err();
        for part in parts {
            assert!(fault.message.contains(part), "{template}: {}", fault.message);
        }
        assert!(!fault.retryable);
    }
    // One mistake does not follow the next template.
    assert!(templates.text("text", "{{ 1 + 1 }}").is_ok());
}
