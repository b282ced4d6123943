//! An endpoint written by hand, so that it can misbehave in ways no library would.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// What the endpoint does with a request.
pub(super) enum Reply {
    /// Sends these bytes and waits for the next request.
    Answer(Vec<u8>),
    /// Sends these bytes and then nothing more, for ever.
    Hang(Vec<u8>),
    /// Sends these bytes and closes the connection.
    Close(Vec<u8>),
    /// Sends these bytes and resets the connection.
    Reset(Vec<u8>),
    /// Sends these bytes and then zeros until the connection breaks.
    Endless(Vec<u8>),
}

/// `200` with this body.
pub(super) fn ok(body: &str) -> Reply {
    answer("200 OK", "", body)
}

/// This status, these header lines (each with its line break) and this body.
pub(super) fn answer(status: &str, headers: &str, body: &str) -> Reply {
    Reply::Answer(format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len()).into_bytes())
}

pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) connections: Arc<AtomicUsize>,
    /// Every request, as text.
    pub(super) requests: Arc<Mutex<Vec<String>>>,
    /// One message when the reply to a request was written, with the number of bytes.
    pub(super) replied: mpsc::UnboundedReceiver<usize>,
}

impl Server {
    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Starts an endpoint. `script` is given the number of the request, counted from 0, and its text.
pub(super) async fn serve(script: impl Fn(usize, &str) -> Reply + Send + Sync + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (connections, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
    let (tell, replied) = mpsc::unbounded_channel();
    let script = Arc::new(script);
    tokio::spawn({
        let (connections, requests) = (connections.clone(), requests.clone());
        async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(converse(stream, script.clone(), requests.clone(), tell.clone()));
            }
        }
    });
    Server { address, connections, requests, replied }
}

async fn converse<S: Fn(usize, &str) -> Reply>(
    mut stream: TcpStream,
    script: Arc<S>,
    requests: Arc<Mutex<Vec<String>>>,
    tell: mpsc::UnboundedSender<usize>,
) {
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut buffer).await {
        let reply = {
            let mut requests = requests.lock();
            requests.push(request.clone());
            script(requests.len() - 1, &request)
        };
        let (Reply::Answer(bytes)
        | Reply::Hang(bytes)
        | Reply::Close(bytes)
        | Reply::Reset(bytes)
        | Reply::Endless(bytes)) = &reply;
        let _ = stream.write_all(bytes).await;
        let mut written = bytes.len();
        if let Reply::Endless(_) = reply {
            while let Ok(count) = stream.write(&[0; 64 * 1024]).await {
                written += count;
            }
        }
        let _ = tell.send(written);
        match reply {
            Reply::Answer(_) => {}
            Reply::Hang(_) => std::future::pending().await,
            Reply::Close(_) | Reply::Endless(_) => return,
            Reply::Reset(_) => {
                stream.set_zero_linger().unwrap();
                return;
            }
        }
    }
}

async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).to_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse::<usize>().unwrap());
            let end = end + 4 + length;
            if buffer.len() >= end {
                let rest = buffer.split_off(end);
                let request = std::mem::replace(buffer, rest);
                return Some(String::from_utf8(request).unwrap());
            }
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}
