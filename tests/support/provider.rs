//! A token endpoint that does what it is told, over raw sockets, so that it can also lie: an HTTP server would refuse
//! to send half of this. Knows nothing about OAuth; what it answers is scripted by the test.

#![expect(clippy::disallowed_methods, reason = "a test's server has no lifecycle to be drained")]
#![expect(clippy::unwrap_used, reason = "a test's server that fails should fail the test")]

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::ServerConfig;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// The server. Stops when it is dropped.
pub(crate) struct Provider {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) target: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// What to do with a request.
pub(crate) struct Answer {
    act: Act,
    gate: Option<Gate>,
    delay: Duration,
}

/// Holds answers back until it is opened.
#[derive(Clone)]
pub(crate) struct Gate(Arc<Semaphore>);

enum Act {
    /// An ordinary answer; the connection stays open.
    Reply { head: String, body: Vec<u8> },
    /// Bytes as they are; then the connection is closed.
    Raw(Vec<u8>),
    /// Bytes one by one, one a second.
    Drip { at_once: Vec<u8>, rest: Vec<u8> },
    /// Bytes, and then others again and again until nobody listens.
    Endless { head: Vec<u8>, piece: Vec<u8> },
    /// Nothing; the connection stays open.
    Silence,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

type Handler = dyn Fn(&Seen) -> Answer + Send + Sync;

struct Shared {
    script: Mutex<VecDeque<Answer>>,
    otherwise: Mutex<Arc<Handler>>,
    seen: watch::Sender<Vec<Seen>>,
    connections: AtomicUsize,
    written: AtomicUsize,
}

// === impl Provider ===

impl Provider {
    /// Starts on a free port of the loopback interface.
    pub(crate) async fn start() -> Self {
        Self::listen(None).await
    }

    /// Starts and speaks TLS as this server.
    pub(crate) async fn start_tls(identity: ServerConfig) -> Self {
        Self::listen(Some(TlsAcceptor::from(Arc::new(identity)))).await
    }

    async fn listen(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let nothing_scripted: Arc<Handler> = Arc::new(|_| Answer::text(500, "nothing scripted"));
        let shared = Arc::new(Shared {
            script: Mutex::default(),
            otherwise: Mutex::new(nothing_scripted),
            seen: watch::Sender::new(Vec::new()),
            connections: AtomicUsize::new(0),
            written: AtomicUsize::new(0),
        });
        let server = tokio::spawn(serve(listener, tls, Arc::clone(&shared)));
        Self { address, shared, server }
    }

    /// A URL of this server.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What to do with the next request that has no answer yet.
    pub(crate) fn will(&self, answer: Answer) {
        self.shared.script.lock().unwrap().push_back(answer);
    }

    /// What to do with requests beyond the script.
    pub(crate) fn otherwise(&self, handler: impl Fn(&Seen) -> Answer + Send + Sync + 'static) {
        *self.shared.otherwise.lock().unwrap() = Arc::new(handler);
    }

    /// The requests so far.
    pub(crate) fn requests(&self) -> Vec<Seen> {
        self.shared.seen.borrow().clone()
    }

    /// The only request so far.
    pub(crate) fn only_request(&self) -> Seen {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "not exactly one request");
        requests.remove(0)
    }

    /// Waits until it has seen this many requests.
    pub(crate) async fn has_seen(&self, requests: usize) {
        let mut seen = self.shared.seen.subscribe();
        let waiting = seen.wait_for(|seen| seen.len() >= requests);
        drop(tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap());
    }

    /// How many connections were made, whether or not a request came.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many bytes it got rid of.
    pub(crate) fn written(&self) -> usize {
        self.shared.written.load(Ordering::SeqCst)
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        // Takes the connections with it: they belong to its task.
        self.server.abort();
    }
}

// === impl Seen ===

