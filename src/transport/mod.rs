//! The wire: gRPC to the guard's words and back. Decides nothing.

mod admin;
mod admin_convert;
mod context;
mod convert;
mod credentials;
mod direct;
mod listener;
mod server;
mod socket;
mod status;
mod tls;
mod token_vault;

pub use convert::store_token_for;
pub use server::{Health, Reflection, ServeError, Server, ServerLimits};
pub use tls::{Asked, CurrentTls, NotAnSvid, Tls, TlsError, TlsMaterial, Validity, named_workload};
