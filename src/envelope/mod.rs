//! How things are sealed: the stored format, the key hierarchy, and what is inside a record.
//!
//! ```text
//!  key service ──wraps──► tenant key ──seals──► user key ──derives──► record key, used once
//! ```
//!
//! There is one sealing primitive, [`seal`]. Everything the vault stores in secret goes through it, bound to the place
//! it belongs to, which is recomputed from the request and never read from the store. Nothing here decides who may
//! open what.

pub mod context;
mod documents;
mod epoch;
pub mod format;
mod key_life;
mod keyring;
mod record;
mod registry_document;
pub mod seal;
mod sealer;
mod tenant_keys;
mod tickets;
mod user_keys;

pub use documents::DocumentSeal;
pub use epoch::EpochSeal;
pub use key_life::{KeyLifeError, KeyState, KeyView, KeyringView, Next, RewrapView, Steps, Walk};
pub use record::{decode, encode};
pub use sealer::Sealer;
pub use tenant_keys::{KeyLimits, TenantKeys};
pub use tickets::{Ticket, Tickets};
pub use user_keys::{Resealed, UserKeys};
