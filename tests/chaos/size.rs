//! How much of everything: a short form for every day, and the long one.

use std::time::Duration;

/// The numbers of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    /// Records that expire at once, callers at each instance, and how many records each of them asks for.
    pub(crate) crowd: (usize, usize, usize),
    /// Grants under load while something is done to the store or to an instance.
    pub(crate) grants: usize,
    /// How long the store is in trouble.
    pub(crate) outage: Duration,
    /// How long a platform is.
    pub(crate) platform_outage: Duration,
    /// How often an instance is killed.
    pub(crate) kills: usize,
    /// Calls of which a fifth is given up.
    pub(crate) calls: usize,
    /// How long clients write and read the one record.
    pub(crate) register: Duration,
    /// Whether every case runs over every shape of a store, or what is not about its servers over one shape of each.
    pub(crate) every_shape: bool,
    /// Cases that run at the same time.
    pub(crate) lanes: usize,
}

pub(crate) const SHORT: Size = Size {
    crowd: (200, 50, 40),
    grants: 48,
    outage: Duration::from_secs(5),
    platform_outage: Duration::from_secs(6),
    kills: 4,
    calls: 2_000,
    register: Duration::from_secs(10),
    every_shape: false,
    lanes: 2,
};

pub(crate) const LONG: Size = Size {
    crowd: (10_000, 100, 2_000),
    grants: 400,
    outage: Duration::from_secs(60),
    platform_outage: Duration::from_secs(60),
    kills: 60,
    calls: 100_000,
    register: Duration::from_secs(600),
    every_shape: true,
    lanes: 1,
};
