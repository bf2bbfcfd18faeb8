//! A way to a server on this machine that can be led elsewhere while it is used, or that loses the answers.

#![expect(clippy::unwrap_used, reason = "a test harness fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "tests have no task tracker")]

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A running detour. Ends when dropped.
#[derive(Debug)]
pub(crate) struct Detour {
    port: u16,
    state: Arc<State>,
    listener: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    to: AtomicU16,
    /// How many answers still arrive.
    answers: AtomicUsize,
    under_way: Mutex<Vec<JoinHandle<()>>>,
}

// === impl Detour ===

impl Detour {
    /// Leads to this port of this machine.
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let state =
            State { to: AtomicU16::new(port), answers: AtomicUsize::new(usize::MAX), under_way: Mutex::default() };
        let (port, state) = (listener.local_addr().unwrap().port(), Arc::new(state));
        let for_listener = Arc::clone(&state);
        let listener = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let to = for_listener.to.load(Ordering::SeqCst);
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await else { continue };
                let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
                let answers = Some(Arc::clone(&for_listener));
                let carried = [
                    tokio::spawn(carry(from_client, to_server, None)),
                    tokio::spawn(carry(from_server, to_client, answers)),
                ];
                for_listener.under_way.lock().unwrap().extend(carried);
            }
        });
        Self { port, state, listener }
    }

    /// Where to connect.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Breaks the connections there are, and leads those to come to this port.
    pub(crate) fn lead_to(&self, port: u16) {
        self.state.to.store(port, Ordering::SeqCst);
        self.state.under_way.lock().unwrap().drain(..).for_each(|carrying| carrying.abort());
    }

    /// From now on only so many answers arrive.
    pub(crate) fn lose_answers_after(&self, answers: usize) {
        self.state.answers.store(answers, Ordering::SeqCst);
    }
}

impl Drop for Detour {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, answers: Option<Arc<State>>) {
    let mut buffer = vec![0; 16_384];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let left = |answers: usize| answers.checked_sub(1);
        if answers
            .as_ref()
            .is_some_and(|state| state.answers.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left).is_err())
        {
            // Reads on, so that the sender is never told.
            continue;
        }
        if to.write_all(buffer.get(..length).unwrap()).await.is_err() {
            return;
        }
    }
}
