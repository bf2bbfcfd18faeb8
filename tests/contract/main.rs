//! The promises of the ports, each sentence of their documentation a test, run against every implementation there is.

#[cfg(any(feature = "aws", feature = "dynamodb"))]
#[path = "../support/canned_aws.rs"]
mod canned_aws;
mod keys;
mod outbox;
#[cfg(any(feature = "postgres", feature = "redis"))]
#[path = "../support/started.rs"]
mod started;
mod store;
