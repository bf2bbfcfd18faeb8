//! A table of Amazon's own DynamoDB for developers. It keeps everything in memory, so it cannot be killed; what happens to
//! it happens on the way.

use async_trait::async_trait;

use super::ways::Ways;
use super::{Kind, NEAR_CACHE, Shape, Trouble};
use crate::dynamodb_server::{DynamoServer, Peer};

struct Dynamo {
    ways: Ways,
    table: String,
}

pub(super) const KIND: Kind = Kind {
    name: "dynamodb",
    instances: 3,
    troubles: &[Trouble::Slow, Trouble::Partitioned],
    lag: NEAR_CACHE,
    own_driver: true,
    modesty: 4,
    start: |instances| {
        Box::pin(async move {
            let server = DynamoServer::of(Peer::Local).await;
            let (ways, table) = (Ways::to(server.port(), instances).await, server.settings().table);
            Box::new(Dynamo { ways, table }) as Box<dyn Shape>
        })
    },
};

#[async_trait(?Send)]
impl Shape for Dynamo {
    fn section(&self, instance: usize) -> String {
        let (table, port) = (&self.table, self.ways.port(instance));
        // Java warms up, and machines that test are busy.
        format!(
            "kind: dynamodb, dynamodb: {{ table: {table}, region: us-east-1, endpoint: \"http://127.0.0.1:{port}\", \
             timeouts: {{ command_ms: 3000 }} }}"
        )
    }

    fn environment(&self) -> &'static [(&'static str, &'static str)] {
        &[("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")]
    }

    async fn begin(&mut self, trouble: Trouble) {
        assert!(self.ways.begin(trouble), "nobody can make it {trouble}");
    }

    async fn end(&mut self, trouble: Trouble) {
        assert!(self.ways.end(trouble), "nobody can make it {trouble}");
    }

    fn asked(&self) -> Option<usize> {
        Some(self.ways.asked())
    }
}
