//! Who may do what: credentials, engines, and the guard through which every call passes.
//!
//! A [`Caller`] can be built only here, by verifying a credential, and nothing is done without one. The transport
//! reaches the use cases through the [`Guard`] alone: there is no second door that somebody could forget to lock.

pub mod admin;
mod caller;
mod deadline;
mod doors;
mod engine;
mod engine_key;
mod guard;
mod meter;
mod record;
mod refusal;
mod registry;
mod watch;

pub use caller::{Caller, Credentials};
pub use engine::{Engine, HeldKey};
pub use engine_key::{EngineKey, KeyVerifier, MalformedKey, Pepper};
pub use guard::{Arrival, Call, Guard};
pub use meter::Exceeded;
pub use refusal::{NotPermitted, Refusal};
pub use registry::{NotVerified, Registry, RegistryFollower};
pub use watch::WatchedCall;

// What passes through the guard: the use cases' own words, so that the transport needs to know nothing behind it.
pub use crate::service::{
    BatchGetStatusQuery, ConnectionStatus, DeleteTokenAnswer, GetStatusQuery, GetTokenAnswer, GetTokenQuery,
    ListTokensAnswer, ListTokensQuery, NoStatus, PlatformStatus, StoreTokenAnswer, StoreTokenCommand, TokenInfo,
    UserStatus, WatchEvent, WatchMessage, WatchQuery,
};
