//! Stores, and decorators around them.
//!
//! Every store keeps the same `frame` under the same `place` names, so that what one of them holds can be read, and
//! moved, byte for byte. What the bytes mean is not known here: they are sealed before they come.

#[cfg(feature = "dynamodb")]
pub mod dynamodb;
pub mod embedded;
pub mod export;
mod frame;
mod life;
mod listeners;
pub mod near_cache;
mod place;
#[cfg(feature = "postgres")]
pub mod postgres;
mod reason;
#[cfg(feature = "redis")]
pub mod redis;
pub mod retry;
