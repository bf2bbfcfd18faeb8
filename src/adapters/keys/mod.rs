//! Key providers: where data keys are made and unwrapped, one service per file. Caching the unwrapped keys is the key
//! ring's business and happens nowhere here.

#[cfg(feature = "aws")]
pub mod aws;
pub mod guarded;
pub mod local;
