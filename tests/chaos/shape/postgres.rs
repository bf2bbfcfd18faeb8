//! One PostgreSQL server that writes to its disk before it acknowledges.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use async_trait::async_trait;
use tempfile::TempDir;

use super::ways::Ways;
use super::{Kind, NEAR_CACHE, Shape, Trouble};
use crate::postgres_server::{PASSWORD, PostgresServer, USERNAME};

struct Postgres {
    server: PostgresServer,
    ways: Ways,
    database: String,
    /// Where the password is.
    folder: TempDir,
}

pub(super) const KIND: Kind = Kind {
    name: "postgres",
    instances: 3,
    troubles: &[Trouble::Down, Trouble::Paused, Trouble::Slow, Trouble::Partitioned],
    lag: NEAR_CACHE,
    own_driver: true,
    modesty: 1,
    start: |instances| {
        Box::pin(async move {
            let server = PostgresServer::start(&[]);
            let (database, folder) = (server.make_database(), tempfile::tempdir().unwrap());
            let password = folder.path().join("password");
            fs::write(&password, PASSWORD).unwrap();
            fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
            let ways = Ways::to(server.port(), instances).await;
            Box::new(Postgres { server, ways, database, folder }) as Box<dyn Shape>
        })
    },
};

#[async_trait(?Send)]
impl Shape for Postgres {
    fn section(&self, instance: usize) -> String {
        format!(
            "kind: postgres, postgres: {{ url: \"postgres://127.0.0.1:{}/{}\", username: {USERNAME}, sslmode: disable, \
             password: {{ file: {} }} }}",
            self.ways.port(instance),
            self.database,
            self.folder.path().join("password").display(),
        )
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
