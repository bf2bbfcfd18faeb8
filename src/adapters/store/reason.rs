//! The closed vocabulary of [`StoreError::Unavailable`], and which of its words pass by themselves.
//!
//! [`StoreError::Unavailable`]: crate::domain::ports::StoreError::Unavailable

/// Too much is waiting already, or the server is loading or busy.
pub(super) const BUSY: &str = "busy";
/// The store is shutting down or its writer is gone.
pub(super) const CLOSED: &str = "closed";
/// There is no connection, or it broke.
pub(super) const CONNECTION: &str = "connection";
/// The disk failed or is full.
pub(super) const DISK: &str = "disk";
/// The server has no memory left.
#[cfg(any(feature = "redis", test))]
pub(super) const FULL: &str = "full";
/// The server is a replica.
pub(super) const READ_ONLY: &str = "read_only";
/// The server does not let this installation in, or not do this.
#[cfg(any(feature = "dynamodb", feature = "postgres", feature = "redis", test))]
pub(super) const REFUSED: &str = "refused";
/// There was no answer in time.
pub(super) const TIMEOUT: &str = "timeout";
/// The value has more bytes than a store takes.
pub(super) const TOO_LARGE: &str = "too_large";
/// The answer was not one to this question.
#[cfg(any(feature = "dynamodb", feature = "postgres", feature = "redis", test))]
pub(super) const UNEXPECTED: &str = "unexpected";

/// Whether trying again, a moment later, may well succeed without anybody doing anything.
///
/// `disk` is among them because a store reopens its file after a fault, and `read_only` because a failover moves the
/// name of the server to the new primary.
pub(super) fn is_transient(reason: &str) -> bool {
    matches!(reason, BUSY | CONNECTION | DISK | READ_ONLY | TIMEOUT)
}
