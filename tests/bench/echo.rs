//! What the vault is compared with: a bare tonic server that answers the vault's own messages and does nothing else, or
//! nothing but one read from a store. It is what `tonic-build` generates for one method, with every setting left alone.

use std::convert::Infallible;
use std::error::Error;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use redis::aio::MultiplexedConnection;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgSslMode};
use sqlx::{ConnectOptions as _, Row as _};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower_service::Service;
use vault_engine::pb::vault_v1::token_vault_server::SERVICE_NAME;
use vault_engine::pb::vault_v1::{GetTokenRequest, GetTokenResponse};

use crate::postgres_server::{PASSWORD, PostgresServer, USERNAME};
use crate::redis_server::{RedisOptions, RedisServer};
use crate::server::Server;
use crate::traffic::Connection;

/// What an echo reads before it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Behind {
    Nothing,
    /// One row by its primary key.
    Postgres {
        port: u16,
        database: String,
    },
    /// One value by its key.
    Redis {
        port: u16,
    },
}

/// A running echo.
pub(crate) struct Echo {
    pub(crate) server: Server,
    _redis: Option<RedisServer>,
}

#[derive(Clone)]
struct Answering {
    answer: Arc<GetTokenResponse>,
    store: Store,
}

#[derive(Clone)]
enum Store {
    None,
    Postgres(PgPool),
    Redis(MultiplexedConnection),
}

/// The key of the value in Redis.
const KEY: &str = "bench";

/// The row that is read, of as many as a vault has records; and reading it.
const ROW: i32 = 500;
const SELECT: &str = "SELECT value FROM bench WHERE id = $1";

/// Connections to PostgreSQL: as many as a vault has.
const CONNECTIONS: u32 = 10;

// === impl Behind ===

impl Behind {
    /// What was said on the command line.
    pub(crate) fn from_words(words: &[&str]) -> Result<Self, Box<dyn Error>> {
        match words {
            [] => Ok(Self::Nothing),
            ["postgres", port, database] => {
                Ok(Self::Postgres { port: port.parse()?, database: (*database).to_owned() })
            }
            ["redis", port] => Ok(Self::Redis { port: port.parse()? }),
            _ => Err("an echo reads nothing, or from `postgres PORT DATABASE` or `redis PORT`".into()),
        }
    }

    async fn connect(&self) -> Result<Store, Box<dyn Error>> {
        Ok(match self {
            Self::Nothing => Store::None,
            Self::Postgres { port, database } => {
                let options = PgConnectOptions::new_without_pgpass()
                    .host("127.0.0.1")
                    .port(*port)
                    .database(database)
                    .username(USERNAME)
                    .password(PASSWORD)
                    .ssl_mode(PgSslMode::Disable)
                    .disable_statement_logging();
                // By default the pool asks a connection whether it is there before it is lent: a second round trip.
                let pool = PgPoolOptions::new().max_connections(CONNECTIONS).test_before_acquire(false);
                Store::Postgres(pool.connect_with(options).await?)
            }
            Self::Redis { port } => {
                let client = redis::Client::open((Ipv4Addr::LOCALHOST.to_string(), *port))?;
                Store::Redis(client.get_multiplexed_async_connection().await?)
            }
        })
    }
}

// === impl Echo ===

impl Echo {
    /// On tokio's default runtime.
    pub(crate) fn on_default_runtime() -> Result<Self, Box<dyn Error>> {
        Ok(Self { server: Server::echo(&["serve-echo", "default"])?, _redis: None })
    }

    /// On the runtime the vault runs on.
    pub(crate) fn on_own_runtime() -> Result<Self, Box<dyn Error>> {
        Ok(Self { server: Server::echo(&["serve-echo", "own"])?, _redis: None })
    }

    /// The same, reading a value of so many bytes from Redis.
    pub(crate) fn over_redis(bytes: usize) -> Result<Self, Box<dyn Error>> {
        let redis = RedisServer::start(RedisOptions::default());
        redis.ask(&[b"SET", KEY.as_bytes(), "v".repeat(bytes).as_bytes()]);
        let server = Server::echo(&["serve-echo", "own", "redis", &redis.port().to_string()])?;
        Ok(Self { server, _redis: Some(redis) })
    }

    /// The same, reading a row of so many bytes from PostgreSQL.
    pub(crate) fn over_postgres(bytes: usize) -> Result<Self, Box<dyn Error>> {
        let server = PostgresServer::shared();
        let database = server.make_database();
        let table = format!(
            "CREATE TABLE bench (id int PRIMARY KEY, value bytea NOT NULL);
             ALTER TABLE bench ALTER COLUMN value SET STORAGE EXTERNAL;
             INSERT INTO bench SELECT id, decode(repeat('76', {bytes}), 'hex') FROM generate_series(0, 999) AS id;
             GRANT SELECT ON bench TO {USERNAME}"
        );
        server.ask(&database, &table);
        server.ask(&database, "VACUUM ANALYZE bench");
        let server = Server::echo(&["serve-echo", "own", "postgres", &server.port().to_string(), &database])?;
        Ok(Self { server, _redis: None })
    }
}

/// Serves until the process is killed; says on standard output where.
pub(crate) fn serve(runtime: &Runtime, behind: &Behind) -> Result<(), Box<dyn Error>> {
    runtime.block_on(async {
        let store = behind.connect().await?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        crate::say(format!("listening on http://{}", listener.local_addr()?));
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let answering = Answering { answer: Arc::new(Connection::of_user(0).answer()), store };
        let serving = tonic::transport::Server::builder().add_service(answering);
        Ok(serving.serve_with_incoming(incoming).await?)
    })
}

// === impl Answering ===

impl NamedService for Answering {
    const NAME: &'static str = SERVICE_NAME;
}

impl Service<http::Request<Body>> for Answering {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answering = self.clone();
        Box::pin(async move { Ok(Grpc::new(ProstCodec::default()).unary(answering, request).await) })
    }
}

impl UnaryService<GetTokenRequest> for Answering {
    type Response = GetTokenResponse;
    type Future = BoxFuture<'static, Result<Response<GetTokenResponse>, Status>>;

    fn call(&mut self, _: Request<GetTokenRequest>) -> Self::Future {
        let mut answering = self.clone();
        Box::pin(async move {
            if answering.store.read().await {
                Ok(Response::new(GetTokenResponse::clone(&answering.answer)))
            } else {
                Err(Status::unavailable("there is nothing in the store to read"))
            }
        })
    }
}

// === impl Store ===

impl Store {
    /// Whether there was anything.
    async fn read(&mut self) -> bool {
        match self {
            Self::None => true,
            Self::Postgres(pool) => {
                let found = sqlx::query(SELECT).bind(ROW).fetch_one(&*pool).await;
                found.is_ok_and(|row| row.try_get::<&[u8], _>(0).is_ok_and(|value| !value.is_empty()))
            }
            Self::Redis(connection) => {
                let found: Result<Vec<u8>, _> = redis::cmd("GET").arg(KEY).query_async(connection).await;
                found.is_ok_and(|value| !value.is_empty())
            }
        }
    }
}
