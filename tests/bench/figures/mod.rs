//! The figures: each measures one thing, prints it, and says which promises it is about.

mod audit;
mod footprint;
mod guard;
mod reads;
mod refreshes;
mod statuses;

use std::error::Error;

use crate::effort::Effort;
use crate::report::Target;

/// Measures one of them.
type Figure = fn(&Effort) -> Result<Vec<Target>, Box<dyn Error>>;

/// All of them, by name, in the order in which they are measured.
pub(crate) const ALL: [(&str, Figure); 6] = [
    ("footprint", footprint::measure),
    ("guard", guard::measure),
    ("reads", reads::measure),
    ("statuses", statuses::measure),
    ("refreshes", refreshes::measure),
    ("audit", audit::measure),
];
