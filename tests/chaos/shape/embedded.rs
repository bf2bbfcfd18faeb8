//! The embedded store: a file of one instance. What can happen to it is what happens to its instance.

use std::time::Duration;

use async_trait::async_trait;
use tempfile::TempDir;

use super::{Kind, Shape, Trouble};

struct Embedded(TempDir);

pub(super) const KIND: Kind = Kind {
    name: "embedded",
    instances: 1,
    troubles: &[],
    lag: Duration::ZERO,
    own_driver: true,
    modesty: 1,
    start: |_| Box::pin(async { Box::new(Embedded(tempfile::tempdir().unwrap())) as Box<dyn Shape> }),
};

#[async_trait(?Send)]
impl Shape for Embedded {
    fn section(&self, _: usize) -> String {
        format!("kind: embedded, embedded: {{ path: {} }}", self.0.path().join("vault.redb").display())
    }

    async fn begin(&mut self, trouble: Trouble) {
        unreachable!("nobody can make it {trouble}")
    }

    async fn end(&mut self, trouble: Trouble) {
        unreachable!("nobody can make it {trouble}")
    }

    fn asked(&self) -> Option<usize> {
        None
    }
}
