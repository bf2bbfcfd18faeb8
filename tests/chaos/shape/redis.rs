//! One Redis server that writes to its disk before it acknowledges.

use async_trait::async_trait;

use super::ways::Ways;
use super::{Kind, NEAR_CACHE, Shape, Trouble};
use crate::redis_server::{RedisOptions, RedisServer};

struct Redis {
    server: RedisServer,
    ways: Ways,
}

pub(super) const KIND: Kind = Kind {
    name: "redis",
    instances: 3,
    troubles: &[Trouble::Down, Trouble::Paused, Trouble::Slow, Trouble::Partitioned],
    lag: NEAR_CACHE,
    own_driver: true,
    modesty: 1,
    start: |instances| {
        Box::pin(async move {
            let server = RedisServer::start(RedisOptions { durable: true, ..RedisOptions::default() });
            let ways = Ways::to(server.port(), instances).await;
            Box::new(Redis { server, ways }) as Box<dyn Shape>
        })
    },
};

#[async_trait(?Send)]
impl Shape for Redis {
    fn section(&self, instance: usize) -> String {
        format!("kind: redis, redis: {{ url: \"redis://127.0.0.1:{}\" }}", self.ways.port(instance))
    }

    async fn begin(&mut self, trouble: Trouble) {
        if self.ways.begin(trouble) {
            return;
        }
        match trouble {
            Trouble::Down => self.server.kill(),
            Trouble::Paused => self.server.pause(),
            Trouble::Slow | Trouble::Partitioned | Trouble::FailedOver | Trouble::Lagging => {
                unreachable!("not {trouble}")
            }
        }
    }

    async fn end(&mut self, trouble: Trouble) {
        if self.ways.end(trouble) {
            return;
        }
        match trouble {
            Trouble::Down => self.server.restart(),
            Trouble::Paused => self.server.resume(),
            Trouble::Slow | Trouble::Partitioned | Trouble::FailedOver | Trouble::Lagging => {
                unreachable!("not {trouble}")
            }
        }
    }

    fn asked(&self) -> Option<usize> {
        Some(self.ways.asked())
    }
}
