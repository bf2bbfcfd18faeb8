//! What the vault needs from the outside, one trait per file. The documentation is normative: each sentence that
//! promises something has a test in `tests/contract`, run against every implementation.

mod audit;
mod clock;
mod index;
mod keys;
mod outbox;
mod random;
mod renewal;
mod store;
mod tasks;
mod token_endpoint;

pub use audit::{AuditReader, AuditSink, AuditUnavailable, AuditUnreadable};
pub use clock::Clock;
pub use index::{
    CHANGES_KEPT, Change, ChangeCursor, Changes, Due, Hints, Index, Item, Listener, Page, Partition, Pushes,
    ScanCursor, Scope, StateHint,
};
pub use keys::{DataKey, EncryptionContext, KeyError, KeyFault, KeyProvider, WrappedDataKey};
pub use outbox::{EntryName, NotAName, Outbox, OutboxEntry, OutboxError, Room};
pub use random::Random;
pub use renewal::{Renewal, RenewalOutcome, Wanted};
pub use store::{
    Address, DocumentName, Epoch, Expected, MAX_VALUE_BYTES, Record, STALENESS, Store, StoreError, Stored, UserDrawer,
    Version,
};
pub use tasks::Tasks;
pub use token_endpoint::{Exchange, Granted, RefreshCall, Refused, TokenEndpoint, TransportFault};
