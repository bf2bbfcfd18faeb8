//! Bringing in tokens that were kept elsewhere before: what `StoreToken` does, by an operator, again and again.

use std::sync::Arc;

use tokio::time::Instant;

use super::patience::Patience;
use crate::domain::audit::{AuditAction, AuditEntry, AuditResult, Subject};
use crate::domain::connection::{Connection, Entry, RefreshOutcome};
use crate::domain::error::VaultError;
use crate::domain::id::RequestId;
use crate::domain::method::Method;
use crate::domain::ports::{AuditSink, AuditUnavailable, Clock, KeyError};
use crate::domain::secret::{AccessToken, RefreshToken};
use crate::domain::time::Timestamp;
use crate::service::{StoreToken, StoreTokenAnswer, StoreTokenCommand};

/// Imports tokens.
pub struct ImportToken {
    /// The same as for everybody else.
    pub store_token: StoreToken,
    /// Where every import is written down.
    pub audit: Arc<dyn AuditSink>,
    /// When.
    pub clock: Arc<dyn Clock>,
    /// Who imports, for the trail.
    pub operator: Arc<str>,
    /// What becomes of connections that have other tokens already.
    pub on_conflict: OnConflict,
}

/// What becomes of a connection that has other tokens already, or was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnConflict {
    /// It stays as it is.
    Skip,
    /// It gets the imported ones.
    Replace,
}

/// What became of an import.
#[derive(Debug, Clone, Copy)]
pub enum Imported {
    /// The tokens are stored.
    Stored(StoreTokenAnswer),
    /// They were there already, or what the vault has made of them since.
    Unchanged,
    /// The connection has other tokens, which stay.
    Kept,
    /// The vault has renewed the connection since it was stored, and its tokens stay, whatever was asked for.
    Renewed,
    /// The connection was deleted, and stays so.
    Deleted,
}

// === impl ImportToken ===

impl ImportToken {
    /// Imports one set of tokens. Doing it again changes nothing.
    ///
    /// # Errors
    ///
    /// As for `StoreToken`; and when the audit trail cannot be written.
    pub async fn run(&self, request: &RequestId, command: &StoreTokenCommand) -> Result<Imported, VaultError> {
        let mut patience = Patience::new();
        loop {
            let outcome = self.once(request.clone(), again(command)).await;
            let passes = matches!(
                outcome,
                Err(VaultError::Store(_) | VaultError::Audit(_) | VaultError::Keys(KeyError::Unavailable(_)))
            );
            if !passes || !patience.pause().await {
                return outcome;
            }
        }
    }

    async fn once(&self, request: RequestId, command: StoreTokenCommand) -> Result<Imported, VaultError> {
        if !self.audit.is_writable() {
            return Err(AuditUnavailable.into());
        }
        let began = Instant::now();
        let subject = Subject::from(&command.key);
        let token_fp = self.audit.fingerprint(&command.access);
        let wanted = Wanted::of(&command);
        let judge = |entry: &Entry| wanted.judge(entry, self.on_conflict);
        let outcome = self.store_token.run_unless(command, judge).await;
        let outcome = outcome.map(|outcome| outcome.map_or_else(|left| left, Imported::Stored));
        let (result, reason, record_version) = match &outcome {
            Ok(Imported::Stored(answer)) => (AuditResult::Ok, "imported", Some(answer.version.0)),
            Ok(Imported::Unchanged) => (AuditResult::Ok, "unchanged", None),
            Ok(Imported::Kept | Imported::Renewed | Imported::Deleted) => (AuditResult::Ok, "kept", None),
            Err(error) => (AuditResult::Failed, error.reason(), None),
        };
        let entry = AuditEntry {
            at: self.clock.now(),
            request_id: request,
            engine: None,
            key_id: None,
            peer: Some(Arc::clone(&self.operator)),
            spiffe_id: None,
            action: AuditAction::Call(Method::StoreToken),
            subject,
            result,
            reason,
            latency: began.elapsed(),
            record_version,
            items: None,
            token_fp,
        };
        self.audit.append(entry).await?;
        outcome
    }
}

/// What is to be imported, kept to be compared with what is there.
struct Wanted {
    access: AccessToken,
    refresh: Option<RefreshToken>,
    expires_at: Option<Timestamp>,
    scopes: Vec<String>,
    token_type: Option<String>,
}

// === impl Wanted ===

impl Wanted {
    fn of(command: &StoreTokenCommand) -> Self {
        Self {
            access: command.access.clone(),
            refresh: command.refresh.clone(),
            expires_at: command.expires_at,
            scopes: command.scopes.clone(),
            token_type: command.token_type.clone(),
        }
    }

    fn judge(&self, entry: &Entry, on_conflict: OnConflict) -> Option<Imported> {
        let left = match entry {
            Entry::Live(live) if self.is_in(live) || self.was_renewed_in(live) => return Some(Imported::Unchanged),
            Entry::Live(live) if on_conflict == OnConflict::Replace && was_renewed(live) => {
                // Where the platform does not rotate, what is there was made of what is to be imported.
                let of_these = self.has_the_refresh_token_of(live);
                return Some(if of_these { Imported::Unchanged } else { Imported::Renewed });
            }
            Entry::Live(live) if self.has_the_refresh_token_of(live) => Imported::Unchanged,
            Entry::Live(_) => Imported::Kept,
            Entry::Deleted(_) => Imported::Deleted,
        };
        match on_conflict {
            OnConflict::Skip => Some(left),
            OnConflict::Replace => None,
        }
    }

    /// Whether exactly these tokens are there. An expiry that is not stated was decided when they were stored.
    fn is_in(&self, live: &Connection) -> bool {
        let grant = &live.grant;
        grant.access.expose() == self.access.expose()
            && (self.refresh.is_none() || self.has_the_refresh_token_of(live))
            && (self.expires_at.is_none() || self.expires_at == grant.expires_at)
            && self.scopes == grant.scopes
            && self.token_type == grant.token_type
    }

    /// Whether the platform has put another refresh token in the place of this one since: importing the old one again
    /// would lose the grant, whatever was asked for.
    fn was_renewed_in(&self, live: &Connection) -> bool {
        same(self.refresh.as_ref(), live.grant.previous_refresh.as_ref())
    }

    fn has_the_refresh_token_of(&self, live: &Connection) -> bool {
        same(self.refresh.as_ref(), live.grant.refresh.as_ref())
    }
}

/// Whether the vault has renewed these tokens since they were stored. What is to be imported may then be what they came
/// from, generations ago: nobody can tell, and the platform has forgotten it.
fn was_renewed(live: &Connection) -> bool {
    let renewed_last = live.last_refresh.is_some_and(|last| last.outcome == RefreshOutcome::Renewed);
    renewed_last || live.grant.previous_refresh.is_some()
}

/// The command is used up by an attempt.
fn again(command: &StoreTokenCommand) -> StoreTokenCommand {
    StoreTokenCommand {
        key: command.key.clone(),
        access: command.access.clone(),
        refresh: command.refresh.clone(),
        expires_at: command.expires_at,
        scopes: command.scopes.clone(),
        token_type: command.token_type.clone(),
        keep_refresh_token: command.keep_refresh_token,
    }
}

fn same(one: Option<&RefreshToken>, other: Option<&RefreshToken>) -> bool {
    one.zip(other).is_some_and(|(one, other)| one.expose() == other.expose())
}
