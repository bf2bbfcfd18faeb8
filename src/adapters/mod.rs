//! The outside world behind the ports of [`crate::domain::ports`]: one folder per port, one driver per file.

pub mod audit;
pub mod keys;
pub mod oauth;
pub mod outbox;
pub mod profiles;
pub mod steady;
pub mod store;
pub mod system;
