//! A relay between a client and a server on this machine that can be a bad one: slow, or cut off, or forgetful like a
//! firewall. It counts what clients ask for.

#![expect(clippy::unwrap_used, reason = "a test harness fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "tests have no task tracker")]

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A running relay.
#[derive(Debug)]
pub(crate) struct Relay {
    port: u16,
    state: Arc<State>,
    listener: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct State {
    /// What freezes the connections there are; a new one for those to come.
    frozen: Mutex<Arc<AtomicBool>>,
    /// Whether connections are born frozen.
    cut: AtomicBool,
    /// How much later answers arrive.
    delay: watch::Sender<Duration>,
    accepted: AtomicUsize,
    asked: AtomicUsize,
}

// === impl Relay ===

impl Relay {
    /// Relays to this port of this machine.
    pub(crate) async fn to(server_port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        let for_listener = Arc::clone(&state);
        let listener = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                for_listener.asked.fetch_add(1, Ordering::SeqCst);
                let state = Arc::clone(&for_listener);
                // Where the queue of the server is full this takes as long as the next attempt of the system, which may
                // be half a minute: that is the business of this connection only.
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server_port)).await else { return };
                    state.accepted.fetch_add(1, Ordering::SeqCst);
                    state.join(client, server);
                });
            }
        });
        Self { port, state, listener }
    }

    /// Where to connect.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// How many connections there have been.
    pub(crate) fn accepted(&self) -> usize {
        self.state.accepted.load(Ordering::SeqCst)
    }

    /// How often clients asked for something: connections wanted, and pieces of data sent. A client that waits for its
    /// answers sends a request as one piece.
    pub(crate) fn asked(&self) -> usize {
        self.state.asked.load(Ordering::SeqCst)
    }

    /// Freezes the connections there are: they stay open and carry nothing any more, as when a firewall forgets them.
    /// New connections work.
    pub(crate) fn freeze(&self) {
        let mut frozen = self.state.frozen.lock().unwrap();
        frozen.store(true, Ordering::SeqCst);
        *frozen = Arc::default();
    }

    /// Carries nothing any more, on connections there are and on those to come. None of them works ever again.
    pub(crate) fn cut(&self) {
        self.state.cut.store(true, Ordering::SeqCst);
        self.freeze();
    }

    /// New connections work again.
    pub(crate) fn mend(&self) {
        self.freeze();
        self.state.cut.store(false, Ordering::SeqCst);
    }

    /// Holds every answer back for so long; zero: no longer, not even those that are held.
    pub(crate) fn delay(&self, delay: Duration) {
        self.state.delay.send_replace(delay);
    }
}

// === impl State ===

impl State {
    fn join(self: &Arc<Self>, client: TcpStream, server: TcpStream) {
        let frozen = Arc::clone(&self.frozen.lock().unwrap_or_else(PoisonError::into_inner));
        frozen.fetch_or(self.cut.load(Ordering::SeqCst), Ordering::SeqCst);
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        tokio::spawn(carry(from_client, to_server, Arc::clone(&frozen), Direction::Asking(Arc::clone(self))));
        tokio::spawn(carry(from_server, to_client, frozen, Direction::Answering(self.delay.subscribe())));
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

enum Direction {
    Asking(Arc<State>),
    Answering(watch::Receiver<Duration>),
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, frozen: Arc<AtomicBool>, mut direction: Direction) {
    let mut buffer = vec![0; 16_384];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        match &mut direction {
            Direction::Asking(state) => drop(state.asked.fetch_add(1, Ordering::SeqCst)),
            Direction::Answering(delay) => {
                let wait = *delay.borrow_and_update();
                // Passes when the time has, or when the delay is taken back.
                drop(timeout(wait, delay.changed()).await);
            }
        }
        if frozen.load(Ordering::SeqCst) {
            // Reads on, so that the sender is never told.
            continue;
        }
        if to.write_all(buffer.get(..length).unwrap()).await.is_err() {
            return;
        }
    }
}