impl Seen {
    /// A header field.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body as a form.
    pub(crate) fn form(&self) -> BTreeMap<String, String> {
        url::form_urlencoded::parse(&self.body).into_owned().collect()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

// === impl Answer ===

impl Answer {
    const fn of(act: Act) -> Self {
        Self { act, gate: None, delay: Duration::ZERO }
    }

    /// JSON, labelled as such.
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::text(status, &body.to_string()).header("content-type", "application/json")
    }

    /// Any text, without a content type.
    pub(crate) fn text(status: u16, body: &str) -> Self {
        Self::bytes(status, body.as_bytes())
    }

    /// Any bytes, without a content type.
    pub(crate) fn bytes(status: u16, body: &[u8]) -> Self {
        let head = format!("HTTP/1.1 {status} Scripted\r\ncontent-length: {}\r\n", body.len());
        Self::of(Act::Reply { head, body: body.to_vec() })
    }

    /// With another header field. Only for ordinary answers.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        match &mut self.act {
            Act::Reply { head, .. } => *head = format!("{head}{name}: {value}\r\n"),
            Act::Raw(_) | Act::Drip { .. } | Act::Endless { .. } | Act::Silence => {
                unreachable!("has no header fields")
            }
        }
        self
    }

    /// With bytes after its end that nobody asked for. Only for ordinary answers.
    pub(crate) fn followed_by(mut self, bytes: &[u8]) -> Self {
        match &mut self.act {
            Act::Reply { body, .. } => body.extend_from_slice(bytes),
            Act::Raw(_) | Act::Drip { .. } | Act::Endless { .. } | Act::Silence => unreachable!("has no end"),
        }
        self
    }

    /// Bytes as they are, and then the connection is closed. Without bytes: hang up.
    pub(crate) fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self::of(Act::Raw(bytes.into()))
    }

    /// Some bytes at once and the others one by one, one a second.
    pub(crate) fn drip(at_once: impl Into<Vec<u8>>, rest: impl Into<Vec<u8>>) -> Self {
        Self::of(Act::Drip { at_once: at_once.into(), rest: rest.into() })
    }

    /// Bytes, and then others again and again.
    pub(crate) fn endless(head: impl Into<Vec<u8>>, piece: impl Into<Vec<u8>>) -> Self {
        Self::of(Act::Endless { head: head.into(), piece: piece.into() })
    }

    /// Nothing at all, on an open connection.
    pub(crate) const fn silence() -> Self {
        Self::of(Act::Silence)
    }

    /// Not before this time has passed.
    pub(crate) const fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Not before the gate is open.
    pub(crate) fn behind(mut self, gate: &Gate) -> Self {
        self.gate = Some(gate.clone());
        self
    }
}

// === impl Gate ===

impl Gate {
    /// A closed one.
    pub(crate) fn closed() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    /// Lets everybody through, now and later.
    pub(crate) fn open(&self) {
        self.0.close();
    }

    async fn pass(&self) {
        drop(self.0.acquire().await);
    }
}

async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        shared.connections.fetch_add(1, Ordering::SeqCst);
        stream.set_nodelay(true).unwrap();
        let (tls, shared) = (tls.clone(), Arc::clone(&shared));
        connections.spawn(async move {
            match tls {
                Some(tls) => converse(tls.accept(stream).await.ok()?, shared).await,
                None => converse(stream, shared).await,
            }
        });
    }
}

/// Ends when the peer hangs up, or when the script says so.
async fn converse(stream: impl Stream, shared: Arc<Shared>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let seen = read_request(&mut stream).await?;
        let scripted = shared.script.lock().unwrap().pop_front();
        let handler = Arc::clone(&*shared.otherwise.lock().unwrap());
        let answer = scripted.unwrap_or_else(|| handler(&seen));
        shared.seen.send_modify(|all| all.push(seen));
        if let Some(gate) = &answer.gate {
            gate.pass().await;
        }
        if !answer.delay.is_zero() {
            tokio::time::sleep(answer.delay).await;
        }
        match answer.act {
            Act::Reply { head, body } => {
                write(&mut stream, &shared, format!("{head}\r\n").as_bytes()).await?;
                write(&mut stream, &shared, &body).await?;
            }
            Act::Raw(bytes) => {
                write(&mut stream, &shared, &bytes).await?;
                return stream.shutdown().await.ok();
            }
            Act::Drip { at_once, rest } => {
                write(&mut stream, &shared, &at_once).await?;
                let mut seconds = tokio::time::interval(Duration::from_secs(1));
                for byte in rest {
                    seconds.tick().await;
                    write(&mut stream, &shared, &[byte]).await?;
                }
            }
            Act::Endless { head, piece } => {
                write(&mut stream, &shared, &head).await?;
                loop {
                    write(&mut stream, &shared, &piece).await?;
                }
            }
            Act::Silence => {
                stream.read_u8().await.ok()?;
            }
        }
    }
}

async fn read_request(stream: &mut impl Stream) -> Option<Seen> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let mut lines = head.lines();
    let target = lines.next()?.split(' ').nth(1)?.to_owned();
    let pairs = lines.filter_map(|line| line.split_once(": "));
    let headers: Vec<_> = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let mut seen = Seen { target, headers, body: Vec::new() };
    let length = seen.header("content-length").map_or(0, |length| length.parse().unwrap());
    seen.body.resize(length, 0);
    stream.read_exact(&mut seen.body).await.ok()?;
    Some(seen)
}

async fn write(stream: &mut impl Stream, shared: &Shared, bytes: &[u8]) -> Option<()> {
    stream.write_all(bytes).await.ok()?;
    stream.flush().await.ok()?;
    shared.written.fetch_add(bytes.len(), Ordering::SeqCst);
    Some(())
}
