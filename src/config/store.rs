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
use super::{Context, path, private_file, secret};
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

/// One Redis server, or several.
#[derive(Debug)]
pub struct RedisConfig {
    /// Which servers.
    pub servers: RedisServersConfig,
    /// The ACL user.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<SecretString>,
    /// With TLS, and its files; `None`: in the clear.
    pub tls: Option<RedisTlsConfig>,
    /// What stands before every key.
    pub key_prefix: String,
    /// How many connections are kept open.
    pub connections: usize,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long one command may take.
    pub command_timeout: Duration,
}

/// Which Redis servers.
#[derive(Debug)]
pub enum RedisServersConfig {
    /// One, at `redis://host:port/database`, or `rediss://` for TLS. Never with credentials.
    Server {
        /// The address.
        url: String,
    },
    /// Whichever the sentinels name.
    Sentinel(RedisSentinelConfig),
    /// A cluster.
    Cluster {
        /// Some of its nodes.
        nodes: Vec<RedisNode>,
    },
}

/// The sentinels of a Redis primary.
#[derive(Debug)]
pub struct RedisSentinelConfig {
    /// All of them.
    pub nodes: Vec<RedisNode>,
    /// What they call the primary.
    pub master_name: String,
    /// The ACL user of the sentinels.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<SecretString>,
    /// With TLS, and its files; `None`: in the clear.
    pub tls: Option<RedisTlsConfig>,
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisNode {
    /// The name or address.
    pub host: String,
    /// The port.
    pub port: u16,
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

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Server,
    Sentinel,
    Cluster,
}

/// The longest that connecting and a command may take.
const LONGEST: Duration = Duration::from_mins(1);

/// The most nodes that may be named.
const NODES: usize = 64;

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
    let modes = [("server", Mode::Server), ("sentinel", Mode::Sentinel), ("cluster", Mode::Cluster)];
    let mode = section.optional("mode", |node| node.one_of(&modes)).unwrap_or(Mode::Server);
    let wanted = |which| matches!(kind, Kind::Redis) && mode == which;
    let url =
        if wanted(Mode::Server) { section.required("url", redis_url) } else { section.optional("url", redis_url) };
    let (username, password) = login(section, context);
    let tls = tls_of(section);
    let key_prefix = section.optional("key_prefix", key_prefix).unwrap_or_default();
    let connections = section.optional("connections", |node| node.number(1..=64)).unwrap_or(4);
    let (connect, command) = section.section("timeouts", timeouts).unwrap_or_default();
    if connect + command > LONGEST {
        section.fault("timeouts", "must be at most 60000 together", "");
    }
    let (by_sentinel, by_nodes) = (wanted(Mode::Sentinel), wanted(Mode::Cluster));
    let sentinel = section.section("sentinel", |section| sentinel(section, context, by_sentinel)).flatten();
    let cluster = section.section("cluster", |section| nodes(section, by_nodes)).flatten();
    let by_url = |url: &String| url.starts_with("rediss://");
    if mode == Mode::Server && tls.is_some() && url.as_ref().is_some_and(|url| !by_url(url)) {
        section.fault("tls", "is for connections with TLS, and `url` asks for one without", "write `rediss://`");
    }
    let with_tls = url.as_ref().is_some_and(by_url);
    let (servers, tls) = match mode {
        Mode::Server => (RedisServersConfig::Server { url: url? }, with_tls.then(|| tls.unwrap_or_default())),
        Mode::Sentinel => (RedisServersConfig::Sentinel(sentinel?), tls),
        Mode::Cluster => (RedisServersConfig::Cluster { nodes: cluster? }, tls),
    };
    Some(RedisConfig {
        servers,
        username,
        password,
        tls,
        key_prefix,
        connections: usize::try_from(connections).unwrap_or(1),
        connect_timeout: connect,
        command_timeout: command,
    })
}

fn sentinel(section: &mut Section<'_>, context: &Context<'_>, wanted: bool) -> Option<RedisSentinelConfig> {
    let nodes = nodes(section, wanted);
    let master_name =
        if wanted { section.required("master_name", Node::text) } else { section.optional("master_name", Node::text) };
    let (username, password) = login(section, context);
    let tls = tls_of(section);
    Some(RedisSentinelConfig { nodes: nodes?, master_name: master_name?.to_owned(), username, password, tls })
}

fn login(section: &mut Section<'_>, context: &Context<'_>) -> (Option<String>, Option<SecretString>) {
    let username = section.optional("username", Node::text).map(str::to_owned);
    let password = section.optional("password", |node| secret::fetch(node, context));
    if username.is_some() && password.is_none() {
        section.fault("username", "needs a `password`", "write `password: { file: /path }`");
    }
    (username, password)
}

fn nodes(section: &mut Section<'_>, wanted: bool) -> Option<Vec<RedisNode>> {
    let nodes = section.list("nodes", node);
    let given = nodes.is_some() || wanted;
    let nodes = nodes.filter(|nodes| (1..=NODES).contains(&nodes.len()));
    if given && nodes.is_none() {
        section.fault("nodes", format!("must be 1 to {NODES} addresses"), "write `[redis-1.example.com:6379]`");
    }
    nodes
}

fn node(node: Node<'_>) -> Result<RedisNode, Mismatch> {
    let shape = || Mismatch::new("must be a host and a port", "write `redis-1.example.com:6379`");
    let (host, port) = node.text()?.rsplit_once(':').ok_or_else(shape)?;
    let bare = host.trim_matches(['[', ']']);
    let host = Host::parse(host).map(|_| bare.to_owned()).map_err(|_| shape())?;
    Ok(RedisNode { host, port: port.parse().map_err(|_| shape())? })
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

/// Files for TLS, if TLS is asked for.
fn tls_of(section: &mut Section<'_>) -> Option<RedisTlsConfig> {
    let asked_for = section.has("tls");
    section.section("tls", tls).filter(|_| asked_for)
}

fn tls(section: &mut Section<'_>) -> RedisTlsConfig {
    let ca_file = section.optional("ca_file", path);
    let (cert, key) = (section.optional("cert_file", path), section.optional("key_file", private_file));
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
