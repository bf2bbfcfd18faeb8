//! A key of an engine, as it is stored: what it is recognised by, and when it ends.

use std::time::Duration;

use crate::domain::time::Timestamp;

/// A key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// Its public part.
    pub id: String,
    /// What the secret part is recognised by.
    pub verifier: [u8; 32],
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends: earlier than planned where it was replaced.
    pub expires_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// The public part of the key that was made in its place.
    pub replaced_by: Option<String>,
}

/// A key that is to be.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Its public part.
    pub id: String,
    /// What the secret part is recognised by.
    pub verifier: [u8; 32],
    /// How long it is valid.
    pub life: Duration,
}

/// Whether a key opens anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// It does.
    Active,
    /// Its time is over.
    Expired,
    /// It was revoked.
    Revoked,
}

// === impl NewKey ===

impl NewKey {
    pub(super) fn made_at(&self, now: Timestamp) -> KeyRecord {
        KeyRecord {
            id: self.id.clone(),
            verifier: self.verifier,
            created_at: now,
            expires_at: now + self.life,
            revoked_at: None,
            replaced_by: None,
        }
    }
}

// === impl KeyRecord ===

impl KeyRecord {
    /// Whether it opens anything at this time.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> KeyState {
        if self.revoked_at.is_some() {
            KeyState::Revoked
        } else if now >= self.expires_at {
            KeyState::Expired
        } else {
            KeyState::Active
        }
    }
}

// === impl KeyState ===

impl KeyState {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}
