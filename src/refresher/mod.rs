//! How a grant is never lost: claims, single flight, verdicts, and what to do when an answer never arrives.
//!
//! 1. The provider sees one refresh per generation of a token, whatever the number of callers and instances.
//! 2. An answer that arrived is on this instance's disk before anything else is done with it, where its loss would cost
//!    the grant, and goes on being stored until it is.
//! 3. A connection is declared dead only on the provider's definitive word about the generation that is still current.

mod answers;
mod arrears;
mod attempt;
mod circuit;
mod claimed;
mod coordinator;
mod departed;
mod failpoint;
mod flight;
mod leases;
mod look;
mod redeem;
mod schedule;
mod verdict;

pub use answers::{Answers, Fate};
pub use coordinator::{RefreshSettings, Refresher, RefresherParts};
pub use schedule::{BackgroundSettings, Scheduler};
