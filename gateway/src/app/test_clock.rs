//! The test clock of a real process: a Unix socket that moves its time.
//!
//! One command a line: `now`, or `advance 2h`. Each is answered with the time, RFC 3339.

use std::path::Path;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use crate::clock::Clock;
use crate::domain::{duration, rfc3339};

/// Makes a clock that stands until the socket at `path` moves it, and listens there.
///
/// # Errors
/// If the socket can't be made.
pub fn listen(path: &Path) -> anyhow::Result<Clock> {
    // On a whole second: the store keeps due times in whole milliseconds, rounded up, and a clock that stands
    // between two would never reach them.
    let start = jiff::Timestamp::from_second(Clock::system().now().as_second())?;
    let clock = Clock::test(start);
    // A socket that an earlier process left behind.
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path)?;
    let moved = clock.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(obey(stream, moved.clone()));
        }
    });
    Ok(clock)
}

async fn obey(mut stream: UnixStream, clock: Clock) -> std::io::Result<()> {
    let (read, mut write) = stream.split();
    let mut lines = BufReader::new(read).lines();
    while let Some(line) = lines.next_line().await? {
        let answer = match line.trim().split_once(' ') {
            None if line.trim() == "now" => rfc3339(clock.now()),
            Some(("advance", by)) => match duration::parse(by) {
                Ok(by) => rfc3339(clock.advance(by)),
                Err(error) => format!("error: {error}"),
            },
            _ => "error: say `now` or `advance 2h`".to_owned(),
        };
        write.write_all(format!("{answer}\n").as_bytes()).await?;
    }
    Ok(())
}
