//! Where the server listens and how it stops. These keys stand at the top of the file.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::{Context, seconds};
use crate::document::{Mismatch, Node, Section};

/// Where the server listens and how it stops.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// The address of the gRPC server.
    pub listen: SocketAddr,
    /// Whether the API describes itself to tools such as grpcurl. On by default in development only.
    pub reflection: bool,
    /// How long calls in flight may take once the process was asked to stop.
    pub drain: Duration,
    /// How long a store or a key service that does not answer yet is waited for at the start.
    pub start: Duration,
}

pub(super) fn read(section: &mut Section<'_>, context: &Context<'_>) -> ServerConfig {
    let listen = section.optional("listen", address).unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 50_051).into());
    let allow_plaintext = section.optional("allow_plaintext", Node::boolean).unwrap_or_default();
    if !listen.ip().is_loopback() && !allow_plaintext {
        section.fault(
            "listen",
            "would show tokens to the network, because TLS is not built in yet",
            "listen on 127.0.0.1 behind a proxy that speaks mutual TLS, or accept it with `allow_plaintext: true`",
        );
    }
    let reflection = section.optional("reflection", Node::boolean).unwrap_or(context.development);
    ServerConfig {
        listen,
        reflection,
        drain: seconds(section, "drain_seconds", 0..=600, 20),
        start: seconds(section, "start_seconds", 0..=600, 30),
    }
}

fn address(node: Node<'_>) -> Result<SocketAddr, Mismatch> {
    let hint = "write `127.0.0.1:50051`; names are not resolved";
    node.text()?.parse().map_err(|_| Mismatch::new("must be an IP address with a port", hint))
}
