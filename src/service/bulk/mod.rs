//! Whole vaults at once: tokens brought in, records moved and set back. Records pass through as they lie in the store,
//! sealed; only an import and a move to other keys seal.

mod census;
mod copy;
mod drawer;
mod export;
mod gather;
mod import;
mod pages;
mod patience;
mod placing;
mod restore;
mod rewrap;

pub use census::Census;
pub use copy::{CopyError, CopyReport, CopyStep, CopyVault};
pub use drawer::{Drawer, drawers};
pub use export::{ExportFailed, ExportVault};
pub use gather::Gather;
pub use import::{ImportToken, Imported, OnConflict};
pub use pages::Pages;
pub use placing::{Placed, Placement, Placing, Tally, place};
pub use restore::{RestoreError, RestoreVault, Restored};
pub use rewrap::{Rewrap, RewrapEnd};
