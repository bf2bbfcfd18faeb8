//! Taking connections: no more than there is room for, and for long only from who says something.
//!
//! A connection is a file descriptor, and a process that has none left can neither write down an answer of a platform nor
//! ask one. So there are fewer connections than descriptors, and who comes when all are taken waits in the queue of the
//! operating system until one ends.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::{Stream, StreamExt as _, unfold};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep};
use tonic::transport::server::TcpIncoming;

use super::socket::{Patience, Socket};
use super::tls::CurrentTls;

/// How long to wait when no connection can be taken: what is missing is not there a moment later.
const PAUSE: Duration = Duration::from_millis(100);

/// How often it is said that connections wait.
const SAID_EVERY: Duration = Duration::from_mins(1);

/// Where connections come in.
pub(super) struct Listener {
    incoming: TcpIncoming,
    room: Arc<Semaphore>,
    tls: Option<CurrentTls>,
    patience: Patience,
    said_at: Option<Instant>,
    failures: Failures,
}

/// Handshakes that failed: one of them is told, the others are counted, because whoever knocks must not fill the log.
#[derive(Clone, Default)]
struct Failures(Arc<Mutex<(Option<Instant>, u64)>>);

// === impl Listener ===

impl Listener {
    /// Takes as many connections at a time.
    pub(super) fn new(listener: TcpListener, connections: usize, tls: Option<CurrentTls>, patience: Patience) -> Self {
        // Without nodelay a small server does a fiftieth of its work: every accept path sets it.
        let incoming = TcpIncoming::from(listener)
            .with_nodelay(Some(true))
            .with_keepalive(Some(Duration::from_secs(30)))
            .with_keepalive_interval(Some(Duration::from_secs(10)))
            .with_keepalive_retries(Some(3));
        let room = Arc::new(Semaphore::new(connections));
        Self { incoming, room, tls, patience, said_at: None, failures: Failures::default() }
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
                Ok(stream) => {
                    let tls = self.tls.as_ref().map(CurrentTls::acceptor);
                    return Some(Socket::new(stream, tls, place, self.patience, self.failures.report()));
                }
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

// === impl Failures ===

impl Failures {
    fn report(&self) -> Arc<dyn Fn(&io::Error) + Send + Sync> {
        let failures = self.clone();
        Arc::new(move |error| failures.heard(error))
    }

    fn heard(&self, error: &io::Error) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (said_at, unsaid) = &mut *heard;
        if said_at.is_some_and(|said_at| said_at.elapsed() < SAID_EVERY) {
            *unsaid += 1;
            return;
        }
        *said_at = Some(Instant::now());
        let others = std::mem::take(unsaid);
        drop(heard);
        tracing::warn!(%error, others, "a connection was turned away, because TLS could not be agreed on");
    }
}
