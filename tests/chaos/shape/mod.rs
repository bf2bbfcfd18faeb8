//! The shapes a store comes in. To add one: a file here that implements [`Shape`], and a line in [`KINDS`].

#[cfg(feature = "redis")]
mod cluster;
#[cfg(feature = "dynamodb")]
mod dynamodb;
mod embedded;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "redis")]
mod sentinel;
mod ways;

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;

#[cfg(feature = "redis")]
use crate::redis_server::RedisServer;

/// What can be done to a store while the vault is at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Killed (SIGKILL), and started again on the same data.
    Down,
    /// Stopped in its tracks (SIGSTOP), and let go on.
    Paused,
    /// Every answer comes five seconds late.
    Slow,
    /// The first instance cannot reach it any more; the others can.
    Partitioned,
    /// The server that takes writes is killed, and another one takes its place. Ends by itself.
    FailedOver,
    /// Nobody has a copy of what is written meanwhile but the server that takes writes. Nobody feels it until that one is
    /// gone.
    Lagging,
}

/// How late the answers of a slow store are: later than anybody waits.
pub(crate) const SLOWNESS: Duration = Duration::from_secs(5);

/// A running store, with a way to it for each instance.
#[async_trait(?Send)]
pub(crate) trait Shape: Send + Sync {
    /// What stands in the `store` section of an instance's configuration.
    fn section(&self, instance: usize) -> String;

    /// What an instance needs in its environment.
    fn environment(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// Makes trouble of a kind that stands in [`Kind::troubles`].
    async fn begin(&mut self, trouble: Trouble);

    /// Ends it. Returns when the store could serve again.
    async fn end(&mut self, trouble: Trouble);

    /// How often instances have asked the store for something so far; `None` where nobody can tell.
    fn asked(&self) -> Option<usize>;
}

/// A kind of store, before it runs.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// How many instances of the vault may share it, up to three.
    pub(crate) instances: usize,
    /// What can be done to it.
    pub(crate) troubles: &'static [Trouble],
    /// How old an answer may be that is given without asking the store, because another instance wrote meanwhile.
    pub(crate) lag: Duration,
    /// Whether it is a driver of its own, and not another shape of servers whose driver is in the list already. Of those,
    /// the short form runs what is about their servers.
    pub(crate) own_driver: bool,
    /// A crowd before it is so many times smaller than elsewhere, and asks for each record once at each instance, because
    /// its server here is no match for one.
    pub(crate) modesty: usize,
    pub(crate) start: fn(instances: usize) -> Starting,
}

/// A store that is being started.
pub(crate) type Starting = Pin<Box<dyn Future<Output = Box<dyn Shape>>>>;

/// All kinds this build has.
pub(crate) const KINDS: &[Kind] = &[
    embedded::KIND,
    #[cfg(feature = "redis")]
    redis::KIND,
    #[cfg(feature = "redis")]
    sentinel::KIND,
    #[cfg(feature = "redis")]
    cluster::KIND,
    #[cfg(feature = "postgres")]
    postgres::KIND,
    #[cfg(feature = "dynamodb")]
    dynamodb::KIND,
];

/// The near-cache may be this old where another instance has written.
#[cfg(any(feature = "dynamodb", feature = "postgres", feature = "redis"))]
const NEAR_CACHE: Duration = Duration::from_secs(1);

/// From now on, no replica gets what this primary acknowledges, however hard it tries.
#[cfg(feature = "redis")]
fn forsake_replicas(primary: &RedisServer) {
    primary.ask(&[b"ACL", b"SETUSER", b"default", b"-psync", b"-sync"]);
    primary.ask(&[b"CLIENT", b"KILL", b"TYPE", b"replica"]);
}

/// Replicas get everything again, unless the primary is gone.
#[cfg(feature = "redis")]
fn take_replicas(primary: &RedisServer) {
    if primary.is_reachable() {
        primary.ask(&[b"ACL", b"SETUSER", b"default", b"+psync", b"+sync"]);
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Down => "down",
            Self::Paused => "paused",
            Self::Slow => "slow",
            Self::Partitioned => "partitioned",
            Self::FailedOver => "failover",
            Self::Lagging => "lagging",
        })
    }
}
