//! A relay between a client and a server on this machine, whose connections can be frozen: they stay open and carry
//! nothing any more, as when a firewall forgets them. New connections work.

#![expect(clippy::unwrap_used, reason = "a test harness fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "tests have no task tracker")]

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

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
    accepted: AtomicUsize,
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
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server_port)).await else { continue };
                for_listener.accepted.fetch_add(1, Ordering::SeqCst);
                let frozen = Arc::clone(&for_listener.frozen.lock().unwrap_or_else(PoisonError::into_inner));
                let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
                tokio::spawn(carry(from_client, to_server, Arc::clone(&frozen)));
                tokio::spawn(carry(from_server, to_client, frozen));
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

    /// Freezes the connections there are.
    pub(crate) fn freeze(&self) {
        let mut frozen = self.state.frozen.lock().unwrap();
        frozen.store(true, Ordering::SeqCst);
        *frozen = Arc::default();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, frozen: Arc<AtomicBool>) {
    let mut buffer = vec![0; 16_384];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if frozen.load(Ordering::SeqCst) {
            // Reads on, so that the sender is never told.
            continue;
        }
        if to.write_all(buffer.get(..length).unwrap()).await.is_err() {
            return;
        }
    }
}
