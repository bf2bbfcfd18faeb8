//! One connection to Redis that is replaced when it breaks, falls silent or leads to a server that is the primary no more.
//!
//! The driver's own reconnecting wrapper is not used: it lets callers wait for many attempts with growing pauses, beyond
//! any time limit of theirs, and a connection that only times out it keeps for ever. Here each rule is one `if`:
//!
//! - who finds no connection makes one, and whoever comes meanwhile waits for that one attempt, each within its own limit;
//! - an attempt that failed, or made a connection that broke before it gave any answer, is not repeated for a moment, so
//!   that a crowd of callers is not a crowd of attempts;
//! - a connection is given up when it breaks, and when it has owed an answer for longer than the response time-out, which
//!   is noticed also when the callers gave up first.
//!
//! Requests are pipelined, so a late answer delays those behind it; that is why a store has several lines, and why none
//! ever carries a blocking command. A request whose caller is gone keeps its place in the row of answers, so that no
//! answer reaches somebody else.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::{ConnectionLike as _, MultiplexedConnection};
use redis::{Client, Cmd, Pipeline, ProtocolVersion, Value, cmd};
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout};

use super::access::Access;
use super::fault::RedisFault;
use super::sentinel::{self, Sentinels};

/// How long a failed attempt to connect stands for the next ones.
const COOL_DOWN: Duration = Duration::from_millis(100);

/// How to connect, and how long to wait.
pub(super) struct Dialer {
    pub(super) access: Arc<Access>,
    pub(super) destination: Destination,
    /// How long a connection may owe an answer.
    pub(super) response_timeout: Duration,
    /// How long a request may take, connecting included.
    pub(super) operation_timeout: Duration,
}

/// Where a connection leads.
pub(super) enum Destination {
    /// To this server.
    Server(Box<Client>),
    /// To whichever server these know as the primary.
    Primary(Arc<Sentinels>),
}

/// How a command is sent.
#[derive(Clone, Copy)]
enum Manner {
    Plain,
    /// To a server that does not have the slot yet, and is told that this is known.
    Asking,
}

/// One connection at a time.
pub(super) struct Line {
    dialer: Arc<Dialer>,
    link: Mutex<Arc<Link>>,
    failed_at: Mutex<Option<Instant>>,
}

/// Several lines, shared by the threads.
pub(super) struct Lines {
    first: Line,
    more: Vec<Line>,
}

thread_local! {
    /// A number of this thread's own.
    static THREAD: usize = {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        THREADS.fetch_add(1, Ordering::Relaxed)
    };
}

/// One connection, made by the first who needs it.
struct Link {
    connection: OnceCell<MultiplexedConnection>,
    /// In which epoch of its destination it was begun.
    epoch: u64,
    /// Since when a request has been waiting without any answer having come to any request.
    silent_since: Mutex<Option<Instant>>,
    /// Whether any request has been answered.
    has_answered: AtomicBool,
}

// === impl Dialer ===

impl Dialer {
    /// Changes when connections lead to the wrong server from now on.
    fn epoch(&self) -> u64 {
        match &self.destination {
            Destination::Server(_) => 0,
            Destination::Primary(sentinels) => sentinels.epoch(),
        }
    }

    async fn dial(&self) -> Result<MultiplexedConnection, RedisFault> {
        let config = self.access.config();
        match &self.destination {
            Destination::Server(client) => Ok(client.get_multiplexed_async_connection_with_config(&config).await?),
            Destination::Primary(sentinels) => {
                let client = sentinels.primary(ProtocolVersion::RESP2).await?;
                let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
                // For a moment after a failover the sentinels still name the server that was.
                sentinel::must_be_primary(&cmd("ROLE").query_async(&mut connection).await?)?;
                Ok(connection)
            }
        }
    }
}

// === impl Lines ===

impl Lines {
    /// This many lines, at least one.
    pub(super) fn new(dialer: &Arc<Dialer>, number: usize) -> Self {
        Self {
            first: Line::new(Arc::clone(dialer)),
            more: (1..number).map(|_| Line::new(Arc::clone(dialer))).collect(),
        }
    }

    /// The one of this thread: requests of calls that are served in one turn then leave in one write, which taking
    /// turns among the lines would scatter over all of them.
    pub(super) fn of_this_thread(&self) -> &Line {
        let number = THREAD.with(|number| number % (self.more.len() + 1));
        number.checked_sub(1).and_then(|index| self.more.get(index)).unwrap_or(&self.first)
    }
}

// === impl Line ===

