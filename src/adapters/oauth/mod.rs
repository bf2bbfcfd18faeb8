//! Token endpoints of platforms: one implementation of [`crate::domain::ports::TokenEndpoint`], driven by profiles.
//! Which verdict an error answer deserves, and when to ask again, is decided by whoever calls it.
//!
//! ```text
//!  oauth2 ──► request ──► outbound ──► said ──► answer ──► oauth2
//!  standard   the shape   hardened     any       tokens,    reads the
//!  request    the profile client,      body as   error or   canonical
//!             asks for    resolver     JSON      nothing    answer
//! ```

mod address;
mod answer;
mod endpoint;
mod lifetime;
mod outbound;
mod request;
mod resolver;
mod said;

pub use address::{is_private_network, is_public};
pub use endpoint::HttpTokenEndpoint;
pub use outbound::{OutboundError, OutboundSettings};
