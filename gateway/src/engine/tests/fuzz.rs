//! What a plugin says of itself, if it says anything; and what was found in files that are hardly WebAssembly.
//!
//! Whole files are not fuzzed: `wit-parser` goes round without end, until the stack is gone, in packages that depend
//! on each other in a circle, which ends the process. What tenants upload is read in one of its own.

use crate::domain::{AuthNeed, Batching, Interprets, Kind, Manifest, OnUnknown, PluginRate};
use crate::engine::contract::Contract;
use crate::engine::{intake, manifest as rules};
use crate::tests::fuzz::{example, fuzz, parts, shape, text};

const WORDS: &[&str] = &[
    "a",
    "-",
    ".",
    ",",
    "\n",
    " ",
    "1.0.0-a.1+b",
    "01",
    "slack.com",
    "xn--",
    "a.0x1",
    ".com",
    "/",
    "~0",
    "~2",
    "transform",
    "connector",
    "0.1.0",
    "{",
    "}",
    "[",
    "]",
    ":",
    "\"$ref\":\"#\"",
    "\"$ref\":\"https://example.com/schema\"",
    "\"$dynamicRef\":\"#a\"",
    "\"pattern\":\"^(a+)+$\"",
    "\"properties\":{",
    "\"type\":\"string\"",
    "\"minLength\":",
    "\"multipleOf\":0.1",
    "\"allOf\":[",
];

/// A manifest of these parts, each a field; lists have a line for each of their items.
fn manifest_of(input: &[u8]) -> Manifest {
    let parts: [&[u8]; 12] = parts(input);
    let [name, version, title, description, kind, schema, hosts, auth, interprets, idempotency, numbers, contract] =
        parts.map(|part| text(part).into_owned());
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let mut numbers = numbers.split(' ').map(|number| number.parse::<u32>().unwrap_or_default());
    Manifest {
        name,
        version,
        title,
        description,
        kind: if kind.starts_with('t') { Kind::Transform } else { Kind::Connector },
        config_schema: schema,
        hosts: lines(&hosts),
        auth: match lines(&auth).split_first() {
            Some((field, scopes)) => {
                AuthNeed::GoogleServiceAccount { config_field: field.clone(), scopes: scopes.to_vec() }
            }
            None => AuthNeed::None,
        },
        interprets: if interprets.is_empty() { Interprets::Never } else { Interprets::Errors },
        batching: Batching { max_events: numbers.next().unwrap_or_default(), max_bytes: 0, max_wait_ms: 0 },
        idempotency: Some(idempotency).filter(|name| !name.is_empty()),
        on_unknown: OnUnknown::Retry,
        rate: numbers.next().map(|max| PluginRate { max, per_ms: numbers.next().unwrap_or_default() }),
        contract,
    }
}

#[test]
fn manifests() {
    const SCHEMA: &str =
        r#"{"type":"object","properties":{"token":{"type":"string","pattern":"^x","writeOnly":true}}}"#;
    const SCOPES: &str = "/service_account\nhttps://www.googleapis.com/auth/spreadsheets";
    let examples = [
        example(&["a", "1.2.3", "A", "", "transform", "{}", "", "", "", "", "1", "0.1.0"]),
        example(&[
            "slack",
            "0.1.0-rc.1",
            "Slack",
            "Says it.",
            "connector",
            SCHEMA,
            "slack.com\nhooks.slack.com",
            "",
            "errors",
            "",
            "1 1 1000",
            "0.1.0",
        ]),
        example(&[
            "sheets",
            "1.0.0+7",
            "Google Sheets",
            "Appends.",
            "connector",
            SCHEMA,
            "sheets.googleapis.com",
            SCOPES,
            "",
            "row",
            "100",
            "0.1.0",
        ]),
    ];
    fuzz("manifests", &examples, WORDS, |input| {
        let manifest = manifest_of(input);
        let other = match manifest.kind {
            Kind::Transform => Kind::Connector,
            Kind::Connector => Kind::Transform,
        };
        assert!(rules::check(&manifest, other, Contract::V0_1).is_err(), "a plugin is of one world");
        rules::check(&manifest, manifest.kind, Contract::V0_1).map_err(|error| shape(&error.to_string()))?;
        for host in &manifest.hosts {
            let url = url::Url::parse(&format!("https://{host}/")).expect("a host that is named is one");
            assert_eq!(url.host(), Some(url::Host::Domain(host.as_str())), "and is compared as it stands there");
        }
        let kept = serde_json::to_string(&manifest).expect("it can be written down");
        assert_eq!(serde_json::from_str::<Manifest>(&kept).expect("and read"), manifest);
        let schema = serde_json::from_str(&manifest.config_schema).expect("it was found to be JSON");
        let compiled = jsonschema::draft202012::new(&schema).map(|schema| schema.is_valid(&"aaaaaaaaaaaaaaaa!".into()));
        Ok(format!("{:?} {} {:?}", manifest.kind, manifest.hosts.len().min(3), compiled.ok()))
    });
}

/// What a fuzzer found: sections that claim more than the file has. The library would slice beyond its end, or make
/// room for gigabytes.
#[test]
fn sections_that_end_beyond_the_file() {
    let huge = b"\x07\xff\xff\xff\xff\x0f\x01".as_slice();
    let component = [b"\0asm\x0d\0\x01\0", huge].concat();
    let custom = [b"\x0ecomponent-type".as_slice(), &component].concat();
    let custom = [b"\0asm\x01\0\0\0\0".as_slice(), &[u8::try_from(custom.len()).unwrap()], &custom].concat();
    let code = b"\0asm\x01\0\0\0\x0a\x7f\x01".to_vec();
    for file in [code, component, custom] {
        let error = intake::component(&file, 1 << 16).unwrap_err();
        let said = std::error::Error::source(&error).map(ToString::to_string);
        assert_eq!(said.as_deref(), Some("a section ends beyond the end of the file"), "{}", file.escape_ascii());
    }
}
