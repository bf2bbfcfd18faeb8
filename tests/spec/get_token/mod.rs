//! Handing out tokens: as they are, after a refresh, and when none can be had.

mod failed;
mod patience;
mod renewed;
mod served;
