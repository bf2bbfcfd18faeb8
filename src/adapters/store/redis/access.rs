//! How to get in: what every connection of one installation has in common, whichever server it leads to.

use std::path::Path;
use std::time::Duration;

use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo as _, ProtocolVersion, RedisConnectionInfo,
    RedisError, TlsCertificates,
};
use secrecy::{ExposeSecret as _, SecretString};

use super::settings::{RedisSettings, SentinelSettings, TlsSettings};
use super::startup::ConnectError;

/// How many requests may wait for one connection's writer before a caller waits too. The driver's default of 50 makes
/// callers queue long before a connection is busy.
const PIPELINE_BUFFER: usize = 1_024;

/// What opens connections.
pub(super) struct Access {
    redis: RedisConnectionInfo,
    tls: Option<TlsCertificates>,
    tcp: TcpSettings,
    connect_timeout: Duration,
}

// === impl Access ===

impl Access {
    /// To the servers that keep the records. Reads the TLS files.
    pub(super) async fn to_records(settings: &RedisSettings) -> Result<Self, ConnectError> {
        let redis = login(settings.username.as_deref(), settings.password.as_ref());
        Self::new(settings, redis.set_db(i64::from(settings.database)), settings.tls.as_ref()).await
    }

    /// To the sentinels.
    pub(super) async fn to_sentinels(
        settings: &RedisSettings,
        sentinel: &SentinelSettings,
    ) -> Result<Self, ConnectError> {
        let login = login(sentinel.username.as_deref(), sentinel.password.as_ref());
        Self::new(settings, login, sentinel.tls.as_ref()).await
    }

    async fn new(
        settings: &RedisSettings,
        redis: RedisConnectionInfo,
        tls: Option<&TlsSettings>,
    ) -> Result<Self, ConnectError> {
        let tls = match tls {
            Some(tls) => Some(certificates(tls).await?),
            None => None,
        };
        let tcp = tcp_settings(settings.operation_timeout);
        Ok(Self { redis, tls, tcp, connect_timeout: settings.connect_timeout })
    }

    /// What opens connections to this server.
    pub(super) fn client(&self, host: &str, port: u16, protocol: ProtocolVersion) -> Result<Client, RedisError> {
        let host = host.to_owned();
        let address = match self.tls {
            None => ConnectionAddr::Tcp(host, port),
            Some(_) => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        };
        let info = address
            .into_connection_info()?
            .set_redis_settings(self.redis.clone().set_protocol(protocol))
            .set_tcp_settings(self.tcp.clone());
        match &self.tls {
            None => Client::open(info),
            Some(tls) => Client::build_with_tls(info, tls.clone()),
        }
    }

    /// How each connection behaves. How long an answer is waited for is the business of whoever asks.
    pub(super) fn config(&self) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_timeout))
            .set_response_timeout(None)
            .set_pipeline_buffer_size(PIPELINE_BUFFER)
    }
}

fn login(username: Option<&str>, password: Option<&SecretString>) -> RedisConnectionInfo {
    let mut login = RedisConnectionInfo::default().set_skip_set_lib_name();
    if let Some(username) = username {
        login = login.set_username(username);
    }
    if let Some(password) = password {
        login = login.set_password(password.expose_secret());
    }
    login
}

async fn certificates(tls: &TlsSettings) -> Result<TlsCertificates, ConnectError> {
    let root_cert = match &tls.ca_file {
        Some(path) => Some(read(path).await?),
        None => None,
    };
    let client_tls = match &tls.client {
        Some(client) => Some(redis::ClientTlsConfig {
            client_cert: read(&client.cert_file).await?,
            client_key: read(&client.key_file).await?,
        }),
        None => None,
    };
    Ok(TlsCertificates { client_tls, root_cert })
}

/// None of this is on by default. Without it a peer that vanished is noticed after some fifteen minutes of
/// retransmission, an idle connection that a firewall forgot is noticed never, and small requests wait for each other.
fn tcp_settings(unacknowledged: Duration) -> TcpSettings {
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(15)).with_interval(Duration::from_secs(5)).with_retries(3);
    TcpSettings::default().set_nodelay(true).set_keepalive(keepalive).set_user_timeout(unacknowledged)
}

async fn read(path: &Path) -> Result<Vec<u8>, ConnectError> {
    tokio::fs::read(path).await.map_err(|source| ConnectError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_notices_that_its_peer_is_gone() {
        let access = Access::to_records(&RedisSettings::default()).await.unwrap();
        let client = access.client("127.0.0.1", 6379, ProtocolVersion::RESP2).unwrap();
        let tcp = client.get_connection_info().tcp_settings();
        assert!(tcp.nodelay());
        assert!(tcp.keepalive().is_some());
        assert_eq!(tcp.user_timeout(), Some(Duration::from_secs(2)));
    }
}
