//! The promises of the ports, each sentence of their documentation a test, run against every implementation there is.

mod keys;
mod outbox;
mod store;
