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
    /// Whether a crash may leave its memory, keys and tokens in it, on a disk.
    pub allow_core_dumps: bool,
    /// How long a store or a key service that does not answer yet is waited for at the start.
    pub start: Duration,
}

pub(super) fn read(section: &mut Section<'_>, context: &Context<'_>) -> ServerConfig {
    let listen = section.optional("listen", address).unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 50_051).into());
    let allow_plaintext = section.optional("allow_plaintext", Node::boolean).unwrap_or_default();
    let tls = section.has("tls");
    if !listen.ip().is_loopback() && !tls && !allow_plaintext {
        section.fault(
            "listen",
            "would show tokens to the network, because there is no `tls`",
            "give `tls.cert_file` and `tls.key_file`, listen on 127.0.0.1, or accept it with `allow_plaintext: true`",
        );
    }
    if tls && allow_plaintext {
        section.fault(
            "allow_plaintext",
            "has no place beside `tls`: nothing is served in the clear",
            "remove one of them",
        );
    }
    let reflection = section.optional("reflection", Node::boolean).unwrap_or(context.development);
    ServerConfig {
        listen,
        reflection,
        allow_core_dumps: section.optional("allow_core_dumps", Node::boolean).unwrap_or_default(),
        drain: seconds(section, "drain_seconds", 0..=600, 20),
        start: seconds(section, "start_seconds", 0..=600, 30),
    }
}

fn address(node: Node<'_>) -> Result<SocketAddr, Mismatch> {
    let hint = "write `127.0.0.1:50051`; names are not resolved";
    node.text()?.parse().map_err(|_| Mismatch::new("must be an IP address with a port", hint))
}
