//! The load: calls kept in flight over a few connections, by a client that writes its frames by hand.
//!
//! A general client costs as much per call as the servers measured here, and would be what is measured. This one knows
//! one request and spends most of its time in the kernel. It speaks as little HTTP/2 (RFC 9113) as a server lets it get
//! away with: one header block that a real client would send too, no flow control on the way out because requests are
//! tiny, and a window on the way in that is opened ahead of need.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use vault_engine::domain::method::Method;

use crate::engine;

/// What to ask, and whom.
pub(crate) struct Load {
    address: SocketAddr,
    /// The header block of a connection's first call, and of all others.
    headers: (Vec<u8>, Vec<u8>),
    requests: Vec<Vec<u8>>,
    answer_bytes: usize,
}

/// How many calls to keep in flight, and for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) in_flight: usize,
    /// Before anything counts.
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Calls answered, those before and after the measured time included.
    pub(crate) calls: u64,
    /// How long each measured call took.
    pub(crate) latencies: Vec<Duration>,
}

struct Conversation<'a> {
    load: &'a Load,
    stream: TcpStream,
    out: Vec<u8>,
    next_stream: u32,
    next_request: usize,
    in_flight: HashMap<u32, InFlight>,
    unacknowledged: u32,
    window: (Instant, Instant),
    outcome: Outcome,
}

struct InFlight {
    began: Instant,
    bytes: usize,
}

struct Frame<'a> {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: &'a [u8],
}

/// Connections a load is spread over.
const CONNECTIONS: usize = 4;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 0x1;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const INITIAL_WINDOW_SIZE: [u8; 2] = [0, 4];
const WIDE: u32 = 0x4000_0000;

// === impl Load ===

impl Load {
    /// The requests, in turns, to this server. Every answer must hold a message of `answer_bytes`.
    pub(crate) fn new(
        address: SocketAddr,
        method: Method,
        key: &str,
        requests: Vec<Vec<u8>>,
        answer_bytes: usize,
    ) -> Self {
        Self { address, headers: header_blocks(method.path(), engine::NAME, key), requests, answer_bytes }
    }

    /// Keeps the calls in flight, each connection on a thread of its own, until the time is up and all are answered.
    pub(crate) fn run(self: &Arc<Self>, plan: Plan) -> io::Result<Outcome> {
        let connections = plan.in_flight.min(CONNECTIONS);
        let began = Instant::now() + plan.warm_up;
        let window = (began, began + plan.measured);
        let threads: Vec<_> = (0..connections)
            .map(|number| {
                let load = Arc::clone(self);
                let first = number * load.requests.len() / connections;
                thread::spawn(move || Conversation::begin(&load, first, window)?.hold(plan.in_flight / connections))
            })
            .collect();
        let mut whole = Outcome::default();
        for thread in threads {
            let part = thread.join().map_err(|_| io::Error::other("a thread of the load died"))??;
            whole.calls += part.calls;
            whole.latencies.extend(part.latencies);
        }
        Ok(whole)
    }
}

// === impl Conversation ===

impl<'a> Conversation<'a> {
    fn begin(load: &'a Load, first: usize, window: (Instant, Instant)) -> io::Result<Self> {
        let stream = TcpStream::connect(load.address)?;
        stream.set_nodelay(true)?;
        // A server that falls silent fails the run instead of hanging it.
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        frame(&mut out, SETTINGS, 0, 0, &[&INITIAL_WINDOW_SIZE[..], &WIDE.to_be_bytes()].concat());
        frame(&mut out, WINDOW_UPDATE, 0, 0, &WIDE.to_be_bytes());
        Ok(Self {
            load,
            stream,
            out,
            next_stream: 1,
            next_request: first,
            in_flight: HashMap::new(),
            unacknowledged: 0,
            window,
            outcome: Outcome::default(),
        })
    }

