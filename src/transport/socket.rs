//! A connection as the HTTP/2 library should see it: one that takes the answers that are ready together in one write.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tonic::transport::server::Connected;

/// A TCP connection that does not offer vectored writes.
///
/// To a connection that does, `h2` hands every message of 256 bytes and more in a system call of its own, to save the
/// copy. To this one it copies messages of up to a kilobyte behind each other, and the answers to all calls that are
/// served in one turn leave together: for messages as short as tokens the copy is much the cheaper.
pub(super) struct Socket(pub(super) TcpStream);

/// Where a connection comes from, as text: written once for all its calls.
#[derive(Debug, Clone)]
pub(super) struct Peer(pub(super) Option<Arc<str>>);

// === impl Socket ===

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl Connected for Socket {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        Peer(self.0.peer_addr().ok().map(|address| address.to_string().into()))
    }
}
