//! Clients that never come to the point: what each sends, for as long as it is let.

use std::sync::LazyLock;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long a slow client is let, as the gateway is set for it.
pub(super) const LET_GO: Duration = Duration::from_secs(4);
/// Bytes of a body that never comes to its end.
pub(super) const BODY: usize = 1 << 20;

/// How a client never comes to the point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slow {
    /// It says nothing.
    Silent,
    /// It begins to speak HTTP/2, and stops before that can be told from HTTP/1.
    Preface,
    /// Its head comes a byte a second, without an end.
    Head,
    /// All of a large body comes at once but for the last byte.
    Body,
}

impl Slow {
    const ALL: [Self; 4] = [Self::Silent, Self::Preface, Self::Head, Self::Body];

    /// What the client of this number does.
    pub(super) fn of(number: usize) -> Self {
        Self::ALL[number % Self::ALL.len()]
    }

    /// What it is called.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Silent => "silent client",
            Self::Preface => "half a preface",
            Self::Head => "slow head",
            Self::Body => "unended body",
        }
    }

    /// Keeps a connection until the other side has had enough; gives what that said. `head` begins a request that would be
    /// taken.
    pub(super) async fn keep(self, stream: &mut TcpStream, head: &str) -> String {
        let mut said = Vec::new();
        // However the connection ends, what was said before is what counts.
        let _ = match self {
            Self::Silent => Ok(()),
            Self::Preface => stream.write_all(b"PRI * HTTP/2.0").await,
            Self::Head => drip(stream, head.as_bytes(), &mut said).await,
            Self::Body => stall(stream, head).await,
        };
        let _ = stream.read_to_end(&mut said).await;
        String::from_utf8_lossy(&said).into_owned()
    }
}

/// A byte a second, until the other side says something or is gone.
async fn drip(stream: &mut TcpStream, head: &[u8], said: &mut Vec<u8>) -> std::io::Result<()> {
    for byte in head.iter().chain(std::iter::repeat(&b'x')) {
        stream.write_all(&[*byte]).await?;
        if tokio::time::timeout(Duration::from_secs(1), stream.read_to_end(said)).await.is_ok() {
            break;
        }
    }
    Ok(())
}

/// All but the last byte of a body. Made once: a mebibyte for each client would cost whoever measures in this process more
/// than it costs the gateway.
static UNENDED: LazyLock<Vec<u8>> = LazyLock::new(|| vec![b' '; BODY - 1]);

/// A head and that, and nothing more.
async fn stall(stream: &mut TcpStream, head: &str) -> std::io::Result<()> {
    stream.write_all(format!("{head}\r\n").as_bytes()).await?;
    stream.write_all(&UNENDED).await
}
