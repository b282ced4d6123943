//! Endpoints that mean harm, on addresses of this machine's own network, so that each counts as a host of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// How many addresses there are, from 127.0.0.2 on.
pub(super) const ADDRESSES: usize = 16;

/// What an endpoint does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// Answers 200, and something that a connector has to read.
    Answer,
    /// Never answers.
    Silence,
    /// Answers a byte a second, for ever.
    Trickle,
    /// Answers with a gibibyte.
    Flood,
    /// Resets the connection.
    Reset,
    /// Redirects to itself.
    Circle,
    /// Has had enough for some thousand years.
    Throttle,
}

/// Opens the endpoints; each lives as long as the runtime it was opened on.
pub(super) async fn open(manner: Manner) -> anyhow::Result<Vec<SocketAddr>> {
    let mut addresses = Vec::with_capacity(ADDRESSES);
    for last in (2_u8..).take(ADDRESSES) {
        let address = Ipv4Addr::new(127, 0, 0, last);
        let listener = TcpListener::bind((address, 0)).await.with_context(|| format!("no port at {address}"))?;
        addresses.push(listener.local_addr()?);
        tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    // How a connection ends is the gateway's to say.
                    Ok((stream, _)) => drop(tokio::spawn(serve(stream, manner))),
                    // Out of files: the gateway closes some in time.
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        });
    }
    Ok(addresses)
}

async fn serve(stream: TcpStream, manner: Manner) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    while read_request(&mut stream).await? {
        match manner {
            Manner::Answer => stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await?,
            Manner::Circle => {
                stream.write_all(b"HTTP/1.1 302 Found\r\nlocation: /again\r\ncontent-length: 0\r\n\r\n").await?;
            }
            Manner::Throttle => {
                let head =
                    b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 99999999999999\r\ncontent-length: 0\r\n\r\n";
                stream.write_all(head).await?;
            }
            Manner::Silence => {
                // Until the gateway gives up.
                tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
            }
            Manner::Trickle => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
                loop {
                    stream.write_all(b".").await?;
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
            Manner::Flood => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n").await?;
                let piece = [b'x'; 64 * 1024];
                for _ in 0..(1 << 30) / piece.len() {
                    stream.write_all(&piece).await?;
                }
            }
            Manner::Reset => return stream.get_ref().set_zero_linger(),
        }
    }
    Ok(())
}

/// Reads a request to its end; `false`: there is none any more.
async fn read_request(stream: &mut BufReader<TcpStream>) -> std::io::Result<bool> {
    let (mut line, mut length) = (String::new(), 0);
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(false);
        }
        let Some((name, value)) = line.split_once(':') else {
            if line.trim().is_empty() {
                break;
            }
            continue;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    tokio::io::copy(&mut stream.take(length), &mut tokio::io::sink()).await?;
    Ok(true)
}
