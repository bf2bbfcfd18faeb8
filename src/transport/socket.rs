//! A connection as the HTTP/2 library should see it: one that takes the answers that are ready together in one write, that
//! is secured before anything of it is read, and that ends in time.

use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::coop;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor};
use tonic::transport::server::Connected;

use super::tls;
use crate::domain::spiffe::SpiffeId;

/// A TCP connection that does not offer vectored writes.
///
/// To a connection that does, `h2` hands every message of 256 bytes and more in a system call of its own, to save the
/// copy. To this one it copies messages of up to a kilobyte behind each other, and the answers to all calls that are
/// served in one turn leave together: for messages as short as tokens the copy is much the cheaper.
///
/// The handshake of TLS is part of the connection's own task and not of accepting it, so that nobody waits for anybody
/// else's.
pub(super) struct Socket {
    stream: Stream,
    patience: Patience,
    /// What is waited for until `alarm`.
    awaited: Awaited,
    alarm: Pin<Box<Sleep>>,
    peer: Peer,
    report: Arc<dyn Fn(&io::Error) + Send + Sync>,
    /// Free again when the connection ends.
    _place: OwnedSemaphorePermit,
}

/// How long a connection may take for what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// To agree on keys.
    pub(super) handshake: Duration,
    /// To say that it speaks HTTP/2, from then on.
    pub(super) greeting: Duration,
    /// To live at all. It was asked to go some time before.
    pub(super) life: Duration,
}

enum Stream {
    Plain(TcpStream),
    Shaking(Box<Accept<TcpStream>>),
    Secured(Box<TlsStream<TcpStream>>),
    Failed,
}

#[derive(Clone, Copy)]
enum Awaited {
    Handshake,
    /// So many bytes of the greeting.
    Greeting(usize),
    End,
}

/// How many bytes every client begins with (RFC 9113, section 3.4). From then on it is asked whether it is still there.
const GREETING_BYTES: usize = 24;

/// A turn has 128 units.
const BYTES_OF_A_UNIT: usize = 1_024;

/// Where a connection comes from, and as whom: written once for all its calls.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    address: Option<Arc<str>>,
    /// Known when the handshake is over, and so before any call.
    workload: Arc<OnceLock<SpiffeId>>,
}

// === impl Peer ===

impl Peer {
    /// Its address.
    pub(super) fn address(&self) -> Option<Arc<str>> {
        self.address.clone()
    }

    /// The workload its certificate names.
    pub(super) fn workload(&self) -> Option<SpiffeId> {
        self.workload.get().cloned()
    }
}

// === impl Socket ===

impl Socket {
    /// A connection just made, secured first if there is TLS. `report` hears why a handshake failed.
    pub(super) fn new(
        stream: TcpStream,
        tls: Option<TlsAcceptor>,
        place: OwnedSemaphorePermit,
        patience: Patience,
        report: Arc<dyn Fn(&io::Error) + Send + Sync>,
    ) -> Self {
        let address = stream.peer_addr().ok().map(|address| address.to_string().into());
        let (stream, awaited, first) = match tls {
            Some(tls) => (Stream::Shaking(Box::new(tls.accept(stream))), Awaited::Handshake, patience.handshake),
            None => (Stream::Plain(stream), Awaited::Greeting(GREETING_BYTES), patience.greeting),
        };
        let alarm = Box::pin(sleep_until(Instant::now() + first));
        Self {
            stream,
            patience,
            awaited,
            alarm,
            peer: Peer { address, workload: Arc::default() },
            report,
            _place: place,
        }
    }

    fn awaits(&mut self, what: Awaited) {
        self.awaited = what;
        let time = match what {
            Awaited::Handshake => self.patience.handshake,
            Awaited::Greeting(_) => self.patience.greeting,
            Awaited::End => self.patience.life,
        };
        self.alarm.as_mut().reset(Instant::now() + time);
    }

    /// The stream, once it is secured.
    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&mut Stream>> {
        if let Stream::Shaking(accept) = &mut self.stream {
            let shaken = match Pin::new(accept.as_mut()).poll(cx) {
                Poll::Pending if self.is_too_late(cx) => Err(io::ErrorKind::TimedOut.into()),
                Poll::Pending => return Poll::Pending,
                Poll::Ready(shaken) => shaken.and_then(|stream| {
                    if let Some(workload) = tls::workload(stream.get_ref().1)? {
                        let _ = self.peer.workload.set(workload);
                    }
                    Ok(stream)
                }),
            };
            match shaken {
                Ok(stream) => {
                    self.stream = Stream::Secured(Box::new(stream));
                    self.awaits(Awaited::Greeting(GREETING_BYTES));
                }
                Err(error) => {
                    self.stream = Stream::Failed;
                    (self.report)(&error);
                    return Poll::Ready(Err(error));
                }
            }
        }
        Poll::Ready(Ok(&mut self.stream))
    }

    /// Asked when nothing is there to be read: then whoever runs this comes back when something is, or when it is time.
    fn is_too_late(&mut self, cx: &mut Context<'_>) -> bool {
        // A task that was at it for long is told that nothing is ready, its timers included.
        self.alarm.as_mut().poll(cx).is_ready() || self.alarm.is_elapsed()
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = match ready!(self.poll_stream(cx))? {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Secured(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Shaking(_) | Stream::Failed => return Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        };
        let came = buffer.filled().len() - before;
        charge(cx, came);
        if let Awaited::Greeting(missing) = &mut self.awaited {
            *missing = missing.saturating_sub(came);
            if *missing == 0 {
                self.awaits(Awaited::End);
            }
        }
        if read.is_pending() && self.is_too_late(cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

/// Takes from the turn of the connection's task as much as what came will cost. The runtime counts reads and knows nothing of
/// what is in them: thousands of frames that are nothing but work, and everybody else would wait for a megabyte of them.
fn charge(cx: &mut Context<'_>, came: usize) {
    for _ in 0..came / BYTES_OF_A_UNIT {
        match coop::poll_proceed(cx) {
            Poll::Ready(unit) => unit.made_progress(),
            Poll::Pending => break,
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match ready!(self.poll_stream(cx))? {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Secured(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Shaking(_) | Stream::Failed => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(self.poll_stream(cx))? {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Secured(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Shaking(_) | Stream::Failed => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Secured(stream) => Pin::new(stream).poll_shutdown(cx),
            // There is nobody yet to say goodbye to.
            Stream::Shaking(_) | Stream::Failed => {
                drop(mem::replace(&mut self.stream, Stream::Failed));
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl Connected for Socket {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}
