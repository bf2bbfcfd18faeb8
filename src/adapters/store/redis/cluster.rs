//! The nodes of a cluster, each with lines of its own, and a small map of who has which partition.
//!
//! Not the driver's cluster client: there all nodes share one task, and a node that hangs holds up the others. Here a node
//! that hangs is felt by its own partitions only.
//!
//! - `MOVED` corrects the map at once, and the command follows; `ASK` sends this one command elsewhere.
//! - `TRYAGAIN` and `CLUSTERDOWN` are tried again after a moment.
//! - A node that does not answer, or broke, makes the map be asked for again, of all nodes at once, and what most of them
//!   say counts. The command itself is not repeated: whether it was done, its caller has to find out.
//!
//! All of it within the time one call may take, and a number of hops.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use redis::{Client, Cmd, ProtocolVersion, Value, cmd};
use tokio::time::{Instant, sleep, timeout};

use super::access::Access;
use super::fault::RedisFault;
use super::line::{Destination, Dialer, Lines};
use super::settings::{Endpoint, RedisSettings};
use super::slots::{self, SlotMap};
use crate::domain::ports::Partition;

/// How many nodes a command may be sent to, one after the other.
const HOPS: u32 = 8;

/// How long to wait where the cluster says that it will be ready in a moment.
const MOMENT: Duration = Duration::from_millis(50);

/// How long a node counts as one that takes over a slot after that was last heard of.
const IMPORTING: Duration = Duration::from_secs(10);

/// How long a map stands before it is asked for again.
const MAP_STANDS: Duration = Duration::from_millis(100);

/// A cluster.
pub(super) struct Cluster {
    access: Arc<Access>,
    seeds: Vec<Endpoint>,
    connections: usize,
    response_timeout: Duration,
    operation_timeout: Duration,
    map: RwLock<Arc<SlotMap>>,
    epoch: AtomicU64,
    nodes: Mutex<HashMap<Endpoint, Arc<Lines>>>,
    /// Nodes without a slot that are about to have one, and so take writes; and since when that was last heard of.
    importers: Mutex<HashMap<Endpoint, Instant>>,
    /// When the map was last asked for. Who holds it is asking.
    asked_at: tokio::sync::Mutex<Option<Instant>>,
}

// === impl Cluster ===

impl Cluster {
    /// Connects when it is first used.
    pub(super) fn new(settings: &RedisSettings, seeds: Vec<Endpoint>, access: Arc<Access>) -> Self {
        Self {
            access,
            seeds,
            connections: settings.connections,
            response_timeout: settings.response_timeout,
            operation_timeout: settings.operation_timeout,
            map: RwLock::default(),
            epoch: AtomicU64::new(0),
            nodes: Mutex::default(),
            importers: Mutex::default(),
            asked_at: tokio::sync::Mutex::default(),
        }
    }

    /// Changes whenever the map does.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// Whoever takes writes: what opens connections to it, and which partitions it has.
    pub(super) async fn primaries(&self) -> Result<Vec<(Endpoint, Client, Vec<Partition>)>, RedisFault> {
        self.refresh().await?;
        let map = self.map();
        let mut nodes: BTreeSet<_> = map.primaries().cloned().collect();
        let mut importers = self.importers.lock().unwrap_or_else(PoisonError::into_inner);
        importers.retain(|_, heard_of| heard_of.elapsed() < IMPORTING);
        nodes.extend(importers.keys().cloned());
        let of = |node: Endpoint| {
            let client = self.access.client(&node.host, node.port, ProtocolVersion::RESP3)?;
            let partitions = Partition::all().filter(|partition| map.owner(*partition) == Some(&node)).collect();
            Ok((node, client, partitions))
        };
        nodes.into_iter().map(of).collect()
    }

    /// Makes of a word about another node what can be asked next.
    pub(super) fn is_importing(&self, to: &str, said_by: &Endpoint) -> Result<Endpoint, RedisFault> {
        let node = slots::redirection(to, said_by)?;
        let mut importers = self.importers.lock().unwrap_or_else(PoisonError::into_inner);
        if importers.insert(node.clone(), Instant::now()).is_none() && !self.map().is_primary(&node) {
            self.epoch.fetch_add(1, Ordering::SeqCst);
        }
        Ok(node)
    }

    /// One line to each primary, to inspect it by. A cluster that is not put together yet has none for some partition.
    pub(super) async fn each_primary(&self) -> Result<Vec<(Endpoint, Arc<Lines>)>, RedisFault> {
        self.refresh().await?;
        let map = self.map();
        if Partition::all().any(|partition| map.owner(partition).is_none()) {
            return Err(RedisFault::NoPrimary);
        }
        map.primaries().map(|node| Ok((node.clone(), self.lines_to(node)?))).collect()
    }

    /// Sends one command about a partition, wherever that is.
    pub(super) async fn send(&self, partition: Partition, command: &Cmd) -> Result<Value, RedisFault> {
        let answer = timeout(self.operation_timeout, self.follow(partition, command)).await;
        answer.unwrap_or(Err(RedisFault::Silence))
    }

