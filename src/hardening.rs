//! What the process forbids itself, because its memory holds keys and tokens: nothing of it is written into a core dump,
//! and no other process of its user may look into it.

use std::io;

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, dumpable_behavior, getrlimit, set_dumpable_behavior, setrlimit,
};

/// What the process had before it forbade itself anything.
#[derive(Debug)]
pub struct Hardening {
    core: Rlimit,
    dumpable: DumpableBehavior,
}

// === impl Hardening ===

impl Hardening {
    /// Forbids core dumps and tracing. To be called before anything secret is read.
    ///
    /// # Errors
    ///
    /// When the operating system refuses.
    pub fn begin() -> io::Result<Self> {
        let before = Self { core: getrlimit(Resource::Core), dumpable: dumpable_behavior()? };
        // The hard limit stays for now: who is not root could not take that back.
        setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: before.core.maximum })?;
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
        Ok(before)
    }

    /// Forbids them for good.
    ///
    /// # Errors
    ///
    /// When the operating system refuses.
    pub fn complete(self) -> io::Result<()> {
        Ok(setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?)
    }

    /// Allows again what was allowed before.
    ///
    /// # Errors
    ///
    /// When the operating system refuses.
    pub fn undo(self) -> io::Result<()> {
        setrlimit(Resource::Core, self.core)?;
        Ok(set_dumpable_behavior(self.dumpable)?)
    }
}
