//! Whether a server has started, as it says itself.

use std::io::{BufRead as _, BufReader, Read};
use std::process::Child;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How long a server may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Reads the log of a server until it says that it is ready. `Err` holds the log of one that ended instead.
pub(crate) fn once_it_says(ready: &str, mut child: Child, log: impl Read + Send + 'static) -> Result<Child, String> {
    let (line_seen, lines) = channel();
    // Reads on to the end, because a server whose log nobody reads stops when the pipe is full.
    let log = BufReader::new(log).lines();
    thread::spawn(move || log.map_while(Result::ok).for_each(|line| drop(line_seen.send(line))));
    let deadline = Instant::now() + PATIENCE;
    let mut seen = String::new();
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) if line.contains(ready) => return Ok(child),
            Ok(line) => seen = seen + &line + "\n",
            Err(RecvTimeoutError::Disconnected | RecvTimeoutError::Timeout) => {
                drop(child.kill());
                drop(child.wait());
                return Err(seen);
            }
        }
    }
}