    async fn follow(&self, partition: Partition, command: &Cmd) -> Result<Value, RedisFault> {
        let mut node = self.owner(partition).await?;
        let mut answer = self.lines_to(&node)?.of_this_thread().send(command).await;
        for _ in 1..HOPS {
            match answer {
                Err(RedisFault::Moved { to }) => {
                    node = slots::redirection(&to, &node)?;
                    self.change(|map| map.give(partition, node.clone()));
                    answer = self.lines_to(&node)?.of_this_thread().send(command).await;
                }
                Err(RedisFault::Ask { to }) => {
                    let node = self.is_importing(&to, &node)?;
                    answer = self.lines_to(&node)?.of_this_thread().send_asking(command).await;
                }
                Err(RedisFault::Refused { code }) if is_momentary(&code) => {
                    sleep(MOMENT).await;
                    if code != "TRYAGAIN" {
                        self.refresh().await?;
                    }
                    node = self.owner(partition).await?;
                    answer = self.lines_to(&node)?.of_this_thread().send(command).await;
                }
                Err(fault) if says_nothing_of_the_node(&fault) => return Err(fault),
                Err(fault) => {
                    // What this finds out is for the next call.
                    drop(self.refresh().await);
                    return Err(fault);
                }
                Ok(answer) => return Ok(answer),
            }
        }
        answer
    }

    async fn owner(&self, partition: Partition) -> Result<Endpoint, RedisFault> {
        if let Some(node) = self.map().owner(partition) {
            return Ok(node.clone());
        }
        self.refresh().await?;
        self.map().owner(partition).cloned().ok_or(RedisFault::NoPrimary)
    }

    fn map(&self) -> Arc<SlotMap> {
        Arc::clone(&self.map.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, change: impl FnOnce(&mut SlotMap)) {
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        let mut changed = SlotMap::clone(&map);
        change(&mut changed);
        if changed != **map {
            *map = Arc::new(changed);
            self.epoch.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Asks for the map, unless somebody has just done so.
    async fn refresh(&self) -> Result<(), RedisFault> {
        let mut asked_at = self.asked_at.lock().await;
        if asked_at.is_some_and(|instant| instant.elapsed() < MAP_STANDS) {
            return Ok(());
        }
        let map = self.ask_for_map().await?;
        self.change(|known| *known = map);
        *asked_at = Some(Instant::now());
        Ok(())
    }

    async fn ask_for_map(&self) -> Result<SlotMap, RedisFault> {
        let mut question = cmd("CLUSTER");
        question.arg("SLOTS");
        let question = &question;
        let mut nodes: Vec<_> = self.map().nodes().cloned().collect();
        nodes.extend(self.seeds.iter().filter(|seed| !nodes.contains(seed)).cloned().collect::<Vec<_>>());
        let mut lines = Vec::with_capacity(nodes.len());
        for node in nodes {
            lines.push((self.lines_to(&node)?, node));
        }
        let asked = lines.len();
        let mut answers: FuturesUnordered<_> = lines
            .iter()
            .map(|(lines, node)| async move { SlotMap::parse(lines.of_this_thread().send(question).await?, node) })
            .collect();
        let (mut maps, mut fault) = (Vec::new(), RedisFault::NoPrimary);
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(map) => maps.push(map),
                Err(error) => fault = error,
            }
            // Those that hang are not waited for.
            if maps.len() * 2 > asked {
                break;
            }
        }
        if maps.is_empty() { Err(fault) } else { Ok(SlotMap::most_of(&maps)) }
    }

    fn lines_to(&self, node: &Endpoint) -> Result<Arc<Lines>, RedisFault> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lines) = nodes.get(node) {
            return Ok(Arc::clone(lines));
        }
        let client = self.access.client(&node.host, node.port, ProtocolVersion::RESP2)?;
        let dialer = Arc::new(Dialer {
            access: Arc::clone(&self.access),
            destination: Destination::Server(Box::new(client)),
            response_timeout: self.response_timeout,
            operation_timeout: self.operation_timeout,
        });
        let lines = Arc::new(Lines::new(&dialer, self.connections));
        // Nodes come and go; the lines of those that are in no map any more go with them.
        let map = self.map();
        nodes.retain(|node, _| map.nodes().any(|known| known == node) || self.seeds.contains(node));
        nodes.insert(node.clone(), Arc::clone(&lines));
        Ok(lines)
    }
}

/// Whether the cluster will be ready by itself.
fn is_momentary(code: &str) -> bool {
    matches!(code, "TRYAGAIN" | "CLUSTERDOWN" | "LOADING" | "MASTERDOWN")
}

/// Whether the node is there and said no to the command itself.
fn says_nothing_of_the_node(fault: &RedisFault) -> bool {
    match fault {
        RedisFault::Refused { code } => code != "READONLY",
        RedisFault::Credentials | RedisFault::Unexpected => true,
        _ => false,
    }
}
