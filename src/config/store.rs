//! Where records are kept.

mod dynamodb;
mod postgres;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use url::{Host, Url};

pub use self::dynamodb::DynamoConfig;
pub use self::postgres::{PostgresConfig, PostgresTlsConfig};
use super::{Context, path, secret};
use crate::document::{Mismatch, Node, Section};

/// Where records are kept.
#[derive(Debug)]
pub enum StoreConfig {
    /// In a file of this machine.
    Embedded {
        /// The file.
        path: PathBuf,
    },
    /// In DynamoDB.
    Dynamodb(Box<DynamoConfig>),
    /// In PostgreSQL.
    Postgres(Box<PostgresConfig>),
    /// In Redis.
    Redis(Box<RedisConfig>),
}

/// A Redis server.
#[derive(Debug)]
pub struct RedisConfig {
    /// `redis://host:port/database`, or `rediss://` for TLS. Never with credentials.
    pub url: String,
    /// The ACL user.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<SecretString>,
    /// Files for TLS.
    pub tls: RedisTlsConfig,
    /// What stands before every key.
    pub key_prefix: String,
    /// How many connections are kept open.
    pub connections: usize,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long one command may take.
    pub command_timeout: Duration,
}

/// Files for TLS to Redis, in PEM.
#[derive(Debug, Clone, Default)]
pub struct RedisTlsConfig {
    /// The authority that signed the server's certificate, if the system does not know it.
    pub ca_file: Option<PathBuf>,
    /// The certificate this client presents, and its key.
    pub client: Option<(PathBuf, PathBuf)>,
}

#[derive(Clone, Copy)]
enum Kind {
    Dynamodb,
    Embedded,
    Postgres,
    Redis,
}

pub(super) fn read(section: &mut Section<'_>, context: &Context<'_>) -> Option<StoreConfig> {
    let kinds = [
        ("dynamodb", Kind::Dynamodb),
        ("embedded", Kind::Embedded),
        ("postgres", Kind::Postgres),
        ("redis", Kind::Redis),
    ];
    let kind = section.optional("kind", |node| node.one_of(&kinds)).unwrap_or(Kind::Embedded);
    let file = section.section("embedded", |section| section.optional("path", path)).flatten();
    let dynamodb = section.section("dynamodb", |section| dynamodb::read(section, context, kind)).flatten();
    let postgres = section.section("postgres", |section| postgres::read(section, context, kind)).flatten();
    let redis = section.section("redis", |section| redis(section, context, kind)).flatten();
    match kind {
        Kind::Dynamodb => dynamodb.map(|dynamodb| StoreConfig::Dynamodb(Box::new(dynamodb))),
        Kind::Embedded => {
            Some(StoreConfig::Embedded { path: file.unwrap_or_else(|| context.data_dir.join("vault.redb")) })
        }
        Kind::Postgres => postgres.map(|postgres| StoreConfig::Postgres(Box::new(postgres))),
        Kind::Redis => redis.map(|redis| StoreConfig::Redis(Box::new(redis))),
    }
}

fn redis(section: &mut Section<'_>, context: &Context<'_>, kind: Kind) -> Option<RedisConfig> {
    let url = match kind {
        Kind::Dynamodb | Kind::Embedded | Kind::Postgres => section.optional("url", redis_url),
        Kind::Redis => section.required("url", redis_url),
    };
    let username = section.optional("username", Node::text).map(str::to_owned);
    let password = section.optional("password", |node| secret::fetch(node, context));
    let tls = section.section("tls", tls).unwrap_or_default();
    let key_prefix = section.optional("key_prefix", key_prefix).unwrap_or_default();
    let connections = section.optional("connections", |node| node.number(1..=256)).unwrap_or(4);
    let (connect, command) = section.section("timeouts", timeouts).unwrap_or_default();
    if section.has("tls") && url.as_ref().is_some_and(|url| url.starts_with("redis://")) {
        section.fault("tls", "is for connections with TLS, and `url` asks for one without", "write `rediss://`");
    }
    if username.is_some() && password.is_none() {
        section.fault("username", "needs a `password`", "write `password: { file: /path }`");
    }
    Some(RedisConfig {
        url: url?,
        username,
        password,
        tls,
        key_prefix,
        connections: usize::try_from(connections).unwrap_or(1),
        connect_timeout: connect,
        command_timeout: command,
    })
}

fn redis_url(node: Node<'_>) -> Result<String, Mismatch> {
    let text = node.text()?;
    let shape = || Mismatch::new("must be the address of a Redis server", "write `rediss://redis.example.com:6379/0`");
    let url = Url::parse(text).map_err(|_| shape())?;
    if !url.username().is_empty() || url.password().is_some() {
        let hint = "use `username` and `password: { file: /path }`";
        return Err(Mismatch::new("must not carry credentials", hint));
    }
    match (url.scheme(), url.host()) {
        ("redis" | "rediss", Some(_)) if url.query().is_none() && url.fragment().is_none() => Ok(text.to_owned()),
        _ => Err(shape()),
    }
}

fn key_prefix(node: Node<'_>) -> Result<String, Mismatch> {
    let text = node.text()?;
    // Braces would choose the cluster slot in place of the user.
    let plain =
        text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b':' | b'_' | b'-' | b'.'));
    if plain { Ok(text.to_owned()) } else { Err(Mismatch::new("must be at most 64 of A-Z a-z 0-9 : _ - .", "")) }
}

fn tls(section: &mut Section<'_>) -> RedisTlsConfig {
    let ca_file = section.optional("ca_file", path);
    let (cert, key) = (section.optional("cert_file", path), section.optional("key_file", path));
    if cert.is_some() != key.is_some() {
        section.fault("", "needs `cert_file` and `key_file` together", "");
    }
    RedisTlsConfig { ca_file, client: cert.zip(key) }
}

fn timeouts(section: &mut Section<'_>) -> (Duration, Duration) {
    let mut millis = |key: &str, default: u64| {
        Duration::from_millis(section.optional(key, |node| node.number(10..=60_000)).unwrap_or(default))
    };
    (millis("connect_ms", 2_000), millis("command_ms", 1_000))
}

/// Whether a URL leads to this machine only.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    }
}
