//! The audit trail: where it goes, and what it is signed with.

use std::sync::Arc;

use super::{Foundation, StartError};
use crate::adapters::audit::{AuditLog, Limits, Settings, Target, TrailKeys, TrailReader};
use crate::adapters::system::SystemRandom;
use crate::config::{AuditSinkConfig, Config};
use crate::domain::ports::Clock;
use crate::envelope::Tickets;
use crate::service::ListAuditEvents;

/// What trails are signed with is derived for this purpose.
const SIGNING: &str = "audit signing";
/// What tokens are recognised by, for this.
const FINGERPRINTS: &str = "audit fingerprints";

/// Opens the audit trail. Without keys it is linked and not signed.
///
/// # Errors
///
/// When it cannot be opened: there is no service without it.
pub fn open_audit(config: &Config, keys: Option<TrailKeys>, clock: Arc<dyn Clock>) -> Result<AuditLog, StartError> {
    let target = match &config.audit.sink {
        AuditSinkConfig::File { path } => Target::File(path.clone()),
        AuditSinkConfig::Stdout => Target::Stdout,
    };
    let settings = Settings {
        durable: config.audit.durable,
        syslog: config.audit.syslog.clone(),
        refused_verbatim: config.audit.refused_verbatim,
        limits: Limits {
            segment_bytes: config.audit.segment_bytes,
            segment_age: config.audit.segment_age,
            ..Limits::default()
        },
        ..Settings::new(target, config.environment.clone())
    };
    Ok(AuditLog::open(&settings, keys, clock, &SystemRandom)?)
}

/// What lists the trail page by page; `None` where it goes to standard output, and is somebody else's to read.
#[must_use]
pub fn audit_events(config: &Config, tickets: Arc<Tickets>) -> Option<ListAuditEvents> {
    match &config.audit.sink {
        AuditSinkConfig::File { path } => {
            Some(ListAuditEvents { reader: Arc::new(TrailReader::new(path.clone())), tickets })
        }
        AuditSinkConfig::Stdout => None,
    }
}

impl Foundation {
    /// What audit trails are signed with, and what they recognise tokens by.
    ///
    /// # Errors
    ///
    /// When the keys of the installation cannot be had.
    pub async fn audit_keys(&self, config: &Config) -> Result<TrailKeys, StartError> {
        let signing = self.tenant_keys.system_key(SIGNING).await.map_err(StartError::SystemKeys)?;
        let fingerprints = self.tenant_keys.system_key(FINGERPRINTS).await.map_err(StartError::SystemKeys)?;
        Ok(TrailKeys::new(&config.environment, &signing, &fingerprints))
    }
}
