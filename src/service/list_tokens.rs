//! What is known about the connections of a tenant, page by page and without their tokens.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::page::{Next, Place};
use super::{ConnectionStatus, Loaded, PlatformStatus, Records};
use crate::domain::catalog::Catalog;
use crate::domain::connection::{Connection, Entry, LastRefresh};
use crate::domain::error::{Fault, InvalidArgument, VaultError};
use crate::domain::id::{ConnectionKey, PlatformId, TenantId, UserId};
use crate::domain::outline::Outline;
use crate::domain::policy::Permits;
use crate::domain::ports::{Address, Clock, Index, Item, Page, Scope, StoreError, Stored, UserDrawer, Version};
use crate::domain::time::Timestamp;
use crate::envelope::context::Kind;
use crate::envelope::{Ticket, Tickets};

/// Lists connections.
pub struct ListTokens {
    /// These.
    pub records: Arc<Records>,
    /// Found here.
    pub index: Arc<dyn Index>,
    /// Told of as enabled, or not.
    pub catalog: Arc<Catalog>,
    /// As of now.
    pub clock: Arc<dyn Clock>,
    /// Where a page ends is given to callers as one of these.
    pub tickets: Arc<Tickets>,
}

/// What is to be listed.
#[derive(Debug)]
pub struct ListTokensQuery {
    /// The tenant.
    pub tenant: TenantId,
    /// Only these platforms; empty: all.
    pub platforms: BTreeSet<PlatformId>,
    /// Only these statuses, of [`ConnectionStatus::LISTED`]; empty: all.
    pub statuses: BTreeSet<&'static str>,
    /// The most entries of a page.
    pub page_size: usize,
    /// Where the page before ended; empty: there was none.
    pub page_token: String,
    /// How long the caller waits.
    pub patience: Duration,
}

/// A page.
#[derive(Debug)]
pub struct ListTokensAnswer {
    /// What is on it.
    pub tokens: Vec<TokenInfo>,
    /// Where the next begins; empty: there is none.
    pub next_page_token: String,
}

/// What is known about a connection.
#[derive(Debug)]
pub struct TokenInfo {
    /// Whose.
    pub user: UserId,
    /// At which platform.
    pub platform: PlatformId,
    /// How it stands; never [`ConnectionStatus::Missing`].
    pub status: ConnectionStatus,
    /// When the access token expires; `None`: it does not, or nobody can tell.
    pub expires_at: Option<Timestamp>,
    /// The last refresh.
    pub last_refresh: Option<LastRefresh>,
    /// The granted scopes.
    pub scopes: Vec<String>,
    /// The version of the record, and when the user connected first; `None` where it cannot be read.
    pub known: Option<(Version, Timestamp)>,
}

/// A page that is being filled.
struct Filling<'a> {
    query: &'a ListTokensQuery,
    permits: &'a Permits,
    until: Instant,
    tokens: Vec<TokenInfo>,
    opened: usize,
}

/// Why filling stopped.
enum Stopped {
    Full,
    OutOfTime,
}

/// The fewest and the most records that are asked of the store at once: a page that lacks one entry is not filled by
/// asking for one record at a time.
const SCAN: (usize, usize) = (8, 500);

/// Records opened for one page, however few of them match.
const MOST_OPENED: usize = 20_000;

// === impl ListTokens ===

impl ListTokens {
    /// Fills a page with what is permitted: the rest is not even opened.
    ///
    /// # Errors
    ///
    /// When the place to go on from is not one that was given out for this, or what is stored cannot be read. A record
    /// that cannot be trusted is listed as such.
    pub async fn run(&self, query: &ListTokensQuery, permits: &Permits) -> Result<ListTokensAnswer, VaultError> {
        let until = Instant::now() + query.patience;
        let request = query.filters();
        let ticket = Ticket { kind: Kind::PageToken, tenant: &query.tenant, request: &request };
        let mut place = Place::beginning();
        if !query.page_token.is_empty() {
            let bytes = self.tickets.open(ticket, &query.page_token).await?;
            let not_ours = InvalidArgument { field: "page_token", fault: Fault::NotOurs };
            place = bytes.and_then(|bytes| Place::parse(&bytes)).ok_or(not_ours)?;
        }
        let began_at = place.clone();
        let mut page = Filling { query, permits, until, tokens: Vec::new(), opened: 0 };
        let stopped = self.fill(&mut page, &mut place).await?;
        if matches!(stopped, Some(Stopped::OutOfTime)) && page.tokens.is_empty() && place == began_at {
            return Err(VaultError::Store(StoreError::unavailable("timeout")));
        }
        let next_page_token =
            if place.is_end() { String::new() } else { self.tickets.seal(ticket, &place.to_bytes()).await? };
        Ok(ListTokensAnswer { tokens: page.tokens, next_page_token })
    }

