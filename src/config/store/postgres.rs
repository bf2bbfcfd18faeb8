//! A PostgreSQL server to keep records in.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;

use super::{Kind, timeouts};
use crate::config::{Context, path, private_file, secret};
use crate::document::{Mismatch, Node, Section};

/// A PostgreSQL server.
#[derive(Debug)]
pub struct PostgresConfig {
    /// The name or address of the server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The name of the database.
    pub database: String,
    /// The user.
    pub username: String,
    /// Its password.
    pub password: Option<SecretString>,
    /// TLS; `None`: in the clear.
    pub tls: Option<PostgresTlsConfig>,
    /// The most connections that are open at once.
    pub max_connections: usize,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long one statement may take.
    pub command_timeout: Duration,
}

/// TLS to PostgreSQL. Files are in PEM.
#[derive(Debug, Clone, Default)]
pub struct PostgresTlsConfig {
    /// Whether the certificate may be for another host.
    pub any_host: bool,
    /// An authority that may have signed the server's certificate.
    pub ca_file: Option<PathBuf>,
    /// The certificate this client presents, and its key.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// Where to connect.
struct Place {
    host: String,
    port: u16,
    database: String,
}

#[derive(Clone, Copy, PartialEq)]
enum SslMode {
    Disable,
    VerifyCa,
    VerifyFull,
}

pub(super) fn read(section: &mut Section<'_>, context: &Context<'_>, kind: Kind) -> Option<PostgresConfig> {
    let place = match kind {
        Kind::Postgres => section.required("url", place),
        Kind::Dynamodb | Kind::Embedded | Kind::Redis => section.optional("url", place),
    };
    let username = section.optional("username", name).unwrap_or_else(|| "vault".to_owned());
    let password = section.optional("password", |node| secret::fetch(node, context));
    // What merely encrypts, without asking who is there, is not among them.
    let modes = [("verify-full", SslMode::VerifyFull), ("verify-ca", SslMode::VerifyCa), ("disable", SslMode::Disable)];
    let mode = section.optional("sslmode", |node| node.one_of(&modes)).unwrap_or(SslMode::VerifyFull);
    let tls = section.section("tls", |section| tls(section, mode)).unwrap_or_default();
    let tls = PostgresTlsConfig { any_host: mode == SslMode::VerifyCa, ..tls };
    let max_connections = section.optional("max_connections", |node| node.number(1..=1_000)).unwrap_or(10);
    let (connect_timeout, command_timeout) = section.section("timeouts", timeouts).unwrap_or_default();
    if section.has("tls") && mode == SslMode::Disable {
        section.fault("tls", "is for connections with TLS, and `sslmode` asks for one without", "");
    }
    let Place { host, port, database } = place?;
    Some(PostgresConfig {
        host,
        port,
        database,
        username,
        password,
        tls: (mode != SslMode::Disable).then_some(tls),
        max_connections: usize::try_from(max_connections).unwrap_or(1),
        connect_timeout,
        command_timeout,
    })
}

fn place(node: Node<'_>) -> Result<Place, Mismatch> {
    let shape = || {
        let hint = "write `postgres://postgres.example.com:5432/vault`";
        Mismatch::new("must be the address of a PostgreSQL database, without anything behind its name", hint)
    };
    let url = Url::parse(node.text()?).map_err(|_| shape())?;
    if !url.username().is_empty() || url.password().is_some() {
        let hint = "use `username` and `password: { file: /path }`";
        return Err(Mismatch::new("must not carry credentials", hint));
    }
    let plain = matches!(url.scheme(), "postgres" | "postgresql") && url.query().is_none() && url.fragment().is_none();
    let database = url.path().trim_start_matches('/');
    match url.host_str() {
        Some(host) if plain && !host.is_empty() && is_name(database) => Ok(Place {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: url.port().unwrap_or(5_432),
            database: database.to_owned(),
        }),
        Some(_) | None => Err(shape()),
    }
}

fn name(node: Node<'_>) -> Result<String, Mismatch> {
    let text = node.text()?;
    if text.is_empty() || text.len() > 63 || text.contains('\0') {
        return Err(Mismatch::new("must be a name of at most 63 bytes", ""));
    }
    Ok(text.to_owned())
}

/// What needs no escape in a URL.
fn is_name(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'$'))
}

fn tls(section: &mut Section<'_>, mode: SslMode) -> PostgresTlsConfig {
    let ca_file = section.optional("ca_file", path);
    let (cert, key) = (section.optional("cert_file", path), section.optional("key_file", private_file));
    if cert.is_some() != key.is_some() {
        section.fault("", "needs `cert_file` and `key_file` together", "");
    }
    PostgresTlsConfig { any_host: mode == SslMode::VerifyCa, ca_file, client: cert.zip(key) }
}
