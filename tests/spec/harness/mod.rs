//! A whole vault for one test, callers to ask it as, and the promise that no secret of the test gets where it must not.
//!
//! A vault can be had by [`spec`] or [`Setup::run`] only, and both look for leaks when the test is over.

mod answers;
mod caller;
mod capture;
mod index;
mod leaks;
mod platforms;
mod records;
mod requests;
mod setup;
mod trail;
mod vault;

pub(crate) use self::answers::Refused;
pub(crate) use self::caller::{Caller, Watch};
pub(crate) use self::requests::{Ask, USER, delete, get, now, status, until};
pub(crate) use self::setup::{Setup, spec};
pub(crate) use self::vault::{Tokens, Vault};
