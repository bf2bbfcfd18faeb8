//! The gRPC server: the services, the layers in front of them, and the limits of a connection.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::interceptor::InterceptedService;
use tonic_health::server::HealthReporter;

use super::admin::AdminApi;
use super::context::ContextLayer;
use super::credentials::TakeCredentials;
use super::direct::DirectLayer;
use super::listener::Listener;
use super::socket::Patience;
use super::tls::CurrentTls;
use super::token_vault::TokenVaultApi;
use crate::access::Guard;
use crate::pb::DESCRIPTORS;
use crate::pb::vault_v1::admin_server::AdminServer;
use crate::pb::vault_v1::token_vault_server::TokenVaultServer;

/// A bound server that has not begun to serve.
pub struct Server {
    listener: TcpListener,
    guard: Arc<Guard>,
    reflection: Reflection,
    limits: ServerLimits,
    instance: u64,
    health: HealthReporter,
    tls: Option<CurrentTls>,
}

/// Whether the server describes itself to anybody who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reflection {
    /// It does: for development.
    On,
    /// It does not.
    Off,
}

/// How long written answers get to reach the network before connections are cut.
const FLUSH: Duration = Duration::from_millis(250);

/// The most connections there is ever room for, however many files the process may open.
const CONNECTIONS: u64 = 10_000;

/// How many open connections there may be, and what one may ask for.
#[derive(Debug, Clone, Copy)]
pub struct ServerLimits {
    /// Connections at a time; the next wait until one ends.
    pub connections: usize,
    /// How long a connection may take to agree on keys, where there is TLS.
    pub handshake: Duration,
    /// How long it may then take to say that it speaks HTTP/2.
    pub greeting: Duration,
    /// Calls in flight on one connection; more are refused at the HTTP/2 level.
    pub streams: u32,
    /// Bytes of one message.
    pub message: usize,
    /// Bytes of all headers of a call.
    pub headers: u32,
    /// After this a connection is closed gracefully, so that load spreads over new instances.
    pub connection_age: Duration,
    /// How long such a connection may still finish its calls, before it is cut.
    pub connection_grace: Duration,
}

// === impl ServerLimits ===

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            connections: 512,
            handshake: Duration::from_secs(5),
            greeting: Duration::from_secs(10),
            streams: 1_024,
            message: 256 * 1_024,
            headers: 16 * 1_024,
            connection_age: Duration::from_hours(1),
            connection_grace: Duration::from_secs(30),
        }
    }
}

impl ServerLimits {
    /// With as many connections as leave the process some of the files it may open, for the store, the outbox and the
    /// platforms: a quarter, and at least 256 unless that were more than half.
    #[must_use]
    pub fn of_this_process() -> Self {
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        Self { connections: connections_within(files), ..Self::default() }
    }

    fn patience(&self) -> Patience {
        let life = self.connection_age + self.connection_grace;
        Patience { handshake: self.handshake, greeting: self.greeting, life }
    }
}

fn connections_within(files: u64) -> usize {
    let reserve = (files / 4).max(256).min(files / 2);
    usize::try_from((files - reserve).clamp(1, CONNECTIONS)).unwrap_or(1)
}

// === impl Server ===

