//! Pages: plain HTML with one stylesheet of our own, readable without JavaScript, light and dark.

use std::fmt::{self, Write as _};

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// Text on its way into HTML: every character that could end it is escaped, quotes too.
pub(super) struct Escaped<T>(pub(super) T);

impl<T: fmt::Display> fmt::Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);
        impl fmt::Write for Escaping<'_, '_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                for c in text.chars() {
                    match c {
                        '&' => self.0.write_str("&amp;")?,
                        '<' => self.0.write_str("&lt;")?,
                        '>' => self.0.write_str("&gt;")?,
                        '"' => self.0.write_str("&quot;")?,
                        '\'' => self.0.write_str("&#39;")?,
                        c => self.0.write_char(c)?,
                    }
                }
                Ok(())
            }
        }
        write!(Escaping(f), "{}", self.0)
    }
}

/// Escapes, and makes `code` of what stands in backquotes.
pub(super) fn prose(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 32);
    for (at, part) in text.split('`').enumerate() {
        let tag = if at % 2 == 1 { ("<code>", "</code>") } else { ("", "") };
        out.push_str(&format!("{}{}{}", tag.0, Escaped(part), tag.1));
    }
    out
}

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1c2024;--soft:#5b6470;--line:#d9dee4;--paper:#fff;--wash:#f4f6f8;--mark:#0b62c4;--good:#176f3d;--bad:#b3261e}\
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ed;--soft:#9aa4b0;--line:#343b44;--paper:#14171b;--wash:#1d2127;--mark:#7db7ff;--good:#6fd39a;--bad:#ff8d84}}\
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,sans-serif}\
main{max-width:60rem;margin:0 auto;padding:1.5rem 1rem 4rem}h1{font-size:1.7rem;line-height:1.25}h2{margin-top:2.5rem;border-bottom:1px solid var(--line)}\
h3{margin:1.6rem 0 .3rem;font-size:1.02rem}a{color:var(--mark)}code,pre{font:.88em/1.5 ui-monospace,monospace}\
code{background:var(--wash);padding:.1em .3em;border-radius:3px;overflow-wrap:anywhere}pre{background:var(--wash);padding:.7rem;overflow-x:auto;border-radius:5px;white-space:pre-wrap;overflow-wrap:anywhere}\
table{border-collapse:collapse;width:100%;margin:.5rem 0}th,td{text-align:left;vertical-align:top;padding:.3rem .6rem .3rem 0;border-top:1px solid var(--line)}th{font-weight:600}\
.soft{color:var(--soft)}.good{color:var(--good)}.bad{color:var(--bad)}.method{display:inline-block;min-width:4.2em;font-weight:700}\
article{border:1px solid var(--line);border-radius:6px;padding:.3rem 1rem 1rem;margin:1rem 0}nav ul{padding-left:1.1rem}\
form{display:inline}button{font:inherit;padding:.35rem .8rem;border:1px solid var(--line);border-radius:5px;background:var(--wash);color:inherit;cursor:pointer}\
button[aria-pressed=true]{border-color:var(--mark);color:var(--mark);font-weight:600}:focus-visible{outline:2px solid var(--mark);outline-offset:2px}";

/// A whole page. `body` is HTML; `refresh` is after how many seconds the browser loads it again.
pub(super) fn page(title: &str, body: &str, refresh: Option<u32>) -> Response {
    let mut html = String::with_capacity(body.len() + 4_096);
    let refresh = refresh.map(|after| format!("<meta http-equiv=\"refresh\" content=\"{after}\">")).unwrap_or_default();
    // Writing into a String does not fail.
    let _ = write!(
        html,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">{refresh}\
         <title>{}</title><style>{STYLE}</style></head><body><main>{body}</main></body></html>",
        Escaped(title)
    );
    let mut response = (StatusCode::OK, html).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    // What strangers sent is shown here: nothing on the page may run, load or call home.
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
        ),
    );
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_gets_out_of_a_text() {
        assert_eq!(Escaped("<a href=\"x\">'&").to_string(), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;");
        assert_eq!(prose("a `<b>` c"), "a <code>&lt;b&gt;</code> c");
    }
}
