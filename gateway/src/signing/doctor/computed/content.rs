//! What is signed: the right text, and what is taken for it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Frame, Way};
use crate::signing::doctor::{Code, Doctor, SentRequest, spelling};
use crate::signing::template::{Piece, Placeholder, Template};
use crate::signing::time::Written;

impl Doctor<'_> {
    /// What is signed around the body: right first, then as it is misread.
    pub(super) fn frames(&self, sent: &SentRequest) -> Vec<Way<Frame>> {
        let stated = self.stated(&sent.headers);
        let timestamp = stated.timestamp.unwrap_or_default().to_vec();
        let url = sent.url.as_bytes().to_vec();
        let content = &self.layout.content;
        let frame = |template, timestamp: &[u8], url: &[u8]| Frame {
            template,
            timestamp: timestamp.to_vec(),
            url: url.to_vec(),
        };
        let mut frames = vec![Way::right(frame(content.clone(), &timestamp, &url))];
        for (pieces, what) in others_of(content, stated.timestamp.is_some(), stated.id.is_some()) {
            let template = Template::of(pieces);
            let detail = format!("Your code signs {what} (`{template}`), and the scheme signs `{content}`.");
            frames.push(Way::wrong(Code::WrongContent, detail, frame(template, &timestamp, &url)));
        }
        if content.has(Placeholder::Timestamp)
            && let Some((other, detail)) = other_unit(self.layout.written, &timestamp)
        {
            frames.push(Way::wrong(Code::WrongContent, detail, frame(content.clone(), &other, &url)));
        }
        if content.has(Placeholder::Url) {
            for (other, what) in other_urls(&sent.url) {
                let detail =
                    format!("Your code signs the URL {what}, and the scheme signs it as the subscription has it.");
                frames.push(Way::wrong(
                    Code::WrongContent,
                    detail,
                    frame(content.clone(), &timestamp, other.as_bytes()),
                ));
            }
        }
        frames
    }
}

/// What is signed in place of a content: with parts left out, without what stands between them, in another order.
fn others_of(content: &Template, has_timestamp: bool, has_id: bool) -> Vec<(Vec<Piece>, &'static str)> {
    let pieces = content.pieces();
    let of = |placeholder| Piece::Of(placeholder);
    let body = if content.has(Placeholder::Form) { of(Placeholder::Form) } else { of(Placeholder::Body) };
    let dot = || Piece::Literal(".".into());
    let mut others = vec![(vec![body.clone()], "the body alone")];
    for (placeholder, what) in [
        (Placeholder::Id, "no id"),
        (Placeholder::Timestamp, "no timestamp"),
        (Placeholder::Url, "no URL"),
        (Placeholder::Method, "no method"),
    ] {
        if content.has(placeholder) {
            others.push((without(pieces, placeholder), what));
        }
    }
    let bare: Vec<Piece> = pieces.iter().filter(|piece| !matches!(piece, Piece::Literal(_))).cloned().collect();
    others.push((bare, "the parts without what stands between them"));
    if content.has(Placeholder::Id) && content.has(Placeholder::Timestamp) {
        let swap = |piece: &Piece| match piece {
            Piece::Of(Placeholder::Id) => of(Placeholder::Timestamp),
            Piece::Of(Placeholder::Timestamp) => of(Placeholder::Id),
            other => other.clone(),
        };
        others.push((pieces.iter().map(swap).collect(), "the id and the timestamp in each other's place"));
    }
    if has_timestamp && !content.has(Placeholder::Timestamp) {
        let more = vec![of(Placeholder::Timestamp), dot(), body.clone()];
        others.push((more, "a timestamp before the body"));
    }
    if has_id && has_timestamp && !content.has(Placeholder::Id) {
        let more = vec![of(Placeholder::Id), dot(), of(Placeholder::Timestamp), dot(), body];
        others.push((more, "an id and a timestamp before the body, as Standard Webhooks does"));
    }
    let mut seen = vec![pieces.to_vec()];
    others.retain(|(other, _)| {
        let is_new = !other.is_empty() && !seen.contains(other);
        seen.push(other.clone());
        is_new
    });
    others
}

/// The pieces without one, and without what keeps it apart from the next.
fn without(pieces: &[Piece], placeholder: Placeholder) -> Vec<Piece> {
    let mut rest = Vec::new();
    let mut skipped = false;
    for piece in pieces {
        let separates = skipped && matches!(piece, Piece::Literal(_));
        skipped = *piece == Piece::Of(placeholder);
        if !skipped && !separates {
            rest.push(piece.clone());
        }
    }
    rest
}

/// A timestamp in the unit that it is not in.
fn other_unit(written: Written, timestamp: &[u8]) -> Option<(Vec<u8>, &'static str)> {
    match written {
        Written::Seconds => Some((
            [timestamp, b"000"].concat(),
            "Your code signs the timestamp in milliseconds; sign it as it is in the header, in seconds.",
        )),
        Written::Milliseconds => Some((
            timestamp.get(..timestamp.len().checked_sub(3)?)?.to_vec(),
            "Your code signs the timestamp in seconds; sign it as it is in the header, in milliseconds.",
        )),
        Written::Rfc3339 | Written::HttpDate => Some((
            written.read(timestamp)?.to_string().into_bytes(),
            "Your code signs the timestamp as a number; sign it as it is in the header.",
        )),
    }
}

/// What is taken for the URL.
fn other_urls(url: &str) -> Vec<(String, &'static str)> {
    let (bare, query) = url.split_once('?').map_or((url, None), |(bare, query)| (bare, Some(query)));
    let path =
        bare.split_once("://").map_or(bare, |(_, rest)| rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/"));
    let whole_path = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    let other_scheme = match url.strip_prefix("https://") {
        Some(rest) => format!("http://{rest}"),
        None => url.replacen("http://", "https://", 1),
    };
    let slash = match bare.strip_suffix('/') {
        Some(bare) => bare.to_owned(),
        None => format!("{bare}/"),
    };
    [
        (bare.to_owned(), "without its query"),
        (path.to_owned(), "without its scheme and host"),
        (whole_path, "without its scheme and host"),
        (other_scheme, "with the scheme that the server behind a proxy sees"),
        (query.map_or(slash.clone(), |query| format!("{slash}?{query}")), "with or without a `/` at its end"),
    ]
    .into_iter()
    .filter(|(other, _)| other != url)
    .collect()
}

/// The body that was sent, and what is made of it.
pub(super) fn bodies(sent: &[u8]) -> Vec<Way<Vec<u8>>> {
    let mut bodies = vec![Way::right(sent.to_vec())];
    for spelling in spelling::all(sent) {
        let detail = format!(
            "Your code signs the body spelled anew, {}: sign the bytes as they came in, before anything parses them.",
            spelling.how
        );
        bodies.push(Way::wrong(Code::BodyReserialized, detail, spelling.body));
    }
    for (body, what) in [
        (Vec::new(), "an empty body: something read it before"),
        (b"[object Object]".to_vec(), "the text `[object Object]`: a parsed body was turned into a text"),
        (STANDARD.encode(sent).into_bytes(), "the body in base64: decode it first"),
    ] {
        if body != sent {
            let detail = format!("Your code signs {what}. Sign the bytes as they came in.");
            bodies.push(Way::wrong(Code::BodyChanged, detail, body));
        }
    }
    bodies
}
