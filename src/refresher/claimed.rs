//! What is handed from the claim to the request: a connection this instance has announced it will refresh.

use std::time::Duration;

use crate::domain::catalog::{App, Platform};
use crate::domain::connection::{Claim, Connection};
use crate::domain::id::RequestId;
use crate::domain::ports::{Room, Version};

/// A connection as it lies in the store.
#[derive(Clone)]
pub(super) struct Current {
    pub(super) connection: Connection,
    pub(super) version: Version,
}

/// A connection this instance has announced it will refresh.
pub(super) struct Claimed<'a> {
    pub(super) current: Current,
    pub(super) claim: Claim,
    /// When it was made, by this instance's clock that does not step.
    pub(super) began: Duration,
    pub(super) platform: &'a Platform,
    pub(super) app: &'a App,
    pub(super) request: &'a RequestId,
    /// A place for the answer, where losing it would cost the grant.
    pub(super) room: Option<Room>,
}
