//! Who may do what: credentials, engines, and the guard through which every call passes.
//!
//! A [`Caller`] can be built only here, by verifying a credential, and nothing is done without one. The transport
//! reaches the use cases through the [`Guard`] alone: there is no second door that somebody could forget to lock.

mod caller;
mod deadline;
mod doors;
mod engine;
mod engine_key;
mod guard;
mod record;
mod refusal;
mod registry;
mod watch;

pub use caller::{Caller, Credentials};
pub use engine::Engine;
pub use engine_key::{EngineKey, KeyVerifier, MalformedKey, Pepper};
pub use guard::{Arrival, Call, Guard};
pub use refusal::Refusal;
pub use registry::Registry;
pub use watch::WatchedCall;

// What passes through the guard: the use cases' own words, so that the transport needs to know nothing behind it.
pub use crate::service::{
    BatchGetStatusQuery, ConnectionStatus, DeleteTokenAnswer, GetStatusQuery, GetTokenAnswer, GetTokenQuery,
    ListTokensAnswer, ListTokensQuery, PlatformStatus, StoreTokenAnswer, StoreTokenCommand, TokenInfo, UserStatus,
    WatchEvent, WatchMessage, WatchQuery,
};
