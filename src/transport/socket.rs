//! A connection as the HTTP/2 library should see it: one that takes the answers that are ready together in one write.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep};
use tonic::transport::server::Connected;

/// A TCP connection that does not offer vectored writes.
///
/// To a connection that does, `h2` hands every message of 256 bytes and more in a system call of its own, to save the
/// copy. To this one it copies messages of up to a kilobyte behind each other, and the answers to all calls that are
/// served in one turn leave together: for messages as short as tokens the copy is much the cheaper.
pub(super) struct Socket {
    stream: TcpStream,
    /// What of the greeting is still missing, and until when it is waited for.
    greeting: Option<(usize, Pin<Box<Sleep>>)>,
    /// Free again when the connection ends.
    _place: OwnedSemaphorePermit,
}

/// How many bytes every client begins with (RFC 9113, section 3.4). From then on it is asked whether it is still there.
const GREETING_BYTES: usize = 24;

/// Where a connection comes from, as text: written once for all its calls.
#[derive(Debug, Clone)]
pub(super) struct Peer(pub(super) Option<Arc<str>>);

// === impl Socket ===

impl Socket {
    /// Whoever does not greet within this time is cut off.
    pub(super) fn new(stream: TcpStream, place: OwnedSemaphorePermit, greeting: Duration) -> Self {
        Self { stream, greeting: Some((GREETING_BYTES, Box::pin(sleep(greeting)))), _place: place }
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let Some((missing, patience)) = &mut self.greeting else { return read };
        *missing = missing.saturating_sub(buffer.filled().len() - before);
        if *missing == 0 {
            self.greeting = None;
        } else if read.is_pending() && patience.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Connected for Socket {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        Peer(self.stream.peer_addr().ok().map(|address| address.to_string().into()))
    }
}
