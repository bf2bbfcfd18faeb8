//! Opening the outbox that is configured, and keeping it tended while the process lives.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::StartError;
use crate::adapters::outbox::{Bounds, FolderOutbox};
use crate::adapters::system::{SystemClock, SystemRandom};
use crate::config::OutboxConfig;
use crate::domain::ports::{AuditSink, Outbox, Tasks as _};
use crate::lifecycle::Lifecycle;
use crate::refresher::{Answers, Refresher};
use crate::service::Records;

/// How often it is looked whether something waits that can be stored by now.
const TENDING: Duration = Duration::from_secs(3);

/// Opens the outbox of the configuration, in a folder of its own.
///
/// # Errors
///
/// When it cannot be made.
pub fn open_outbox(config: &OutboxConfig) -> Result<Option<Arc<dyn Outbox>>, StartError> {
    if !config.enabled {
        return Ok(None);
    }
    let outbox = FolderOutbox::open(&config.dir, bounds(config), Arc::new(SystemClock), Arc::new(SystemRandom))?;
    Ok(Some(Arc::new(outbox)))
}

/// Takes over one folder whose owner is gone.
///
/// # Errors
///
/// When its owner lives, or it cannot be opened.
pub fn take_over_outbox(config: &OutboxConfig, folder: &Path) -> Result<Arc<dyn Outbox>, StartError> {
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    Ok(Arc::new(FolderOutbox::take_over(folder, bounds(config), clock, random)?))
}

const fn bounds(config: &OutboxConfig) -> Bounds {
    Bounds { entries: config.max_entries, bytes: config.max_bytes }
}

/// The answers in an outbox, with what is needed to store them.
pub fn answers(records: &Arc<Records>, outbox: Arc<dyn Outbox>, audit: Arc<dyn AuditSink>) -> Arc<Answers> {
    Arc::new(Answers { records: Arc::clone(records), outbox, audit, clock: Arc::new(SystemClock) })
}

/// Replays what waits, before the first call is served, and goes on doing so until the process drains.
pub(super) async fn keep_tended(refresher: &Arc<Refresher>, lifecycle: &Lifecycle) {
    refresher.tend_outbox().await;
    let (refresher, ending) = (Arc::clone(refresher), lifecycle.clone());
    let tending = async move {
        loop {
            tokio::select! {
                () = ending.drained() => break,
                () = tokio::time::sleep(TENDING) => refresher.tend_outbox().await,
            }
        }
    };
    lifecycle.spawn("outbox", Box::pin(tending));
}
