//! A bounded number of connections to PostgreSQL, lent to one call each.
//!
//! The driver's own pool is not used: a connection that is given back to it is first asked whether it still answers, one
//! round trip per call, and without a time limit, so that connections to a server that hangs are lost to the pool for as
//! long as it hangs. Here each rule is one `if`:
//!
//! - a connection comes back only after it has given its whole answer. One whose answer was late or an error is closed, so
//!   that what it still owes never reaches anybody else;
//! - whoever goes away in the middle of an exchange leaves it to the pool, which brings it to its end: the driver never
//!   sees a future dropped half way, and a crowd that gives up does not become a crowd that connects;
//! - what broke one connection has probably broken the others: those that wait are closed with it;
//! - an attempt to connect that failed is not repeated for a moment, so that a crowd of callers is not a crowd of attempts;
//! - a connection that nobody used for a while is closed: who knows what has forgotten it on the way.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::query::Query;
use sqlx::{Connection as _, Postgres, Row as _};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use super::fault::PostgresFault;
use super::settings::PostgresSettings;

/// How long a failed attempt to connect stands for the next ones.
const COOL_DOWN: Duration = Duration::from_millis(100);

/// How long a connection may wait to be used.
const REST: Duration = Duration::from_mins(1);

/// The connections.
pub(super) struct Pool {
    settings: PostgresSettings,
    permits: Arc<Semaphore>,
    /// Where exchanges go whose callers have gone.
    runtime: Handle,
    /// Those that wait, the last used last: that one is taken first, so that the first are the ones nobody needs.
    waiting: Mutex<Vec<Waiting>>,
    failed_at: Mutex<Option<Instant>>,
}

struct Waiting {
    connection: PgConnection,
    since: Instant,
}

/// A connection in the hands of one call. Dropping it closes it.
struct Lent {
    connection: PgConnection,
    _permit: OwnedSemaphorePermit,
}

type Answer = Result<Vec<PgRow>, PostgresFault>;

/// An exchange that has begun, and goes on if nobody waits for it any more.
struct Exchange {
    work: Option<Pin<Box<dyn Future<Output = Answer> + Send>>>,
    runtime: Handle,
}

// === impl Pool ===

impl Pool {
    /// Connects when it is first used. To be called on the runtime it is to live on.
    pub(super) fn new(settings: &PostgresSettings) -> Self {
        Self {
            settings: settings.clone(),
            permits: Arc::new(Semaphore::new(settings.max_connections)),
            runtime: Handle::current(),
            waiting: Mutex::default(),
            failed_at: Mutex::default(),
        }
    }

    /// Does one statement, in a transaction of its own, and returns the rows of its answer. A statement whose future is
    /// dropped, or that ran into a time-out, may still be done by the server.
    pub(super) async fn fetch(self: &Arc<Self>, query: Query<'static, Postgres, PgArguments>) -> Answer {
        let lent = self.lend().await?;
        let work = Arc::clone(self).exchange(lent, query);
        Exchange { work: Some(Box::pin(work)), runtime: self.runtime.clone() }.await
    }

    async fn exchange(self: Arc<Self>, mut lent: Lent, query: Query<'static, Postgres, PgArguments>) -> Answer {
        let fault = match timeout(self.settings.command_timeout, query.fetch_all(&mut lent.connection)).await {
            Ok(Ok(rows)) => {
                lock(&self.waiting).push(Waiting { connection: lent.connection, since: Instant::now() });
                return Ok(rows);
            }
            Ok(Err(error)) => error.into(),
            Err(_) => PostgresFault::Silence,
        };
        Err(self.noted(fault))
    }

    /// Closes the connections that nobody needed for a while.
    pub(super) fn close_unused(&self) {
        lock(&self.waiting).retain(|waiting| waiting.since.elapsed() < REST);
    }

    async fn lend(&self) -> Result<Lent, PostgresFault> {
        let deadline = Instant::now() + self.settings.connect_timeout;
        let permit =
            timeout_at(deadline, Arc::clone(&self.permits).acquire_owned()).await.map_err(|_| PostgresFault::Busy)?;
        let permit = permit.map_err(|_| PostgresFault::Busy)?;
        let waiting = lock(&self.waiting).pop().filter(|waiting| waiting.since.elapsed() < REST);
        let connection = match waiting {
            Some(waiting) => waiting.connection,
            None => self.connect(deadline).await?,
        };
        Ok(Lent { connection, _permit: permit })
    }

    async fn connect(&self, deadline: Instant) -> Result<PgConnection, PostgresFault> {
        let failed_at = *lock(&self.failed_at);
        if failed_at.is_some_and(|instant| instant.elapsed() < COOL_DOWN) {
            return Err(PostgresFault::JustFailed);
        }
        let made = timeout_at(deadline, open(&self.settings)).await.unwrap_or(Err(PostgresFault::Silence));
        *lock(&self.failed_at) = made.is_err().then(Instant::now);
        made.map_err(|fault| self.noted(fault))
    }

    fn noted(&self, fault: PostgresFault) -> PostgresFault {
        if fault.spoils_all() {
            lock(&self.waiting).clear();
        }
        fault
    }
}

// === impl Exchange ===

impl Future for Exchange {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        let Some(work) = &mut self.work else { return Poll::Ready(Err(PostgresFault::Unexpected)) };
        let polled = work.as_mut().poll(context);
        if polled.is_ready() {
            self.work = None;
        }
        polled
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            self.runtime.spawn(work);
        }
    }
}

/// Opens a connection to a server that takes writes. A standby would answer reads too, with what was true a while ago.
async fn open(settings: &PostgresSettings) -> Result<PgConnection, PostgresFault> {
    let mut connection = PgConnection::connect_with(&settings.options()).await?;
    let answer = settings.session().fetch_one(&mut connection).await?;
    if answer.try_get(0)? { Err(PostgresFault::Standby) } else { Ok(connection) }
}

/// What these locks guard is whole at any time, also after a panic.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