    fn hold(mut self, calls: usize) -> io::Result<Outcome> {
        for _ in 0..calls {
            self.ask()?;
        }
        let mut input = vec![0; 256 * 1_024];
        let mut filled = 0;
        while !self.in_flight.is_empty() {
            self.stream.write_all(&self.out)?;
            self.out.clear();
            let free = input.get_mut(filled..).unwrap_or_default();
            match self.stream.read(free)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                read => filled += read,
            }
            let mut rest = input.get(..filled).unwrap_or_default();
            while let Some((frame, behind)) = Frame::cut(rest) {
                self.hear(&frame)?;
                rest = behind;
            }
            let left = rest.len();
            input.copy_within(filled - left..filled, 0);
            filled = left;
        }
        Ok(self.outcome)
    }

    fn ask(&mut self) -> io::Result<()> {
        let (first, others) = &self.load.headers;
        let headers = if self.next_stream == 1 { first } else { others };
        let request = self.load.requests.get(self.next_request).ok_or(ErrorKind::InvalidInput)?;
        frame(&mut self.out, HEADERS, END_HEADERS, self.next_stream, headers);
        frame(&mut self.out, DATA, END_STREAM, self.next_stream, &grpc(request)?);
        self.in_flight.insert(self.next_stream, InFlight { began: Instant::now(), bytes: 0 });
        self.next_request = (self.next_request + 1) % self.load.requests.len();
        self.next_stream += 2;
        Ok(())
    }

    fn hear(&mut self, heard: &Frame<'_>) -> io::Result<()> {
        match heard.kind {
            DATA => {
                let bytes = u32::try_from(heard.payload.len()).map_err(io::Error::other)?;
                self.unacknowledged += bytes;
                if self.unacknowledged > WIDE / 2 {
                    frame(&mut self.out, WINDOW_UPDATE, 0, 0, &self.unacknowledged.to_be_bytes());
                    self.unacknowledged = 0;
                }
                if let Some(call) = self.in_flight.get_mut(&heard.stream) {
                    call.bytes += heard.payload.len();
                }
            }
            SETTINGS if heard.flags & ACK == 0 => frame(&mut self.out, SETTINGS, ACK, 0, &[]),
            PING if heard.flags & ACK == 0 => frame(&mut self.out, PING, ACK, 0, heard.payload),
            RST_STREAM | GOAWAY => return Err(io::Error::other("the server refuses to go on")),
            _ => {}
        }
        if matches!(heard.kind, DATA | HEADERS) && heard.flags & END_STREAM != 0 {
            self.finish(heard.stream)?;
        }
        Ok(())
    }

    fn finish(&mut self, stream: u32) -> io::Result<()> {
        let now = Instant::now();
        let call = self.in_flight.remove(&stream).ok_or(ErrorKind::InvalidData)?;
        // A failed call has trailers and no message, so this is a check of every answer.
        if call.bytes != grpc_bytes(self.load.answer_bytes) {
            let message = format!("an answer of {} bytes instead of {}", call.bytes, self.load.answer_bytes);
            return Err(io::Error::other(message));
        }
        let (from, to) = self.window;
        self.outcome.calls += 1;
        if call.began >= from && now <= to {
            self.outcome.latencies.push(now - call.began);
        }
        if now <= to { self.ask() } else { Ok(()) }
    }
}

// === impl Frame ===

impl<'a> Frame<'a> {
    fn cut(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let ([l0, l1, l2, kind, flags, s0, s1, s2, s3], rest) = bytes.split_first_chunk()?;
        let length = usize::try_from(u32::from_be_bytes([0, *l0, *l1, *l2])).ok()?;
        let (payload, behind) = rest.split_at_checked(length)?;
        Some((Self { kind: *kind, flags: *flags, stream: u32::from_be_bytes([*s0, *s1, *s2, *s3]), payload }, behind))
    }
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    out.extend(length.iter().skip(1));
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

fn grpc(message: &[u8]) -> io::Result<Vec<u8>> {
    let length = u32::try_from(message.len()).map_err(io::Error::other)?;
    Ok([&[0][..], &length.to_be_bytes(), message].concat())
}

const fn grpc_bytes(message: usize) -> usize {
    5 + message
}

/// The header block of a connection's first call and of the others (RFC 7541), as a real client compresses them: what
/// stays the same goes into the server's table with the first call, but for the key, which is never indexed.
fn header_blocks(path: &str, engine: &str, key: &str) -> (Vec<u8>, Vec<u8>) {
    const POST: u8 = 0x83;
    const HTTP: u8 = 0x86;
    /// The index of what was put into the table last; what came before has the next higher ones.
    const NEWEST: u8 = 62;
    const INDEXED: u8 = 0x80;
    let kept = [
        (&[0x44][..], "", path),
        (&[0x41], "", "127.0.0.1"),
        (&[0x5f], "", "application/grpc"),
        (&[0x7a], "", "bench"),
        (&[0x40], "te", "trailers"),
        (&[0x40], "x-engine-id", engine),
    ];
    let (mut first, mut others) = (vec![POST, HTTP], vec![POST, HTTP]);
    for (age, (representation, name, value)) in (0..).zip(kept) {
        first.extend_from_slice(representation);
        for text in [name, value].into_iter().filter(|text| !text.is_empty()) {
            literal(&mut first, text);
        }
        others.push(INDEXED | (NEWEST + 5 - age));
    }
    for block in [&mut first, &mut others] {
        block.push(0x10);
        literal(block, "x-engine-key");
        literal(block, key);
    }
    (first, others)
}

/// A string without Huffman coding; all of ours are shorter than 127 bytes.
fn literal(block: &mut Vec<u8>, text: &str) {
    block.push(u8::try_from(text.len()).unwrap_or(0));
    block.extend_from_slice(text.as_bytes());
}
