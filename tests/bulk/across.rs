//! One vault, moved and restored over every kind of store there is.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::dynamodb_server::{DynamoServer, Peer};
use crate::postgres_server::{PASSWORD, PostgresServer, USERNAME};
use crate::process::Ended;
use crate::redis_server::{RedisOptions, RedisServer};
use crate::site::Site;

const USERS: usize = 60;

/// Vaults over servers, beside the one over a file: `redis`, `postgres` and `dynamodb`, all of them empty.
struct Servers {
    site: Site,
    _redis: RedisServer,
}

// === impl Servers ===

impl Servers {
    /// With some users in `a`.
    async fn start() -> Self {
        let site = Site::new();
        site.import(USERS).await;
        let redis = RedisServer::start(RedisOptions { durable: true, ..RedisOptions::default() });
        site.add_over("redis", &format!("kind: redis, redis: {{ url: \"redis://127.0.0.1:{}\" }}", redis.port()));
        let postgres = PostgresServer::shared();
        let password = site.path("password");
        fs::write(&password, PASSWORD).unwrap();
        fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
        site.add_over(
            "postgres",
            &format!(
                "kind: postgres, postgres: {{ url: \"postgres://127.0.0.1:{}/{}\", username: {USERNAME}, \
                 sslmode: disable, password: {{ file: {} }} }}",
                postgres.port(),
                postgres.make_database(),
                password.display(),
            ),
        );
        let dynamo = DynamoServer::of(Peer::Local).await;
        site.add_over(
            "dynamodb",
            &format!(
                "kind: dynamodb, dynamodb: {{ table: {}, region: us-east-1, endpoint: \"http://127.0.0.1:{}\", \
                 timeouts: {{ command_ms: 3000 }} }}",
                dynamo.settings().table,
                dynamo.port(),
            ),
        );
        let servers = Self { site, _redis: redis };
        for vault in ["redis", "postgres", "dynamodb"] {
            servers.run(&format!("migrate --config {vault}.yaml")).await;
        }
        servers
    }

    /// Runs a line that has to succeed.
    async fn run(&self, line: &str) -> Ended {
        let command = self.site.command(line).env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
        let ended = command.run().await;
        assert_eq!(ended.code, Some(0), "{line}: {}", ended.stderr);
        ended
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vault_moves_through_every_kind_of_store_and_comes_home_as_it_was() {
    let servers = Servers::start().await;
    let site = &servers.site;
    site.add("home", "dev");
    let way = ["a", "redis", "dynamodb", "postgres", "home"];

    for leg in way.windows(2) {
        let told = servers.run(&format!("store copy --from {}.yaml --to {}.yaml", leg[0], leg[1])).await.stderr;
        let sums: Vec<_> = told.lines().filter_map(|line| line.split_once(" records, SHA-256 ")).collect();
        assert_eq!(sums.len(), 2, "{told}");
        assert_eq!(sums[0].1, sums[1].1, "{told}");
    }

    assert_eq!(site.everything("home").await, site.everything("a").await);
    let again = servers.run("import --config postgres.yaml --file tokens.jsonl").await;
    assert!(again.stderr.contains(&format!("0 imported, {USERS} unchanged")), "{}", again.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_is_restored_into_every_kind_of_store() {
    let servers = Servers::start().await;
    servers.site.export("backup").await;

    for vault in ["redis", "postgres", "dynamodb"] {
        servers.run(&format!("restore --config {vault}.yaml --in backup")).await;

        let told = servers.run(&format!("import --config {vault}.yaml --file tokens.jsonl")).await.stderr;
        assert!(told.contains(&format!("0 imported, {USERS} unchanged")), "{vault}: {told}");
        let home = format!("home-of-{vault}");
        servers.site.add(&home, "dev");
        servers.run(&format!("store copy --from {vault}.yaml --to {home}.yaml")).await;
        assert_eq!(servers.site.everything(&home).await, servers.site.everything("a").await, "{vault}");
    }
}
