//! Server-sent events, read as they come.

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::Value;

use crate::PATIENCE;

/// An open stream.
pub struct Stream {
    body: Incoming,
    text: String,
}

/// What was told.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// `event`; empty in a comment.
    pub name: String,
    /// `id`.
    pub id: String,
    /// `data`; `null` in a comment.
    pub data: Value,
}

impl Stream {
    pub(crate) fn new(body: Incoming) -> Self {
        Self { body, text: String::new() }
    }

    /// The next message or comment; `None` at the end of the stream.
    ///
    /// # Panics
    /// If nothing comes within [`PATIENCE`].
    pub async fn next(&mut self) -> Option<Told> {
        loop {
            if let Some((message, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    let line = message.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
                    line.map(str::trim_start).unwrap_or_default().to_owned()
                };
                let data = serde_json::from_str(&field("data")).unwrap_or_default();
                let told = Told { name: field("event"), id: field("id"), data };
                self.text = rest.to_owned();
                return Some(told);
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await.expect("something is told in time");
            let data: Bytes = frame?.ok()?.into_data().ok()?;
            self.text.push_str(&String::from_utf8_lossy(&data));
        }
    }

    /// The next message; comments are passed over.
    ///
    /// # Panics
    /// If the stream ends, or nothing comes within [`PATIENCE`].
    pub async fn told(&mut self) -> Told {
        loop {
            let told = self.next().await.expect("the stream goes on");
            if !told.name.is_empty() {
                return told;
            }
        }
    }
}
