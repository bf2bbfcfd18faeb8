//! Taking connections: no more than there is room for, and for long only from who says something.
//!
//! A connection is a file descriptor, and a process that has none left can neither write down an answer of a platform nor
//! ask one. So there are fewer connections than descriptors, and who comes when all are taken waits in the queue of the
//! operating system until one ends.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{Stream, StreamExt as _, unfold};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep};
use tonic::transport::server::TcpIncoming;

use super::socket::Socket;

/// How long to wait when no connection can be taken: what is missing is not there a moment later.
const PAUSE: Duration = Duration::from_millis(100);

/// How often it is said that connections wait.
const SAID_EVERY: Duration = Duration::from_mins(1);

/// Where connections come in.
pub(super) struct Listener {
    incoming: TcpIncoming,
    room: Arc<Semaphore>,
    greeting: Duration,
    said_at: Option<Instant>,
}

// === impl Listener ===

impl Listener {
    /// Takes as many connections at a time; each is to greet within this time.
    pub(super) fn new(listener: TcpListener, connections: usize, greeting: Duration) -> Self {
        // Without nodelay a small server does a fiftieth of its work: every accept path sets it.
        let incoming = TcpIncoming::from(listener)
            .with_nodelay(Some(true))
            .with_keepalive(Some(Duration::from_secs(30)))
            .with_keepalive_interval(Some(Duration::from_secs(10)))
            .with_keepalive_retries(Some(3));
        Self { incoming, room: Arc::new(Semaphore::new(connections)), greeting, said_at: None }
    }

    /// The connections, one after the other.
    pub(super) fn sockets(self) -> impl Stream<Item = io::Result<Socket>> + Send {
        unfold(self, |mut listener| async move {
            let socket = listener.next().await?;
            Some((Ok(socket), listener))
        })
    }

    async fn next(&mut self) -> Option<Socket> {
        let place = self.place().await?;
        loop {
            match self.incoming.next().await? {
                Ok(stream) => return Some(Socket::new(stream, place, self.greeting)),
                // Whoever was about to connect thought better of it.
                Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) => {
                }
                Err(error) => {
                    if self.may_say() {
                        tracing::error!(%error, "no connection can be taken for now");
                    }
                    sleep(PAUSE).await;
                }
            }
        }
    }

    async fn place(&mut self) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = Arc::clone(&self.room).try_acquire_owned() {
            return Some(place);
        }
        if self.may_say() {
            tracing::warn!("as many connections are open as there is room for: the next ones wait for an end of one");
        }
        Arc::clone(&self.room).acquire_owned().await.ok()
    }

    fn may_say(&mut self) -> bool {
        let may = self.said_at.is_none_or(|said_at| said_at.elapsed() >= SAID_EVERY);
        if may {
            self.said_at = Some(Instant::now());
        }
        may
    }
}