impl Line {
    /// Connects when it is first used.
    fn new(dialer: Arc<Dialer>) -> Self {
        let link = Mutex::new(Link::begun_in(dialer.epoch()));
        Self { dialer, link, failed_at: Mutex::default() }
    }

    /// Sends one command and waits for its answer. A command whose future is dropped, or that ran into a time-out, may
    /// still be done by the server.
    pub(super) async fn send(&self, command: &Cmd) -> Result<Value, RedisFault> {
        self.exchange(command, Manner::Plain).await
    }

    /// Sends one command to a server that is about to take over the slot it is about.
    pub(super) async fn send_asking(&self, command: &Cmd) -> Result<Value, RedisFault> {
        self.exchange(command, Manner::Asking).await
    }

    async fn exchange(&self, command: &Cmd, manner: Manner) -> Result<Value, RedisFault> {
        let link = self.current_link();
        // One limit for all of it, because every timer costs: a connection that is there needs no time to be made.
        let connected = link.connection.initialized();
        let limit = if connected { self.dialer.response_timeout } else { self.dialer.operation_timeout };
        let answer = timeout(limit, async {
            let mut connection = link.connection.get_or_try_init(|| self.connect()).await?.clone();
            link.ask();
            let answer = manner.send(command, &mut connection).await;
            if !matches!(answer, Err(RedisFault::Silence)) {
                link.heard();
            }
            if !answer.as_ref().is_err_and(RedisFault::spoils_the_connection) {
                link.has_answered.store(true, Ordering::Relaxed);
            }
            answer
        })
        .await
        .unwrap_or(Err(RedisFault::Silence));
        if answer.as_ref().is_err_and(RedisFault::spoils_the_connection) {
            if link.connection.initialized() && !link.has_answered.load(Ordering::Relaxed) {
                // Whoever stands before a dead server takes connections and drops them: none was made.
                *lock(&self.failed_at) = Some(Instant::now());
            }
            self.give_up(&link);
        }
        answer
    }

    fn current_link(&self) -> Arc<Link> {
        let link = Arc::clone(&lock(&self.link));
        if link.epoch != self.dialer.epoch() {
            return self.give_up(&link);
        }
        if link.is_silent(self.dialer.response_timeout) {
            tracing::warn!("a connection to redis owes an answer for too long and is replaced");
            return self.give_up(&link);
        }
        link
    }

    /// Puts an unmade connection in the place of this one, unless somebody did already, and hands out what is there now.
    fn give_up(&self, spoilt: &Arc<Link>) -> Arc<Link> {
        let mut current = lock(&self.link);
        let epoch = self.dialer.epoch();
        // An unmade link is as good as the one that would replace it, and others may be waiting for its attempt.
        if Arc::ptr_eq(&current, spoilt) && (spoilt.connection.initialized() || spoilt.epoch != epoch) {
            *current = Link::begun_in(epoch);
        }
        Arc::clone(&current)
    }

    async fn connect(&self) -> Result<MultiplexedConnection, RedisFault> {
        let failed_at = *lock(&self.failed_at);
        if failed_at.is_some_and(|instant| instant.elapsed() < COOL_DOWN) {
            return Err(RedisFault::JustFailed);
        }
        let made = self.dialer.dial().await;
        *lock(&self.failed_at) = made.is_err().then(Instant::now);
        made
    }
}

// === impl Link ===

impl Link {
    fn begun_in(epoch: u64) -> Arc<Self> {
        Arc::new(Self {
            connection: OnceCell::new(),
            epoch,
            silent_since: Mutex::default(),
            has_answered: AtomicBool::new(false),
        })
    }

    fn ask(&self) {
        lock(&self.silent_since).get_or_insert_with(Instant::now);
    }

    fn heard(&self) {
        *lock(&self.silent_since) = None;
    }

    fn is_silent(&self, limit: Duration) -> bool {
        lock(&self.silent_since).is_some_and(|since| since.elapsed() >= limit)
    }
}

// === impl Manner ===

impl Manner {
    async fn send(self, command: &Cmd, connection: &mut MultiplexedConnection) -> Result<Value, RedisFault> {
        match self {
            Self::Plain => Ok(command.query_async(connection).await?),
            Self::Asking => {
                // In one piece, so that nobody else's command comes between.
                let mut pipeline = Pipeline::with_capacity(2);
                pipeline.cmd("ASKING").add_command(command.clone());
                let mut answers = connection.req_packed_commands(&pipeline, 0, 2).await?;
                Ok(answers.pop().ok_or(RedisFault::Unexpected)?.extract_error()?)
            }
        }
    }
}

/// What these locks guard is whole at any time, also after a panic.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
