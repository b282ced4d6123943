//! Server-sent events, as they come (WHATWG HTML, 9.2; what the gateway writes of it).

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;

/// An open stream.
pub(in crate::cli) struct Stream {
    body: Incoming,
    lines: Lines,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::cli) struct Told {
    /// `event`, `delivery` or `lost`.
    pub(in crate::cli) name: String,
    /// What to go on after.
    pub(in crate::cli) id: String,
    /// JSON, as it came.
    pub(in crate::cli) data: String,
}

impl Stream {
    pub(super) fn new(body: Incoming) -> Self {
        Self { body, lines: Lines::default() }
    }

    /// The next message; `None` when the gateway has ended the stream, or the connection broke.
    pub(in crate::cli) async fn next(&mut self) -> Option<Told> {
        loop {
            if let Some(told) = self.lines.take() {
                return Some(told);
            }
            let frame = self.body.frame().await?.ok()?;
            if let Ok(data) = frame.into_data() {
                self.lines.add(&data);
            }
        }
    }
}

/// What has come and makes no whole message yet. Bytes, as a character may be cut in two.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn add(&mut self, data: &Bytes) {
        self.0.extend_from_slice(data);
    }

    /// The next whole message; comments are passed over.
    fn take(&mut self) -> Option<Told> {
        loop {
            let end = self.0.windows(2).position(|two| two == b"\n\n")?;
            let message: Vec<u8> = self.0.drain(..end + 2).collect();
            let mut told = Told::default();
            for line in String::from_utf8_lossy(&message).lines() {
                let (field, value) = line.split_once(':').unwrap_or((line, ""));
                let value = value.strip_prefix(' ').unwrap_or(value);
                match field {
                    "event" => value.clone_into(&mut told.name),
                    "id" => value.clone_into(&mut told.id),
                    "data" => told.data.push_str(value),
                    _ => {}
                }
            }
            if !told.data.is_empty() {
                return Some(told);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_in_pieces() {
        let text =
            ": watching\n\nevent: event\nid: evt_1\ndata: {\"a\":\"ä: b\"}\n\n:\n\nevent: lost\ndata: {}\n\ndata: half";
        let whole = [
            Told { name: "event".to_owned(), id: "evt_1".to_owned(), data: "{\"a\":\"ä: b\"}".to_owned() },
            Told { name: "lost".to_owned(), id: String::new(), data: "{}".to_owned() },
        ];
        for size in 1..text.len() {
            let mut lines = Lines::default();
            let mut told = Vec::new();
            for piece in text.as_bytes().chunks(size) {
                lines.add(&Bytes::copy_from_slice(piece));
                told.extend(std::iter::from_fn(|| lines.take()));
            }
            assert_eq!(told, whole, "pieces of {size}");
        }
    }
}
