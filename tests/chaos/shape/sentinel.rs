//! A Redis primary and two replicas, watched by three sentinels. They tell their addresses themselves, so nothing stands
//! on the way to them: what happens here happens to the servers.

use async_trait::async_trait;

use super::{Kind, NEAR_CACHE, Shape, Trouble};
use crate::eventually::eventually;
use crate::redis_server::RedisServer;
use crate::redis_shapes::{MASTER_NAME, Watched};

struct Sentinel {
    together: Watched,
    /// The server that was the primary when the trouble began.
    hit: usize,
}

pub(super) const KIND: Kind = Kind {
    name: "redis sentinel",
    instances: 3,
    troubles: &[Trouble::Down, Trouble::Paused, Trouble::FailedOver, Trouble::Lagging],
    lag: NEAR_CACHE,
    own_driver: false,
    modesty: 1,
    start: |_| {
        Box::pin(async move {
            Box::new(Sentinel { together: Watched::start_with(2, None).await, hit: 0 }) as Box<dyn Shape>
        })
    },
};

// === impl Sentinel ===

impl Sentinel {
    async fn primary(&self) -> usize {
        eventually("there is a primary", async || self.together.primary()).await
    }
}

#[async_trait(?Send)]
impl Shape for Sentinel {
    fn section(&self, _: usize) -> String {
        let nodes: Vec<String> =
            self.together.sentinels.iter().map(|sentinel| format!("\"127.0.0.1:{}\"", sentinel.port())).collect();
        format!(
            "kind: redis, redis: {{ mode: sentinel, sentinel: {{ nodes: [{}], master_name: {MASTER_NAME} }} }}",
            nodes.join(", ")
        )
    }

    async fn begin(&mut self, trouble: Trouble) {
        self.hit = self.primary().await;
        match trouble {
            Trouble::Down => self.together.servers.iter_mut().for_each(RedisServer::kill),
            Trouble::Paused => self.together.servers[self.hit].pause(),
            Trouble::FailedOver => self.together.servers[self.hit].kill(),
            Trouble::Lagging => super::forsake_replicas(&self.together.servers[self.hit]),
            Trouble::Slow | Trouble::Partitioned => unreachable!("not {trouble}"),
        }
    }

    async fn end(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::Down => self.together.servers.iter_mut().for_each(RedisServer::restart),
            Trouble::Paused => self.together.servers[self.hit].resume(),
            Trouble::FailedOver => {
                let promoted = async || self.together.primary().filter(|primary| *primary != self.hit);
                eventually("a replica is promoted", promoted).await;
                // It still takes itself for the primary, until somebody tells it.
                self.together.servers[self.hit].restart();
            }
            Trouble::Lagging => super::take_replicas(&self.together.servers[self.hit]),
            Trouble::Slow | Trouble::Partitioned => unreachable!("not {trouble}"),
        }
        if trouble != Trouble::Lagging {
            self.primary().await;
        }
    }

    fn asked(&self) -> Option<usize> {
        None
    }
}
