//! What an operator says about the Redis to use.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use super::startup::ConnectError;

/// Where Redis is, how to get in, and how long to wait for it.
#[derive(Debug, Clone)]
pub struct RedisSettings {
    /// Which servers there are.
    pub shape: Shape,
    /// The number of the database.
    pub database: u32,
    /// The ACL user; the default user when absent.
    pub username: Option<String>,
    /// The password.
    pub password: Option<SecretString>,
    /// With TLS, and how; in the clear when absent.
    pub tls: Option<TlsSettings>,
    /// What every key begins with: `<prefix>:{<partition>}:`.
    pub key_prefix: String,
    /// How many connections share the load.
    pub connections: usize,
    /// How long to wait for a connection that is ready to use.
    pub connect_timeout: Duration,
    /// How long a connection may owe an answer before it is given up.
    pub response_timeout: Duration,
    /// How long one call may take, connecting included.
    pub operation_timeout: Duration,
}

/// Which servers there are.
#[derive(Debug, Clone)]
pub enum Shape {
    /// One.
    Server(Endpoint),
    /// One primary at a time, which sentinels know.
    Sentinel(SentinelSettings),
    /// A cluster, of which these are some nodes.
    Cluster(Vec<Endpoint>),
}

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// The name or address.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Where the sentinels are, and how to get in.
#[derive(Debug, Clone)]
pub struct SentinelSettings {
    /// All of them.
    pub addresses: Vec<Endpoint>,
    /// What they call the primary.
    pub master_name: String,
    /// The ACL user of the sentinels; the default user when absent.
    pub username: Option<String>,
    /// The password of the sentinels.
    pub password: Option<SecretString>,
    /// With TLS, and how; in the clear when absent.
    pub tls: Option<TlsSettings>,
}

/// How the server proves who it is, and how the vault does.
#[derive(Debug, Clone, Default)]
pub struct TlsSettings {
    /// The authorities (PEM) the server's certificate must come from; those of the machine when absent.
    pub ca_file: Option<PathBuf>,
    /// What the vault shows the server.
    pub client: Option<ClientCertificate>,
}

/// A certificate and its key, both PEM.
#[derive(Debug, Clone)]
pub struct ClientCertificate {
    /// The certificate chain.
    pub cert_file: PathBuf,
    /// The private key.
    pub key_file: PathBuf,
}

// === impl RedisSettings ===

impl Default for RedisSettings {
    fn default() -> Self {
        Self {
            shape: Shape::Server(Endpoint { host: "127.0.0.1".to_owned(), port: 6379 }),
            database: 0,
            username: None,
            password: None,
            tls: None,
            key_prefix: "vault".to_owned(),
            connections: 2,
            connect_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_secs(1),
            operation_timeout: Duration::from_secs(2),
        }
    }
}

impl RedisSettings {
    /// The address, for messages.
    pub(super) fn address(&self) -> String {
        let list = |endpoints: &[Endpoint]| endpoints.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        match &self.shape {
            Shape::Server(endpoint) => endpoint.to_string(),
            Shape::Sentinel(sentinel) => format!("{} by {}", sentinel.master_name, list(&sentinel.addresses)),
            Shape::Cluster(seeds) => list(seeds),
        }
    }

    /// Refuses what cannot work.
    pub(super) fn check(&self) -> Result<(), ConnectError> {
        let fault = |field, fault| Err(ConnectError::Settings { field, fault });
        let in_prefix = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b':');
        let endpoints = match &self.shape {
            Shape::Server(endpoint) => std::slice::from_ref(endpoint),
            Shape::Sentinel(sentinel) => &sentinel.addresses,
            Shape::Cluster(seeds) => seeds,
        };
        if endpoints.is_empty() || endpoints.iter().any(|endpoint| endpoint.host.is_empty()) {
            return fault("host", "must not be empty");
        }
        if let Shape::Sentinel(sentinel) = &self.shape {
            if sentinel.master_name.is_empty() {
                return fault("master_name", "must not be empty");
            }
            if sentinel.username.is_some() && sentinel.password.is_none() {
                return fault("sentinel password", "must be given with a username");
            }
        }
        if matches!(self.shape, Shape::Cluster(_)) && self.database != 0 {
            return fault("database", "must be 0 in a cluster");
        }
        // A brace would begin another hash tag than the one around the partition.
        if self.key_prefix.is_empty() || !self.key_prefix.bytes().all(in_prefix) {
            return fault("key_prefix", "must be of A-Z a-z 0-9 . _ - :");
        }
        if self.connections == 0 || self.connections > 64 {
            return fault("connections", "must be between 1 and 64");
        }
        let limits = [
            ("connect_timeout", self.connect_timeout),
            ("response_timeout", self.response_timeout),
            ("operation_timeout", self.operation_timeout),
        ];
        for (field, limit) in limits {
            if limit.is_zero() || limit > Duration::from_mins(1) {
                return fault(field, "must be more than nothing and at most one minute");
            }
        }
        if self.username.is_some() && self.password.is_none() {
            return fault("password", "must be given with a username");
        }
        Ok(())
    }
}

// === impl Endpoint ===

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_work_are_refused_by_name() {
        let refused = |settings: RedisSettings| settings.check().unwrap_err().to_string();
        let sound = RedisSettings::default;
        assert!(refused(RedisSettings { key_prefix: "a{b".into(), ..sound() }).contains("`key_prefix`"));
        assert!(refused(RedisSettings { connections: 0, ..sound() }).contains("`connections`"));
        assert!(refused(RedisSettings { response_timeout: Duration::ZERO, ..sound() }).contains("`response_timeout`"));
        assert!(refused(RedisSettings { username: Some("u".into()), ..sound() }).contains("`password`"));
        assert!(sound().check().is_ok());
    }

    #[test]
    fn a_password_is_not_in_the_debug_output() {
        let settings = RedisSettings { password: Some("hunter2".to_owned().into()), ..RedisSettings::default() };
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
}
