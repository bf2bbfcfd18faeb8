//! The outbox in a folder: one file per answer, written and synced by threads of its own, so that a slow disk holds up
//! whoever waits for it and nobody else.
//!
//! ```text
//! <root>/<owner>/lock                        locked for as long as the owner lives
//! <root>/<owner>/<entry>.answer              an answer that waits to be stored
//! <root>/<owner>/<entry>.quarantined         one that nobody can make sense of
//! ```
//!
//! Each start makes a folder of its own. What a dead owner left is recognised by a lock nobody holds.

mod bounds;
mod entry;
mod folder;
mod list;
mod owner;
mod sync;
mod writer;

pub use bounds::Bounds;
pub use folder::{FolderOutbox, OpenError};
pub use list::{Found, Kind, Listed, folders_in, list};
