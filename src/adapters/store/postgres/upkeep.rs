//! What is done beside the calls: ringing, closing connections nobody needs, forgetting old changes.

use std::sync::Arc;
use std::time::Duration;

use sqlx::Row as _;
use tokio::sync::Notify;
use tokio::time::{interval, sleep};

use super::fault::PostgresFault;
use super::pool::Pool;
use super::statements::{RING, TRIM};
use crate::domain::ports::Partition;

/// How often old changes are looked for.
const EVERY: Duration = Duration::from_mins(1);

/// How many changes are forgotten at once: a bound on one transaction.
const AT_ONCE: i64 = 1_000;

/// How soon after one ring the next may come: one is enough for everything written in between.
const RING_PAUSE: Duration = Duration::from_millis(20);

/// Rings for what this instance has written. A ring that fails is not repeated: who listens also looks by itself.
pub(super) async fn ring(pool: Arc<Pool>, bell: Arc<Notify>) {
    loop {
        bell.notified().await;
        drop(pool.fetch(sqlx::query(RING)).await);
        sleep(RING_PAUSE).await;
    }
}

/// Tidies up, now and then.
pub(super) async fn tidy(pool: Arc<Pool>) {
    let mut times = interval(EVERY);
    loop {
        times.tick().await;
        pool.close_unused();
        forget_old_changes(&pool).await.unwrap_or_else(|fault| warn(&fault));
    }
}

fn warn(fault: &PostgresFault) {
    let cause: &dyn std::error::Error = fault;
    tracing::warn!(cause, "old changes could not be forgotten; tried again in a minute");
}

async fn forget_old_changes(pool: &Arc<Pool>) -> Result<(), PostgresFault> {
    for partition in Partition::all() {
        loop {
            let answer = pool.fetch(sqlx::query(TRIM).bind(i16::from(partition.number())).bind(AT_ONCE)).await?;
            let forgotten: i64 = answer.first().ok_or(PostgresFault::Unexpected)?.try_get(0)?;
            if forgotten < AT_ONCE {
                break;
            }
        }
    }
    Ok(())
}
