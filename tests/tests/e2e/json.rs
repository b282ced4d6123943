//! `body_format: js` against JavaScript itself.

use std::collections::HashMap;

use hookmill_tests::{Gateway, Receiver, node};
use serde_json::{Value, json};

const SEED: u64 = 0x5eed_0f40_0911_u64;
const DOCUMENTS: usize = 200;

/// A small generator (xorshift64*), so that the same documents come every time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let scrambled = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(scrambled).unwrap_or_default() % limit
    }

    fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }

    fn blank(&mut self, out: &mut String) {
        out.push_str(self.of(&["", "", "", " ", "\n  ", "\t", "\r\n"]));
    }

    fn string(&mut self, out: &mut String) {
        const PIECES: [&str; 22] = [
            "a",
            "z",
            "10",
            "é",
            "\\u00e9",
            "\\u0061",
            "😀",
            "\\ud83d\\ude00",
            "\\ud800",
            "\\udc00x",
            "\\/",
            "/",
            "\\\"",
            "\\\\",
            "\\n",
            "\\u000a",
            "\\u0000",
            "\\u001f",
            "\u{7f}",
            "\u{2028}",
            "\\u2029",
            "\u{fffd}",
        ];
        out.push('"');
        for _ in 0..self.below(5) {
            out.push_str(self.of(&PIECES));
        }
        out.push('"');
    }

    fn key(&mut self, out: &mut String) {
        const KEYS: [&str; 20] = [
            "a",
            "b",
            "\\u0061",
            "0",
            "1",
            "10",
            "2",
            "01",
            "-1",
            "1.5",
            "1e3",
            "4294967294",
            "4294967295",
            "4294967296",
            "9007199254740993",
            "__proto__",
            "constructor",
            "toJSON",
            "",
            "é",
        ];
        match self.below(4) {
            0 => self.string(out),
            _ => {
                out.push('"');
                out.push_str(self.of(&KEYS));
                out.push('"');
            }
        }
    }

    fn number(&mut self, out: &mut String) {
        const NUMBERS: [&str; 30] = [
            "0",
            "-0",
            "-0.0",
            "1.0",
            "100.00",
            "1e2",
            "1E+2",
            "1e21",
            "1e20",
            "123456789012345678901",
            "0.1",
            "0.1e-6",
            "0.000001",
            "0.0000001",
            "1e400",
            "-1e400",
            "1e-400",
            "5e-324",
            "2.2250738585072014e-308",
            "1.7976931348623157e308",
            "9007199254740993",
            "12345678901234567890",
            "0.30000000000000004",
            "4.35",
            "1.005",
            "33.333333333333336",
            "1e23",
            "9.5e-7",
            "-1.5",
            "123.4560",
        ];
        match self.below(3) {
            0 => out.push_str(&format!("{}.{}e{}", self.below(1000), self.below(1_000_000), self.below(40))),
            _ => out.push_str(self.of(&NUMBERS)),
        }
    }

    fn value(&mut self, depth: usize, out: &mut String) {
        let kinds = if depth == 0 { 4 } else { 7 };
        match self.below(kinds) {
            0 => self.string(out),
            1 | 2 => self.number(out),
            3 => out.push_str(self.of(&["true", "false", "null"])),
            kind => self.several(depth, kind == 4, out),
        }
    }

    fn several(&mut self, depth: usize, is_array: bool, out: &mut String) {
        out.push(if is_array { '[' } else { '{' });
        for at in 0..self.below(6) {
            if at > 0 {
                out.push(',');
            }
            self.blank(out);
            if !is_array {
                self.key(out);
                self.blank(out);
                out.push(':');
                self.blank(out);
            }
            self.value(depth - 1, out);
            self.blank(out);
        }
        self.blank(out);
        out.push(if is_array { ']' } else { '}' });
    }
}

/// Two hundred odd documents: what arrives is what Node's `JSON.stringify(JSON.parse(text))` prints.
#[tokio::test]
async fn as_node_prints_it() {
    let gateway = Gateway::start().await;
    let endpoint = Receiver::start().await;
    let tenant = gateway.tenant("acme").await;
    let wanted = json!({"url": endpoint.url("/"), "events": ["*"], "envelope": "none", "body_format": "js"});
    tenant.subscribe(wanted).await;

    let mut random = Random(SEED);
    let documents: Vec<String> = (0..DOCUMENTS)
        .map(|at| {
            let mut text = String::new();
            random.several(4, at % 4 == 0, &mut text);
            text
        })
        .collect();
    let events: Vec<String> = documents.iter().map(|text| format!(r#"{{"type":"odd","data":{text}}}"#)).collect();
    let receipts = tenant.api.text("POST", "/v1/events", &format!("[{}]", events.join(","))).await.json(202);
    assert_eq!(receipts["accepted"], DOCUMENTS, "{receipts}");

    let script = "const all = JSON.parse(require('fs').readFileSync(0, 'utf8'));\
                  process.stdout.write(JSON.stringify(all.map(text => JSON.stringify(JSON.parse(text)))));";
    let printed: Vec<Value> = serde_json::from_str(&node(script, &json!(documents).to_string()).await).unwrap();
    let arrived = endpoint.wait("/", DOCUMENTS).await;
    let arrived: HashMap<&str, &str> = arrived.iter().map(|one| (one.header("webhook-id"), one.text())).collect();
    for ((receipt, document), printed) in receipts["data"].as_array().unwrap().iter().zip(&documents).zip(printed) {
        assert_eq!(arrived[receipt["id"].as_str().unwrap()], printed.as_str().unwrap(), "of {document}");
    }
}
