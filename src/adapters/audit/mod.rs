//! The audit trail: one JSON line per operation, written before anything is released, and linked so that nothing can be
//! changed in it unnoticed.

mod about;
mod chain;
mod flood;
mod line;
mod log;
mod look_up;
mod note;
mod place;
mod read;
mod recover;
mod segments;
mod sync;
mod syslog;
mod verify;
mod writer;

pub use log::{AuditLog, OpenError, Settings, Target};
pub use look_up::TrailReader;
pub use note::{NotANote, NotAPublicKey, Note, PublicKey, TrailKeys};
pub use verify::{Fault, FaultKind, Report, Verdict, Verification, verify_files, verify_trail};
pub use writer::Limits;
