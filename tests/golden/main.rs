//! What was sealed once opens forever, and nothing else does: the stored format, held against a second implementation,
//! against published vectors, and against every small change. The key hierarchy above it is tested elsewhere.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test that finds nothing where something must be has failed"
)]

mod commitment;
mod place;
mod primitives;
mod records;
mod tampering;
mod vectors;

use vault_engine::domain::ports::Random;
use vault_engine::envelope::context::{Context, Kind};

/// Randomness that is a given salt: what makes a sealed record repeatable.
struct Salt([u8; 32]);

impl Random for Salt {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.0);
    }
}

/// The place most tests seal for.
fn place() -> Context {
    Context::new(
        Kind::Token,
        &"prod".parse().expect("an environment"),
        &"acme".parse().expect("a tenant"),
        "u-42",
        "google",
    )
}
