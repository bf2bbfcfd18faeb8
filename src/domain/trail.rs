//! What is asked of the audit trail by whoever investigates, and what it tells.

use super::audit::Fingerprint;
use super::id::{EngineId, PlatformId, RequestId, TenantId, UserId};
use super::time::Timestamp;

/// Which events are asked for. What is `None` does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrailFilter {
    /// Of this tenant.
    pub tenant: Option<TenantId>,
    /// Of this user.
    pub user: Option<UserId>,
    /// At this platform.
    pub platform: Option<PlatformId>,
    /// By this engine.
    pub engine: Option<EngineId>,
    /// Of this kind: the word that stands in the line.
    pub action: Option<String>,
    /// That ended so: the word that stands in the line.
    pub result: Option<String>,
    /// In this call.
    pub request: Option<RequestId>,
    /// With this token.
    pub token: Option<Fingerprint>,
    /// Then or later.
    pub since: Option<Timestamp>,
    /// Before then.
    pub until: Option<Timestamp>,
}

/// In which order events are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TrailOrder {
    /// As they were written.
    OldestFirst,
    /// The newest first.
    #[default]
    NewestFirst,
}

/// A place in the trail, between lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrailPlace {
    /// Which of the trails that lie beside each other, counted from 0.
    pub trail: u32,
    /// The line that was looked at last.
    pub seq: u64,
}

/// A line of the trail.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrailEvent {
    /// Its number, as its instance counts.
    pub seq: u64,
    /// Which instance.
    pub instance: String,
    /// When it was written.
    pub at: Timestamp,
    /// The call.
    pub request_id: Option<String>,
    /// Who asked.
    pub engine: Option<String>,
    /// With which key.
    pub key_id: Option<String>,
    /// From where.
    pub peer: Option<String>,
    /// Whose tenant.
    pub tenant: Option<String>,
    /// Which user.
    pub user: Option<String>,
    /// Which platform.
    pub platform: Option<String>,
    /// What was done.
    pub action: String,
    /// How it ended.
    pub result: String,
    /// Why.
    pub reason: String,
    /// The version of the record.
    pub record_version: Option<u64>,
    /// What the token is recognised by.
    pub token_fp: Option<String>,
    /// All of it, as it stands there.
    pub line: String,
}

/// Some events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrailPage {
    /// Those that were found.
    pub events: Vec<TrailEvent>,
    /// Where to go on; `None`: there are no more. A page may be empty and not be the last.
    pub next: Option<TrailPlace>,
}

impl TrailOrder {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OldestFirst => "oldest_first",
            Self::NewestFirst => "newest_first",
        }
    }
}
