//! What an operator says about the PostgreSQL to use, and the options every connection is made with.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::postgres::{PgArguments, PgConnectOptions, PgSslMode};
use sqlx::query::Query;
use sqlx::{ConnectOptions as _, Postgres};

use super::startup::ConnectError;
use super::statements::SESSION;

/// Where PostgreSQL is, how to get in, and how long to wait for it.
#[derive(Debug, Clone)]
pub struct PostgresSettings {
    /// The name or address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The name of the database.
    pub database: String,
    /// The user.
    pub username: String,
    /// The password.
    pub password: Option<SecretString>,
    /// With TLS, and how; in the clear when absent.
    pub tls: Option<TlsSettings>,
    /// The most connections that are open at once for calls; one more listens.
    pub max_connections: usize,
    /// How long to wait for a connection that is ready to use.
    pub connect_timeout: Duration,
    /// How long one statement may take.
    pub command_timeout: Duration,
}

/// How the server proves who it is, and how the vault does.
#[derive(Debug, Clone, Default)]
pub struct TlsSettings {
    /// What of the server's certificate is checked.
    pub verify: Verify,
    /// Authorities (PEM) the server's certificate may come from, beside those everybody trusts.
    pub ca_file: Option<PathBuf>,
    /// What the vault shows the server.
    pub client: Option<ClientCertificate>,
}

/// What of the server's certificate is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verify {
    /// That an authority signed it for this host.
    #[default]
    Full,
    /// That an authority signed it, for whatever host.
    Authority,
}

/// A certificate and its key, both PEM.
#[derive(Debug, Clone)]
pub struct ClientCertificate {
    /// The certificate chain.
    pub cert_file: PathBuf,
    /// The private key.
    pub key_file: PathBuf,
}

// === impl PostgresSettings ===

impl Default for PostgresSettings {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 5432,
            database: "vault".to_owned(),
            username: "vault".to_owned(),
            password: None,
            tls: None,
            max_connections: 10,
            connect_timeout: Duration::from_secs(2),
            command_timeout: Duration::from_secs(1),
        }
    }
}

impl PostgresSettings {
    /// The address, for messages.
    pub(super) fn address(&self) -> String {
        format!("{}:{}/{}", self.host, self.port, self.database)
    }

    /// Whether nobody else can be on the way.
    pub(super) fn is_on_this_machine(&self) -> bool {
        self.host == "localhost" || self.host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
    }

    /// Refuses what cannot work.
    pub(super) async fn check(&self) -> Result<(), ConnectError> {
        let fault = |field, fault| Err(ConnectError::Settings { field, fault });
        for (field, text) in [("host", &self.host), ("database", &self.database), ("username", &self.username)] {
            if text.is_empty() || text.contains('\0') {
                return fault(field, "must not be empty");
            }
        }
        if self.max_connections == 0 || self.max_connections > 1_000 {
            return fault("max_connections", "must be between 1 and 1000");
        }
        for (field, limit) in [("connect_timeout", self.connect_timeout), ("command_timeout", self.command_timeout)] {
            if limit.is_zero() || limit > Duration::from_mins(1) {
                return fault(field, "must be more than nothing and at most one minute");
            }
        }
        if let Some(tls) = &self.tls {
            let client = tls.client.iter().flat_map(|client| [&client.cert_file, &client.key_file]);
            for path in tls.ca_file.iter().chain(client) {
                readable(path).await?;
            }
        }
        Ok(())
    }

    /// What every session of ours begins with, in one round trip; the answer says whether the server is a standby.
    ///
    /// The server ends by itself what nobody waits for any more, and probes connections on which nothing happens: that
    /// keeps firewalls from forgetting them, and it notices a vault that vanished. All this could be said in the message
    /// that opens a connection, and then poolers refuse it.
    pub(super) fn session(&self) -> Query<'static, Postgres, PgArguments> {
        sqlx::query(SESSION).bind(self.command_timeout.as_millis().to_string())
    }

    /// How connections are made. To change the schema takes as long as it takes, so no time limits are in this.
    pub(super) fn options(&self) -> PgConnectOptions {
        let mut options = PgConnectOptions::new_without_pgpass()
            .host(&self.host)
            .port(self.port)
            .database(&self.database)
            .username(&self.username)
            .application_name("vault-engine")
            // For numbers that are not whole, of which there are none here; a pooler does not know it.
            .extra_float_digits(None)
            .ssl_mode(PgSslMode::Disable)
            .disable_statement_logging();
        if let Some(password) = &self.password {
            options = options.password(password.expose_secret());
        }
        let Some(tls) = &self.tls else { return options };
        options = options.ssl_mode(match tls.verify {
            Verify::Full => PgSslMode::VerifyFull,
            Verify::Authority => PgSslMode::VerifyCa,
        });
        if let Some(ca_file) = &tls.ca_file {
            options = options.ssl_root_cert(ca_file);
        }
        match &tls.client {
            Some(client) => options.ssl_client_cert(&client.cert_file).ssl_client_key(&client.key_file),
            None => options,
        }
    }
}

async fn readable(path: &Path) -> Result<(), ConnectError> {
    let read = tokio::fs::read(path).await;
    read.map(drop).map_err(|source| ConnectError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn settings_that_cannot_work_are_refused_by_name() {
        let refused = async |settings: PostgresSettings| settings.check().await.unwrap_err().to_string();
        let sound = PostgresSettings::default;
        assert!(refused(PostgresSettings { host: String::new(), ..sound() }).await.contains("`host`"));
        assert!(refused(PostgresSettings { max_connections: 0, ..sound() }).await.contains("`max_connections`"));
        let endless = PostgresSettings { command_timeout: Duration::ZERO, ..sound() };
        assert!(refused(endless).await.contains("`command_timeout`"));
        let tls = TlsSettings { ca_file: Some("/nowhere/ca.pem".into()), ..TlsSettings::default() };
        assert!(refused(PostgresSettings { tls: Some(tls), ..sound() }).await.contains("/nowhere/ca.pem"));
        assert!(sound().check().await.is_ok());
    }

    #[test]
    fn with_tls_the_server_always_has_to_prove_who_it_is() {
        let with = |tls| PostgresSettings { tls, ..PostgresSettings::default() }.options().get_ssl_mode();
        assert!(matches!(with(Some(TlsSettings::default())), PgSslMode::VerifyFull));
        let authority = TlsSettings { verify: Verify::Authority, ..TlsSettings::default() };
        assert!(matches!(with(Some(authority)), PgSslMode::VerifyCa));
        assert!(matches!(with(None), PgSslMode::Disable));
    }

    #[test]
    fn a_password_is_not_in_the_debug_output() {
        let settings = PostgresSettings { password: Some("hunter2".to_owned().into()), ..PostgresSettings::default() };
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
}