impl Server {
    /// Binds the address. `instance` tells this process's request ids from every other's.
    ///
    /// # Errors
    ///
    /// When the address cannot be bound.
    pub async fn bind(
        address: SocketAddr,
        guard: Arc<Guard>,
        reflection: Reflection,
        limits: ServerLimits,
        instance: u64,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self { listener, guard, reflection, limits, instance, health: HealthReporter::new(), tls: None })
    }

    /// Serves over TLS, and in no other way.
    #[must_use]
    pub fn secured(self, tls: CurrentTls) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// The address that was bound: with the port, if it was left open.
    ///
    /// # Errors
    ///
    /// When the operating system does not tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Says whether the server should get calls.
    #[must_use]
    pub fn health(&self) -> Health {
        Health(self.health.clone())
    }

    /// Serves until `drain` ends, then takes no new connection and finishes the calls in flight. Streams that never end
    /// by themselves, such as somebody watching the health, are cut.
    ///
    /// # Errors
    ///
    /// When the listener fails.
    pub async fn serve(self, drain: impl Future<Output = ()> + Send) -> Result<(), ServeError> {
        let Self { listener, guard, reflection, limits, instance, health, tls } = self;
        let incoming = Listener::new(listener, limits.connections, tls, limits.patience()).sockets();
        let api = TokenVaultServer::new(TokenVaultApi { guard: Arc::clone(&guard) })
            .max_decoding_message_size(limits.message);
        let administration =
            AdminServer::new(AdminApi { guard: Arc::clone(&guard) }).max_decoding_message_size(limits.message);
        let credentials = TakeCredentials { guard };
        let administration = InterceptedService::new(administration, credentials.clone());
        let vault = InterceptedService::new(api, credentials);
        let (v1, v1alpha) = match reflection {
            Reflection::On => {
                let described = || {
                    tonic_reflection::server::Builder::configure()
                        .register_encoded_file_descriptor_set(DESCRIPTORS)
                        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
                };
                (Some(described().build_v1()?), Some(described().build_v1alpha()?))
            }
            Reflection::Off => (None, None),
        };
        let (stop, calls) = (CancellationToken::new(), TaskTracker::new());
        let serving = tonic::transport::Server::builder()
            .max_concurrent_streams(limits.streams)
            .http2_max_header_list_size(limits.headers)
            .http2_keepalive_interval(Some(Duration::from_secs(30)))
            .http2_keepalive_timeout(Some(Duration::from_secs(10)))
            // The connection is asked to go; told to take a grace, tonic would cut it without asking. Who stays is cut
            // by its socket.
            .max_connection_age(limits.connection_age)
            // Order: the context first, because everything behind it, refusals included, names the call by it.
            .layer(ContextLayer::new(instance, calls.clone()))
            .layer(DirectLayer { service: vault })
            .layer(DirectLayer { service: administration })
            .add_service(tonic_health::pb::health_server::HealthServer::new(
                tonic_health::server::HealthService::from_health_reporter(health),
            ))
            .add_optional_service(v1)
            .add_optional_service(v1alpha)
            .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
        tokio::select! {
            ended = serving => Ok(ended?),
            () = async {
                drain.await;
                stop.cancel();
                calls.close();
                calls.wait().await;
                // The last answers are with the connections now; this is for them to reach the network.
                tokio::time::sleep(FLUSH).await;
            } => Ok(()),
        }
    }
}

/// Whether the server should get calls, as `grpc.health.v1` tells it.
#[derive(Clone)]
pub struct Health(HealthReporter);

// === impl Health ===

impl Health {
    /// It should.
    pub async fn serving(&self) {
        self.set(tonic_health::ServingStatus::Serving).await;
    }

    /// It should not, any more.
    pub async fn not_serving(&self) {
        self.set(tonic_health::ServingStatus::NotServing).await;
    }

    async fn set(&self, status: tonic_health::ServingStatus) {
        for service in ["", "vault.v1.TokenVault", "vault.v1.Admin"] {
            self.0.set_service_status(service, status).await;
        }
    }
}

/// Why the server ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The listener or a connection failed.
    #[error("the server failed")]
    Transport(#[from] tonic::transport::Error),
    /// The descriptors of the API do not parse.
    #[error("the descriptors of the API cannot be served")]
    Reflection(#[from] tonic_reflection::server::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_some_files_for_everything_else() {
        let within = [0, 64, 1_024, 4_096, 1_048_576, u64::MAX].map(connections_within);
        assert_eq!(within, [1, 32, 768, 3_072, 10_000, 10_000]);
    }
}
