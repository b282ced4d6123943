//! The hand on a gateway's clock.

use std::path::Path;

use jiff::Timestamp;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::sync::Mutex;

/// A gateway's clock, which stands until it is moved.
pub struct TestClock(Mutex<BufReader<UnixStream>>);

impl TestClock {
    pub(crate) async fn connect(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).await.expect("the gateway listens on its test clock's socket");
        Self(Mutex::new(BufReader::new(stream)))
    }

    async fn say(&self, command: &str) -> Timestamp {
        let mut stream = self.0.lock().await;
        stream.write_all(format!("{command}\n").as_bytes()).await.expect("the gateway reads its clock's socket");
        let mut answer = String::new();
        stream.read_line(&mut answer).await.expect("the gateway answers on its clock's socket");
        answer.trim().parse().unwrap_or_else(|_| panic!("the clock said to `{command}`: {answer}"))
    }

    /// The gateway's time.
    pub async fn now(&self) -> Timestamp {
        self.say("now").await
    }

    /// Moves it on, by a duration such as `"2h"`; gives the new time.
    pub async fn advance(&self, by: &str) -> Timestamp {
        self.say(&format!("advance {by}")).await
    }
}
