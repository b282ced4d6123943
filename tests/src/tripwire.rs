//! A port that nobody may connect to.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::{TcpListener, TcpStream};

use crate::eventually;

/// A port of this machine, under every address it has, that counts whoever connects.
pub struct Tripwire {
    port: u16,
    connections: Arc<AtomicUsize>,
}

impl Tripwire {
    /// Lays it.
    ///
    /// # Panics
    /// If there is no free port.
    pub async fn lay() -> Self {
        // A socket at `[::]` takes IPv4 as well, where the machine has IPv6 at all.
        let listener = match TcpListener::bind("[::]:0").await {
            Ok(listener) => listener,
            Err(_) => TcpListener::bind("0.0.0.0:0").await.expect("there is a free port"),
        };
        let port = listener.local_addr().expect("a listener has an address").port();
        let wire = Self { port, connections: Arc::default() };
        let connections = wire.connections.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                drop(stream);
            }
        });
        wire
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Connects itself, which shows that it would have noticed, and that nobody came before.
    ///
    /// # Panics
    /// If somebody did.
    pub async fn untouched(self) {
        TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))).await.expect("it listens");
        let count = || Some(self.connections.load(Ordering::SeqCst)).filter(|count| *count > 0);
        let count = eventually("the tripwire notices", async || count()).await;
        assert_eq!(count, 1, "somebody connected to what nobody may reach");
    }
}
