//! The audit trail: one JSON line per operation, written before anything is released.

mod line;
mod log;

pub use log::{AuditLog, OpenError, Target};
