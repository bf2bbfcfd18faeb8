//! The sequential model of one record: a register whose versions grow.

/// What the record holds at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct State {
    /// The token, unless it was never stored or is deleted.
    pub(super) token: Option<u64>,
    /// The version, or a lower bound of it.
    pub(super) version: u64,
    /// Whether it is the version: a deletion does not say its own, nor does a store of which nobody heard again.
    pub(super) exact: bool,
}

/// Something done to it, with what was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    /// Stored a token, as this version where that is known.
    Store { token: u64, version: Option<u64> },
    /// Deleted the token.
    Delete,
    /// Found this token, as this version.
    Read { token: u64, version: u64 },
    /// Found none.
    FindNone,
}

// === impl State ===

impl State {
    pub(super) const EMPTY: Self = Self { token: None, version: 0, exact: true };

    /// The state after an operation; `None`: in this state it cannot have been answered so.
    pub(super) fn after(self, operation: Operation) -> Option<Self> {
        match operation {
            Operation::Store { token, version: Some(version) } => {
                (version > self.version).then_some(Self { token: Some(token), version, exact: true })
            }
            Operation::Store { token, version: None } => Some(self.with(Some(token))),
            Operation::Delete => self.token.map(|_| self.with(None)),
            Operation::Read { token, version } => {
                let fits = if self.exact { version == self.version } else { version >= self.version };
                (self.token == Some(token) && fits).then_some(Self { version, exact: true, ..self })
            }
            Operation::FindNone => self.token.is_none().then_some(self),
        }
    }

    fn with(self, token: Option<u64>) -> Self {
        Self { token, version: self.version + 1, exact: false }
    }

    /// Whether an operation that is still to come can never be answered so any more.
    pub(super) fn is_past(self, operation: Operation) -> bool {
        matches!(operation, Operation::Store { version: Some(version), .. } if version <= self.version)
    }
}
