//! Whole vaults at once, as an operator does it: imports, exports, restores and moves by the real binary, stopped in the
//! middle and begun again.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "tests have no lifecycle to be drained")]

mod copying;
mod epoch;
mod exporting;
mod importing;
mod memory;
mod restoring;
mod site;

#[path = "../support/eventually.rs"]
mod eventually;
#[path = "../support/process.rs"]
#[expect(dead_code, reason = "shared with a suite that needs more of it")]
mod process;
