//! The use cases, one module per RPC, and the records they work on.
//!
//! A use case is handed checked values from somebody who has been let in; who may call it is decided elsewhere.

mod batch_get_status;
pub mod bulk;
mod delete_token;
mod epoch;
mod floor;
mod get_status;
mod get_token;
mod list_audit_events;
mod list_tokens;
mod page;
mod platform_status;
mod records;
mod registry;
mod sightings;
mod store_token;
mod watch;

pub use batch_get_status::{BatchGetStatus, BatchGetStatusQuery, NoStatus, UserStatus};
pub use delete_token::{DeleteToken, DeleteTokenAnswer};
pub use epoch::Epochs;
pub use get_status::{GetStatus, GetStatusQuery};
pub use get_token::{GetToken, GetTokenAnswer, GetTokenQuery};
pub use list_audit_events::{ListAuditEvents, ListAuditEventsAnswer, ListAuditEventsQuery};
pub use list_tokens::{ListTokens, ListTokensAnswer, ListTokensQuery, TokenInfo};
pub use platform_status::{ConnectionStatus, PlatformStatus};
pub use records::{Loaded, Records};
pub use registry::Registrar;
pub use store_token::{StoreToken, StoreTokenAnswer, StoreTokenCommand};
pub use watch::{WatchEvent, WatchLimits, WatchMessage, WatchParts, WatchQuery, WatchStatus, Watching};

use crate::domain::catalog::{Catalog, Platform};
use crate::domain::error::{Fault, InvalidArgument};
use crate::domain::id::PlatformId;
use std::sync::Arc;

/// How often a use case reads and writes again when somebody else wrote in between.
const WRITE_ATTEMPTS: u32 = 8;

fn enabled<'a>(catalog: &'a Catalog, platform: &PlatformId) -> Result<&'a Arc<Platform>, InvalidArgument> {
    catalog.get(platform).ok_or(InvalidArgument { field: "platform", fault: Fault::UnknownPlatform })
}
