//! One PostgreSQL server that writes to its disk before it acknowledges.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use async_trait::async_trait;
use tempfile::TempDir;

use super::ways::{Reached, Server};
use super::{Kind, NEAR_CACHE, Shape, Trouble};
use crate::postgres_server::{PASSWORD, PostgresServer, USERNAME};

struct Postgres {
    reached: Reached<PostgresServer>,
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
            let port = server.port();
            let reached = Reached::by(server, port, instances).await;
            Box::new(Postgres { reached, database, folder }) as Box<dyn Shape>
        })
    },
};

#[async_trait(?Send)]
impl Shape for Postgres {
    fn section(&self, instance: usize) -> String {
        format!(
            "kind: postgres, postgres: {{ url: \"postgres://127.0.0.1:{}/{}\", username: {USERNAME}, sslmode: disable, \
             password: {{ file: {} }} }}",
            self.reached.ways.port(instance),
            self.database,
            self.folder.path().join("password").display(),
        )
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

impl Server for PostgresServer {
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
