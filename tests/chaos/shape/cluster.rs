//! A Redis cluster of three primaries with a replica each. The nodes tell their addresses themselves, so nothing stands on
//! the way to them: what happens here happens to the nodes.

use async_trait::async_trait;

use super::{Kind, NEAR_CACHE, Shape, Trouble};
use crate::eventually::eventually;
use crate::redis_server::RedisServer;
use crate::redis_shapes::{Nodes, claims};
use crate::world::canary_partition;

struct Cluster {
    together: Nodes,
    /// The slot of the user whom everybody asks for: what happens to one node happens to the one that has it.
    slot: u16,
    /// The node that had it when the trouble began.
    hit: usize,
}

pub(super) const KIND: Kind = Kind {
    name: "redis cluster",
    instances: 3,
    troubles: &[Trouble::Down, Trouble::Paused, Trouble::FailedOver, Trouble::Lagging],
    lag: NEAR_CACHE,
    own_driver: false,
    modesty: 1,
    start: |_| {
        Box::pin(async move {
            let together = Nodes::start().await;
            let key = format!("vault:{{{}}}:", canary_partition());
            let slot = together.nodes[0].ask(&[b"CLUSTER", b"KEYSLOT", key.as_bytes()]).parse().unwrap();
            Box::new(Cluster { together, slot, hit: 0 }) as Box<dyn Shape>
        })
    },
};

// === impl Cluster ===

impl Cluster {
    /// Waits until the slot has a primary, and all nodes but this one say that all slots have one.
    async fn settled(&self, without: Option<usize>) {
        let others = || self.together.nodes.iter().enumerate().filter(|(number, _)| Some(*number) != without);
        let works = |node: &RedisServer| node.ask(&[b"CLUSTER", b"INFO"]).contains("cluster_state:ok");
        eventually("the cluster works", async || {
            let claimed = others().any(|(_, node)| claims(&node.ask(&[b"CLUSTER", b"NODES"]), self.slot));
            (claimed && others().all(|(_, node)| works(node))).then_some(())
        })
        .await;
    }
}

#[async_trait(?Send)]
impl Shape for Cluster {
    fn section(&self, _: usize) -> String {
        let nodes: Vec<String> =
            self.together.nodes.iter().map(|node| format!("\"127.0.0.1:{}\"", node.port())).collect();
        format!("kind: redis, redis: {{ mode: cluster, cluster: {{ nodes: [{}] }} }}", nodes.join(", "))
    }

    async fn begin(&mut self, trouble: Trouble) {
        self.hit = self.together.owner_of(self.slot);
        match trouble {
            Trouble::Down => self.together.nodes.iter_mut().for_each(RedisServer::kill),
            Trouble::Paused => self.together.nodes[self.hit].pause(),
            Trouble::FailedOver => self.together.nodes[self.hit].kill(),
            Trouble::Lagging => super::forsake_replicas(&self.together.nodes[self.hit]),
            Trouble::Slow | Trouble::Partitioned => unreachable!("not {trouble}"),
        }
    }

    async fn end(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::Down => {
                self.together.nodes.iter_mut().for_each(RedisServer::restart);
                self.settled(None).await;
            }
            Trouble::Paused => {
                self.together.nodes[self.hit].resume();
                self.settled(None).await;
            }
            Trouble::FailedOver => {
                self.settled(Some(self.hit)).await;
                // It still takes itself for the primary, until somebody tells it.
                self.together.nodes[self.hit].restart();
            }
            Trouble::Lagging => super::take_replicas(&self.together.nodes[self.hit]),
            Trouble::Slow | Trouble::Partitioned => unreachable!("not {trouble}"),
        }
    }

    fn asked(&self) -> Option<usize> {
        None
    }
}
