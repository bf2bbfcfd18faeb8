//! One Redis server that writes to its disk before it acknowledges.

use async_trait::async_trait;

use super::ways::{Reached, Server};
use super::{Kind, NEAR_CACHE, Shape, Trouble};
use crate::redis_server::{RedisOptions, RedisServer};

struct Redis {
    reached: Reached<RedisServer>,
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
            let port = server.port();
            Box::new(Redis { reached: Reached::by(server, port, instances).await }) as Box<dyn Shape>
        })
    },
};

#[async_trait(?Send)]
impl Shape for Redis {
    fn section(&self, instance: usize) -> String {
        format!("kind: redis, redis: {{ url: \"redis://127.0.0.1:{}\" }}", self.reached.ways.port(instance))
    }

    async fn begin(&mut self, trouble: Trouble) {
        self.reached.begin(trouble);
    }

    async fn end(&mut self, trouble: Trouble) {
        self.reached.end(trouble);
    }

    fn asked(&self) -> Option<usize> {
        Some(self.reached.ways.asked())
    }
}

impl Server for RedisServer {
    fn kill(&mut self) {
        Self::kill(self);
    }

    fn restart(&mut self) {
        Self::restart(self);
    }

    fn pause(&self) {
        Self::pause(self);
    }

    fn resume(&self) {
        Self::resume(self);
    }
}
