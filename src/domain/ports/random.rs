//! Where randomness comes from.

/// A cryptographically secure source of randomness.
pub trait Random: Send + Sync {
    /// Fills the buffer.
    fn fill(&self, buffer: &mut [u8]);
}
