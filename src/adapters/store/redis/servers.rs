//! The servers of one installation: one, one primary at a time, or a cluster.

use std::sync::Arc;

use redis::{Client, Cmd, ProtocolVersion, Value};

use super::access::Access;
use super::cluster::Cluster;
use super::fault::RedisFault;
use super::line::{Destination, Dialer, Lines};
use super::sentinel::Sentinels;
use super::settings::{Endpoint, RedisSettings, Shape};
use super::startup::ConnectError;
use crate::domain::ports::Partition;

/// Where records are.
pub(super) enum Servers {
    /// In one server.
    Server { lines: Lines, tracking: Client },
    /// In the primary that sentinels know.
    Sentinel { sentinels: Arc<Sentinels>, lines: Lines },
    /// In many.
    Cluster(Cluster),
}

/// Somebody who tells of changes.
pub(super) struct Source {
    pub(super) client: Client,
    pub(super) proof: Proof,
}

/// What shows that a source tells of everything there is to tell.
pub(super) enum Proof {
    /// That it answers.
    Answers,
    /// That it is a primary still.
    IsPrimary,
    /// That it has these partitions still.
    Has { node: Endpoint, partitions: Vec<Partition> },
}

// === impl Servers ===

impl Servers {
    pub(super) async fn new(settings: &RedisSettings, access: &Arc<Access>) -> Result<Self, ConnectError> {
        let lines = |destination| {
            let dialer = Arc::new(Dialer {
                access: Arc::clone(access),
                destination,
                response_timeout: settings.response_timeout,
                operation_timeout: settings.operation_timeout,
            });
            Lines::new(&dialer, settings.connections)
        };
        match &settings.shape {
            Shape::Server(Endpoint { host, port }) => {
                let client = |protocol| access.client(host, *port, protocol).map_err(ConnectError::Client);
                let destination = Destination::Server(Box::new(client(ProtocolVersion::RESP2)?));
                Ok(Self::Server { lines: lines(destination), tracking: client(ProtocolVersion::RESP3)? })
            }
            Shape::Sentinel(sentinel) => {
                let sentinels = Arc::new(Sentinels::new(settings, sentinel, Arc::clone(access)).await?);
                let lines = lines(Destination::Primary(Arc::clone(&sentinels)));
                Ok(Self::Sentinel { sentinels, lines })
            }
            Shape::Cluster(seeds) => Ok(Self::Cluster(Cluster::new(settings, seeds.clone(), Arc::clone(access)))),
        }
    }

    /// Sends one command about a partition.
    pub(super) async fn send(&self, partition: Partition, command: &Cmd) -> Result<Value, RedisFault> {
        match self {
            Self::Server { lines, .. } | Self::Sentinel { lines, .. } => lines.of_this_thread().send(command).await,
            Self::Cluster(cluster) => cluster.send(partition, command).await,
        }
    }

    /// Changes when the sources are others from now on.
    pub(super) fn epoch(&self) -> u64 {
        match self {
            Self::Server { .. } => 0,
            Self::Sentinel { sentinels, .. } => sentinels.epoch(),
            Self::Cluster(cluster) => cluster.epoch(),
        }
    }

    /// Everybody who tells of changes.
    pub(super) async fn sources(&self) -> Result<Vec<Source>, RedisFault> {
        match self {
            Self::Server { tracking, .. } => Ok(vec![Source { client: tracking.clone(), proof: Proof::Answers }]),
            Self::Sentinel { sentinels, .. } => {
                let client = sentinels.primary(ProtocolVersion::RESP3).await?;
                Ok(vec![Source { client, proof: Proof::IsPrimary }])
            }
            Self::Cluster(cluster) => {
                let source = |(node, client, partitions)| Source { client, proof: Proof::Has { node, partitions } };
                Ok(cluster.primaries().await?.into_iter().map(source).collect())
            }
        }
    }

    /// Hears from a node that another takes a slot over from it.
    pub(super) fn is_importing(&self, to: &str, said_by: &Endpoint) {
        if let Self::Cluster(cluster) = self {
            // An address that cannot be read is found out by whoever follows it.
            drop(cluster.is_importing(to, said_by));
        }
    }
}
