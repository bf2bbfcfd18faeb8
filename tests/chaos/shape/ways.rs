//! The ways from the instances to a store of one server: a relay for each.

use std::time::Duration;

use futures_util::future::join_all;

use super::{SLOWNESS, Trouble};
use crate::relay::Relay;

/// One relay for each instance.
pub(crate) struct Ways(Vec<Relay>);

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
