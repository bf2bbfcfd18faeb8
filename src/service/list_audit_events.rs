//! What this instance has written down, page by page.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::domain::error::{Fault, InvalidArgument, VaultError};
use crate::domain::id::TenantId;
use crate::domain::ports::AuditReader;
use crate::domain::trail::{TrailEvent, TrailFilter, TrailOrder, TrailPlace};
use crate::envelope::context::Kind;
use crate::envelope::{Ticket, Tickets};

/// Lists events of the audit trail.
pub struct ListAuditEvents {
    /// Read here.
    pub reader: Arc<dyn AuditReader>,
    /// Where a page ends is given to callers as one of these.
    pub tickets: Arc<Tickets>,
}

/// What is to be listed.
#[derive(Debug)]
pub struct ListAuditEventsQuery {
    /// Only events that pass. A caller of one tenant gets those of this tenant; lines of calls that were refused before
    /// anybody knew whose they are have none.
    pub filter: TrailFilter,
    /// In which order.
    pub order: TrailOrder,
    /// The most events of a page.
    pub page_size: usize,
    /// Where the page before ended; empty: there was none.
    pub page_token: String,
}

/// A page. It may hold fewer events than there are, even none, and not be the last.
#[derive(Debug)]
pub struct ListAuditEventsAnswer {
    /// What is on it.
    pub events: Vec<TrailEvent>,
    /// Where the next begins; empty: there is none.
    pub next_page_token: String,
}

/// The most events of a page.
const MAX_PAGE: usize = 1_000;

// === impl ListAuditEvents ===

impl ListAuditEvents {
    /// Reads a page.
    ///
    /// # Errors
    ///
    /// When the page token is not one that was given out for this, or the trail cannot be read.
    pub async fn run(&self, query: &ListAuditEventsQuery) -> Result<ListAuditEventsAnswer, VaultError> {
        let (request, tenant) = (query.text(), query.filter.tenant.clone().unwrap_or_else(TenantId::system));
        let ticket = Ticket { kind: Kind::PageToken, tenant: &tenant, request: &request };
        let mut from = None;
        if !query.page_token.is_empty() {
            let bytes = self.tickets.open(ticket, &query.page_token).await?;
            let not_ours = InvalidArgument { field: "page_token", fault: Fault::NotOurs };
            from = Some(bytes.and_then(|bytes| parse(&bytes)).ok_or(not_ours)?);
        }
        let limit = query.page_size.clamp(1, MAX_PAGE);
        let page = self.reader.page(query.filter.clone(), query.order, from, limit).await.map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "the audit trail cannot be read");
            VaultError::Audit(crate::domain::ports::AuditUnavailable)
        })?;
        let next_page_token = match page.next {
            Some(place) => self.tickets.seal(ticket, &to_bytes(place)).await?,
            None => String::new(),
        };
        Ok(ListAuditEventsAnswer { events: page.events, next_page_token })
    }
}

impl ListAuditEventsQuery {
    /// The request in words: a page token is good for the same one only.
    fn text(&self) -> String {
        let TrailFilter { tenant: _, user, platform, engine, action, result, request, token, since, until } =
            &self.filter;
        let mut text = format!("audit {}", self.order.as_str());
        // Writing to a string cannot fail.
        let _ = write!(text, " {user:?} {platform:?} {engine:?} {action:?} {result:?} {request:?} {token:?}");
        let _ = write!(text, " {since:?} {until:?}");
        text
    }
}

/// `u32 BE trail || u64 BE line`
fn to_bytes(place: TrailPlace) -> Vec<u8> {
    place.trail.to_be_bytes().into_iter().chain(place.seq.to_be_bytes()).collect()
}

fn parse(bytes: &[u8]) -> Option<TrailPlace> {
    let (trail, seq) = bytes.split_first_chunk::<4>()?;
    Some(TrailPlace { trail: u32::from_be_bytes(*trail), seq: u64::from_be_bytes(seq.try_into().ok()?) })
}