    async fn fill(&self, page: &mut Filling<'_>, place: &mut Place) -> Result<Option<Stopped>, VaultError> {
        let mut at_hand: BTreeMap<UserId, UserDrawer> = BTreeMap::new();
        loop {
            while let Some(user) = place.users.front().cloned() {
                let drawer = match at_hand.remove(&user) {
                    Some(drawer) => drawer,
                    None => self.records.drawer(&page.query.tenant, &user).await?,
                };
                if let Some(stopped) = self.list(page, &user, &drawer, &mut place.after).await? {
                    return Ok(Some(stopped));
                }
                place.users.pop_front();
                place.after = None;
            }
            let cursor = match &place.next {
                Next::Beginning => None,
                Next::From(cursor) => Some(cursor),
                Next::End => return Ok(None),
            };
            if let Some(stopped) = page.stopped() {
                return Ok(Some(stopped));
            }
            let lacking = page.query.page_size.saturating_sub(page.tokens.len()).clamp(SCAN.0, SCAN.1);
            let scope = Scope::Tenant(page.query.tenant.clone());
            let Ok(found) = timeout_at(page.until, self.index.scan(&scope, cursor, lacking)).await else {
                return Ok(Some(Stopped::OutOfTime));
            };
            let Page { items, next } = found?;
            place.next = next.map_or(Next::End, Next::From);
            at_hand = drawers(items);
            let connected = at_hand.iter().filter(|(_, drawer)| !drawer.connections.is_empty());
            place.users = connected.map(|(user, _)| user.clone()).collect();
            // The embedded store answers at once, and others have a turn too.
            tokio::task::yield_now().await;
        }
    }

    /// Lists one user; `after` follows.
    async fn list(
        &self,
        page: &mut Filling<'_>,
        user: &UserId,
        drawer: &UserDrawer,
        after: &mut Option<PlatformId>,
    ) -> Result<Option<Stopped>, VaultError> {
        let mut connections: Vec<&(PlatformId, Stored)> = drawer.connections.iter().collect();
        connections.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (platform, stored) in connections {
            let asked_for = page.query.platforms.is_empty() || page.query.platforms.contains(platform);
            let is_told = asked_for && page.permits.connection(user, platform);
            if !is_told || after.as_ref().is_some_and(|after| platform <= after) {
                continue;
            }
            if let Some(stopped) = page.stopped() {
                return Ok(Some(stopped));
            }
            page.opened += 1;
            let key =
                ConnectionKey { tenant: page.query.tenant.clone(), user: user.clone(), platform: platform.clone() };
            let info = self.info(&key, stored, drawer).await?;
            *after = Some(platform.clone());
            page.tokens.extend(info.filter(|info| page.query.wants(info.status)));
        }
        Ok(None)
    }

    async fn info(
        &self,
        key: &ConnectionKey,
        stored: &Stored,
        drawer: &UserDrawer,
    ) -> Result<Option<TokenInfo>, VaultError> {
        match self.records.open_found(key, stored, drawer).await {
            Ok(Some(Loaded { entry: Entry::Live(connection), version })) => {
                Ok(Some(self.of(key, &connection, version)))
            }
            Ok(Some(Loaded { entry: Entry::Deleted(_), .. }) | None) => Ok(None),
            Err(VaultError::Corrupt(corrupt)) => Ok(Some(TokenInfo {
                user: key.user.clone(),
                platform: key.platform.clone(),
                status: ConnectionStatus::Unreadable(corrupt),
                expires_at: None,
                last_refresh: None,
                scopes: Vec::new(),
                known: None,
            })),
            Err(error) => Err(error),
        }
    }

    fn of(&self, key: &ConnectionKey, connection: &Connection, version: Version) -> TokenInfo {
        let status = match self.catalog.get(&key.platform) {
            Some(platform) => PlatformStatus::of(platform, &Outline::from(connection), self.clock.now()).status,
            None => ConnectionStatus::Disabled,
        };
        TokenInfo {
            user: key.user.clone(),
            platform: key.platform.clone(),
            status,
            expires_at: connection.grant.expires_at,
            last_refresh: connection.last_refresh,
            scopes: connection.grant.scopes.clone(),
            known: Some((version, connection.created_at)),
        }
    }
}

// === impl ListTokensQuery ===

impl ListTokensQuery {
    fn wants(&self, status: ConnectionStatus) -> bool {
        self.statuses.is_empty() || self.statuses.contains(status.as_str())
    }

    /// What must be the same from page to page, in words no two filters share.
    fn filters(&self) -> String {
        let platforms: Vec<&str> = self.platforms.iter().map(PlatformId::as_str).collect();
        let statuses: Vec<&str> = self.statuses.iter().copied().collect();
        format!("platforms {} statuses {}", platforms.join(","), statuses.join(","))
    }
}

// === impl Filling ===

impl Filling<'_> {
    fn stopped(&self) -> Option<Stopped> {
        if self.tokens.len() >= self.query.page_size {
            Some(Stopped::Full)
        } else if self.opened >= MOST_OPENED || Instant::now() >= self.until {
            Some(Stopped::OutOfTime)
        } else {
            None
        }
    }
}

/// What was found, user by user. The keys of a user are found with the connections they open.
pub(super) fn drawers(items: Vec<Item>) -> BTreeMap<UserId, UserDrawer> {
    let mut drawers: BTreeMap<UserId, UserDrawer> = BTreeMap::new();
    for Item { address, stored, .. } in items {
        match address {
            Address::Connection(key) => drawers.entry(key.user).or_default().connections.push((key.platform, stored)),
            Address::UserKey { user, generation, .. } => {
                drawers.entry(user).or_default().keys.push((generation, stored));
            }
            Address::TenantKeyring { .. } | Address::Document { .. } | Address::Lease { .. } | Address::Epoch => {}
        }
    }
    drawers
}
