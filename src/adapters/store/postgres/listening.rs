//! Hearing of what other instances write.
//!
//! Every write of a connection or a user key is in the log of changes of its partition, under the next number, in the
//! transaction of the write itself. Whoever takes a number holds its row until it has committed, so numbers become visible
//! in their order and without gaps. A listener remembers the last number it has told of each partition and asks for what
//! came after, several times a second, and at once when another instance rings (`NOTIFY`).
//!
//! Why `caught_up(as_of)` is true: `as_of` is taken before the question is sent. The server takes the snapshot of the
//! answer after it has the question. What was committed before `as_of` is in that snapshot, and with it everything of its
//! partition that has a smaller number; so after the answer has been told up to the last number in it, everything that
//! was committed before `as_of` has been told. No notification is needed for that, and none that gets lost does harm.
//!
//! All this goes over one connection of its own: a busy pool does not delay it, and when it breaks or falls silent for
//! longer than a statement may take, `lost` is told. It is told once more when the next connection has found out where to
//! begin, because what was written in between is told by nobody.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgListener, PgPoolOptions, PgRow};
use sqlx::{PgPool, Row as _};
use tokio::time::{Instant, sleep, timeout};

use super::super::listeners::Listeners;
use super::super::place::Place;
use super::fault::PostgresFault;
use super::settings::PostgresSettings;
use super::statements::{CHANNEL, LAST, NEWS};

/// How long nothing may be asked.
const BEAT: Duration = Duration::from_millis(250);

/// How soon after a question the next may come, however often somebody rings.
const LEAST_PAUSE: Duration = Duration::from_millis(10);

/// The pauses between two attempts to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The last number told, by partition.
type Seen = BTreeMap<i16, i64>;

/// Tells the listeners of changes for as long as it runs.
pub(super) async fn run(settings: PostgresSettings, listeners: Arc<Listeners>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let begun = Instant::now();
        let Err(fault) = session(&settings, &listeners).await;
        listeners.lost();
        warn(&fault);
        pause = if begun.elapsed() > LONGEST_PAUSE { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
        sleep(pause).await;
    }
}

fn warn(fault: &PostgresFault) {
    let cause: &dyn std::error::Error = fault;
    tracing::warn!(cause, "what other instances write is not heard of for now");
}

/// One connection, until it breaks.
async fn session(settings: &PostgresSettings, listeners: &Listeners) -> Result<Infallible, PostgresFault> {
    // The driver only listens on a connection of a pool of its own. Closed at once, it hands out no second one.
    let pool: PgPool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(settings.connect_timeout)
        .connect_lazy_with(settings.options());
    let connected = timeout(settings.connect_timeout, PgListener::connect_with(&pool)).await;
    drop(pool.close());
    let mut connection = connected.map_err(|_| PostgresFault::Silence)??;
    connection.ignore_pool_close_event(true);
    connection.eager_reconnect(false);
    let limit = settings.command_timeout;
    let begun = timeout(limit, settings.session().fetch_one(&mut connection)).await;
    if begun.map_err(|_| PostgresFault::Silence)??.try_get(0)? {
        return Err(PostgresFault::Standby);
    }
    timeout(limit, connection.listen(CHANNEL)).await.map_err(|_| PostgresFault::Silence)??;
    let last = timeout(limit, sqlx::query(LAST).fetch_all(&mut connection)).await;
    let mut seen = Seen::new();
    for row in last.map_err(|_| PostgresFault::Silence)?? {
        seen.insert(row.try_get(0)?, row.try_get(1)?);
    }
    listeners.lost();
    loop {
        let as_of = Instant::now();
        let mut whole = false;
        while !whole {
            let (partitions, numbers): (Vec<i16>, Vec<i64>) = seen.iter().unzip();
            let question = sqlx::query(NEWS).bind(partitions).bind(numbers).fetch_all(&mut connection);
            let news = timeout(limit, question).await.map_err(|_| PostgresFault::Silence)??;
            whole = tell(&news, &mut seen, listeners)?;
        }
        listeners.caught_up(as_of.into_std());
        sleep(LEAST_PAUSE).await;
        // To stop waiting in the middle of a message does no harm: half of one stays in the buffer.
        if let Ok(rung) = timeout(BEAT, connection.try_recv()).await
            && rung?.is_none()
        {
            return Err(PostgresFault::Connection(sqlx::Error::Io(std::io::ErrorKind::UnexpectedEof.into())));
        }
        while connection.next_buffered().is_some() {}
    }
}

/// Tells the news, and says whether that was all of it.
fn tell(news: &[PgRow], seen: &mut Seen, listeners: &Listeners) -> Result<bool, PostgresFault> {
    let mut last_of = Seen::new();
    for row in news {
        let (partition, last): (i16, i64) = (row.try_get(0)?, row.try_get(1)?);
        last_of.insert(partition, last);
        let told = seen.entry(partition).or_default();
        match row.try_get::<Option<i64>, _>(2)? {
            Some(number) if number == *told + 1 => {
                let drawer: String = row.try_get(3)?;
                *told = number;
                match Place::user_of(&drawer) {
                    Some((tenant, user)) => listeners.changed(&tenant, &user),
                    None => listeners.lost(),
                }
            }
            // Something is missing in between: it was forgotten, or this is another life of the database.
            Some(_) | None => {
                *told = last;
                listeners.lost();
            }
        }
    }
    Ok(last_of.iter().all(|(partition, last)| seen.get(partition).is_some_and(|told| told >= last)))
}
