//! The tour as text: each section a sentence, and then what there is to see.

use serde_json::Value;

use super::endpoints::Arrival;
use super::story::{Chapter, Posted, Proof, text};
use super::wanted::{FLAKY, HOSTILE, ILARA, INBOX, SHEETS};

/// How wide a line may be.
const WIDTH: usize = 118;
/// How many lines of a body are shown.
const BODY_LINES: usize = 4;

/// A section's head: its number and title, and one sentence.
pub(super) fn section(number: usize, title: &str, sentence: &str) -> String {
    format!("\n{number}. {title}\n   {sentence}\n")
}

/// The subscriptions, one a line.
pub(super) fn subscriptions(chapters: &[Chapter]) -> String {
    let rows = chapters.iter().map(|chapter| {
        let body = &chapter.wanted.body;
        let events: Vec<&str> = body["events"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let through = ["/connector/name", "/transforms/0/plugin"].into_iter().find_map(|at| body.pointer(at)?.as_str());
        let host = match body["url"].as_str() {
            Some(url) => url.split('/').nth(2).unwrap_or_default(),
            None => "the connector's own",
        };
        [chapter.wanted.name.to_owned(), events.join(" "), through.unwrap_or("-").to_owned(), host.to_owned()]
    });
    table(["subscription", "events", "plugin", "host"], rows)
}

/// The events, one a line.
pub(super) fn events(posted: &[Posted]) -> String {
    let rows = posted.iter().map(|posted| {
        let Posted { sample, deliveries, .. } = posted;
        let event: Value = serde_json::from_str(sample.event).unwrap_or_default();
        [sample.product.to_owned(), sample.what.to_owned(), text(&event, "type").to_owned(), deliveries.to_string()]
    });
    table(["product", "what happened", "event type", "owed to"], rows)
}

/// What arrived at one endpoint.
pub(super) fn arrivals(chapter: &Chapter) -> String {
    let mut lines = format!("   {}: {}\n", chapter.wanted.name, chapter.wanted.about);
    for (arrival, proof) in &chapter.arrivals {
        let Arrival { method, path, status, .. } = arrival;
        lines.push_str(&format!("     {method} {} -> {status}\n", shorten(path, WIDTH - 20)));
        for line in wrapped(&String::from_utf8_lossy(&arrival.body), WIDTH - 7, BODY_LINES) {
            lines.push_str(&format!("       {line}\n"));
        }
        lines.push_str(&format!("       {}\n", credentials(arrival, proof)));
    }
    if chapter.arrivals.is_empty() {
        lines.push_str("     nothing\n");
    }
    lines
}

/// How a request shows where it comes from.
fn credentials(arrival: &Arrival, proof: &Proof) -> String {
    let mut words = Vec::new();
    match proof {
        Proof::Signed(header) => {
            words.push(format!("signature right: {header}: {}", shorten(arrival.header(header).unwrap_or("?"), 44)));
        }
        Proof::Broken(why) => words.push(format!("SIGNATURE WRONG: {why}")),
        Proof::Unsigned => words.push("not signed".to_owned()),
    }
    // A demo's tokens are nobody's secret, but nobody should learn from a demo to print them.
    if arrival.header("authorization").is_some_and(|value| value.starts_with("Bearer ")) {
        words.push("bearer token shown".to_owned());
    }
    if let Some(agent) = arrival.header("user-agent").filter(|agent| !agent.starts_with("Hookmill")) {
        words.push(format!("user agent {agent}"));
    }
    words.join("; ")
}

/// Google's token endpoint.
pub(super) fn tokens(assertions: &[Arrival]) -> String {
    let granted = assertions.iter().filter(|assertion| assertion.status == 200).count();
    format!(
        "     before that: {} signed assertion{} checked at oauth2.googleapis.com, {granted} token{} granted\n",
        assertions.len(),
        plural(assertions.len()),
        plural(granted),
    )
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// Whether a chapter's arrivals are followed by what Google's token endpoint saw.
pub(super) fn has_tokens(chapter: &Chapter) -> bool {
    chapter.wanted.name == SHEETS
}

/// Whether a chapter has its own section, or is shown elsewhere.
pub(super) fn is_told_apart(chapter: &Chapter) -> bool {
    [FLAKY, HOSTILE, INBOX].contains(&chapter.wanted.name)
}

/// Why the filtering subscription got an event or not: pairs of what happened and the API's explanation.
pub(super) fn explanations(explained: &[(&str, Value)]) -> String {
    let rows = explained.iter().map(|(what, item)| {
        let fate = if item["matched"] == true { "sent" } else { "not sent" };
        [(*what).to_owned(), fate.to_owned(), text(item, "why").to_owned()]
    });
    table(["event", ILARA, "why"], rows)
}

/// The attempts of one delivery.
pub(super) fn attempts(delivery: &Value) -> String {
    let rows = delivery["attempts"].as_array().into_iter().flatten().map(|attempt| {
        let next = &attempt["next"];
        [
            attempt["number"].to_string(),
            text(attempt, "started_at").get(11..23).unwrap_or_default().to_owned(),
            text(next, "action").replace('_', " "),
            text(next, "because").to_owned(),
        ]
    });
    let mut lines = table(["attempt", "at", "then", "because"], rows);
    lines.push_str(&format!("   It ended as: {}.\n", text(delivery, "status")));
    lines
}

/// What the hostile plugin came to, and what became of the same event elsewhere meanwhile.
pub(super) fn fault(delivery: &Value, elsewhere: usize) -> String {
    let attempt = &delivery["attempts"][0];
    let run = &attempt["plugins"][0];
    let mut lines = format!("   {}\n", text(attempt, "detail"));
    lines.push_str(&format!(
        "   It ran for {} ms before it was stopped; the blame is the {}'s, and nothing was sent.\n",
        run["cpu_us"].as_u64().unwrap_or_default() / 1000,
        text(attempt, "blame"),
    ));
    let deliveries = if elsewhere == 1 { "delivery".to_owned() } else { format!("{elsewhere} deliveries") };
    lines.push_str(&format!("   The other {deliveries} of the same event went out as if nothing had happened.\n"));
    lines
}

/// What an inbox says it got.
pub(super) fn inbox(requests: &[Value]) -> String {
    let right = requests.iter().filter(|request| request.pointer("/signature/verdict") == Some(&Value::from("valid")));
    format!("   {} requests arrived there, {} of them with a signature that is right.\n", requests.len(), right.count())
}

/// Every subscription in numbers.
pub(super) fn summary(chapters: &[Chapter]) -> String {
    let mut sums = [0; 3];
    let mut rows: Vec<[String; 5]> = Vec::with_capacity(chapters.len() + 1);
    for chapter in chapters {
        let attempts = usize::try_from(chapter.attempts()).unwrap_or(usize::MAX);
        let counts = [chapter.count("delivered"), chapter.count("failed"), attempts];
        for (sum, count) in sums.iter_mut().zip(counts) {
            *sum += count;
        }
        let signed = chapter.arrivals.iter().filter(|(_, proof)| matches!(proof, Proof::Signed(_))).count();
        let signed = if signed == 0 { "-".to_owned() } else { format!("{signed} right") };
        let [delivered, failed, attempts] = counts.map(|count| count.to_string());
        rows.push([chapter.wanted.name.to_owned(), delivered, failed, attempts, signed]);
    }
    let [delivered, failed, attempts] = sums.map(|sum| sum.to_string());
    rows.push(["all".to_owned(), delivered, failed, attempts, String::new()]);
    table(["subscription", "delivered", "failed", "attempts", "signatures"], rows)
}

/// Columns, each as wide as its widest cell; the last one takes what is left.
fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let rows: Vec<[String; N]> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    let widths: [usize; N] =
        std::array::from_fn(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or_default().min(44));
    let mut lines = String::new();
    for row in &rows {
        let mut line = "   ".to_owned();
        for (at, (cell, width)) in row.iter().zip(widths).enumerate() {
            let last = at + 1 == N;
            let room = if last { WIDTH.saturating_sub(line.chars().count()).max(width) } else { width };
            let cell = shorten(cell, room);
            line.push_str(&cell);
            if !last {
                line.extend(std::iter::repeat_n(' ', width + 2 - cell.chars().count()));
            }
        }
        lines.push_str(line.trim_end());
        lines.push('\n');
    }
    lines
}

/// A text over several lines, broken after a comma or a space where there is one; what is more than that is cut.
fn wrapped(text: &str, width: usize, lines: usize) -> Vec<String> {
    let text: Vec<char> = shorten(text, width * lines).chars().collect();
    let (mut rest, mut broken) = (&text[..], Vec::<String>::new());
    while !rest.is_empty() {
        let room = rest.len().min(width);
        let after_pause = rest[..room].iter().rposition(|c| [',', ' '].contains(c)).map(|at| at + 1);
        // A break far to the left would waste the line.
        let at = match after_pause {
            Some(at) if room < rest.len() && at > width / 2 => at,
            _ => room,
        };
        broken.push(rest[..at].iter().collect());
        rest = &rest[at..];
    }
    if broken.len() > lines {
        broken.truncate(lines);
        if let Some(last) = broken.last_mut() {
            last.push('…');
        }
    }
    broken
}

/// A text on one line, at most so many characters long.
fn shorten(text: &str, width: usize) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.chars().count() <= width {
        return line;
    }
    let kept: String = line.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use hyper::HeaderMap;
    use hyper::header::HeaderValue;
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_too_long_is_cut_by_characters() {
        for (text, width, short) in [
            ("short", 5, "short"),
            ("longer", 5, "long…"),
            ("größer", 4, "grö…"),
            ("a\nb\u{1b}[2J", 9, "a b [2J"),
            ("ab", 1, "…"),
            ("", 0, ""),
        ] {
            assert_eq!(shorten(text, width), short);
        }
    }

    #[test]
    fn a_long_body_takes_some_lines() {
        assert_eq!(wrapped("abcdefg", 3, 4), ["abc", "def", "g"]);
        assert_eq!(wrapped("abcdefg", 3, 2), ["abc", "de…"]);
        assert_eq!(wrapped("ab,cdefgh", 4, 3), ["ab,", "cdef", "gh"]);
        assert_eq!(wrapped("ab,cd,ef,gh", 4, 2), ["ab,", "cd,…"]);
        assert!(wrapped("", 3, 2).is_empty());
    }

    proptest::proptest! {
        #[test]
        fn a_body_never_takes_more_room_than_it_may(text in ".*", width in 1_usize..30, lines in 1_usize..5) {
            let broken = wrapped(&text, width, lines);
            proptest::prop_assert!(broken.len() <= lines);
            proptest::prop_assert!(broken.iter().all(|line| line.chars().count() <= width + 1));
        }
    }

    #[test]
    fn columns_line_up() {
        let rows = [["a".to_owned(), "1".to_owned()], ["größe".to_owned(), "22".to_owned()]];
        assert_eq!(table(["name", "n"], rows), "   name   n\n   a      1\n   größe  22\n");
    }

    #[test]
    fn a_request_says_how_it_is_known() {
        let mut headers = HeaderMap::new();
        headers.insert("x-sig", HeaderValue::from_static("sha256=00"));
        headers.insert("authorization", HeaderValue::from_static("Bearer hidden"));
        headers.insert("user-agent", HeaderValue::from_static("Unibo-Webhooks/1.0"));
        let arrival = Arrival {
            at: Timestamp::UNIX_EPOCH,
            method: "POST".to_owned(),
            path: "/".to_owned(),
            headers,
            body: Bytes::new(),
            status: 200,
        };
        let signed = credentials(&arrival, &Proof::Signed("x-sig".to_owned()));
        assert_eq!(signed, "signature right: x-sig: sha256=00; bearer token shown; user agent Unibo-Webhooks/1.0");
        assert!(credentials(&arrival, &Proof::Broken("why".to_owned())).starts_with("SIGNATURE WRONG: why"));
        assert!(!credentials(&arrival, &Proof::Unsigned).contains("hidden"));
    }

    #[test]
    fn attempts_tell_how_it_went_and_ended() {
        let delivery = json!({"status": "delivered", "attempts": [
            {"number": 1, "started_at": "2026-01-01T10:00:00.123Z",
             "next": {"action": "retry", "because": "the endpoint answered 500; attempt 2 of 3 follows"}},
            {"number": 2, "started_at": "2026-01-01T10:00:01.456Z",
             "next": {"action": "deliver", "because": "the endpoint took it"}},
        ]});
        let lines = attempts(&delivery);
        assert!(lines.contains("1        10:00:00.123  retry    the endpoint answered 500; attempt 2"), "{lines}");
        assert!(lines.ends_with("It ended as: delivered.\n"));
        // Nothing there is no reason to panic.
        assert!(attempts(&Value::Null).ends_with("It ended as: .\n"));
        assert!(fault(&Value::Null, 1).contains("other delivery"));
    }
}
