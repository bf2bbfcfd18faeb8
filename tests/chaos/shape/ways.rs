//! The ways from the instances to a store of one server: a relay for each.

use std::time::Duration;

use futures_util::future::join_all;

use super::{SLOWNESS, Trouble};
use crate::relay::Relay;

/// One relay for each instance.
pub(crate) struct Ways(Vec<Relay>);

/// A process that can be ended, and stopped in its tracks.
pub(crate) trait Server {
    fn kill(&mut self);
    fn restart(&mut self);
    fn pause(&self);
    fn resume(&self);
}

/// A server, and the ways to it.
pub(crate) struct Reached<S> {
    server: S,
    pub(crate) ways: Ways,
}

// === impl Ways ===

impl Ways {
    pub(crate) async fn to(port: u16, instances: usize) -> Self {
        Self(join_all((0..instances).map(|_| Relay::to(port))).await)
    }

    /// Where an instance finds the server.
    pub(crate) fn port(&self, instance: usize) -> u16 {
        self.0[instance].port()
    }

    pub(crate) fn asked(&self) -> usize {
        self.0.iter().map(Relay::asked).sum()
    }

    /// Makes the trouble that is made on the way; `false`: that one is made at the server.
    pub(crate) fn begin(&self, trouble: Trouble) -> bool {
        match trouble {
            Trouble::Slow => self.0.iter().for_each(|relay| relay.delay(SLOWNESS)),
            Trouble::Partitioned => self.0[0].cut(),
            Trouble::Down | Trouble::Paused | Trouble::FailedOver | Trouble::Lagging => return false,
        }
        true
    }

    pub(crate) fn end(&self, trouble: Trouble) -> bool {
        match trouble {
            Trouble::Slow => self.0.iter().for_each(|relay| relay.delay(Duration::ZERO)),
            Trouble::Partitioned => self.0[0].mend(),
            Trouble::Down | Trouble::Paused | Trouble::FailedOver | Trouble::Lagging => return false,
        }
        true
    }
}

// === impl Reached ===

impl<S: Server> Reached<S> {
    pub(crate) async fn by(server: S, port: u16, instances: usize) -> Self {
        Self { server, ways: Ways::to(port, instances).await }
    }

    pub(crate) fn begin(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::Down => self.server.kill(),
            Trouble::Paused => self.server.pause(),
            _ => assert!(self.ways.begin(trouble), "nobody can make it {trouble}"),
        }
    }

    pub(crate) fn end(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::Down => self.server.restart(),
            Trouble::Paused => self.server.resume(),
            _ => assert!(self.ways.end(trouble), "nobody can make it {trouble}"),
        }
    }
}
