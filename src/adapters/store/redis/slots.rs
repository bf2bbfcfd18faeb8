//! Which node of a cluster has which partition.
//!
//! Everything of a partition has one hash tag, and so one slot: of the 16384 slots the vault uses 16.

use std::collections::{BTreeSet, HashMap};

use redis::Value;

use super::fault::RedisFault;
use super::settings::Endpoint;
use crate::domain::ports::Partition;

/// How many slots a cluster has.
const SLOTS: u16 = 16_384;

/// What is known about a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SlotMap {
    /// Of each partition, who has it.
    owners: Vec<Option<Endpoint>>,
    /// Whoever takes writes.
    primaries: BTreeSet<Endpoint>,
    /// Everybody.
    nodes: BTreeSet<Endpoint>,
}

// === impl SlotMap ===

impl SlotMap {
    /// What the node at `asked` answered to `CLUSTER SLOTS`.
    pub(super) fn parse(answer: Value, asked: &Endpoint) -> Result<Self, RedisFault> {
        let ranges: Vec<Vec<Value>> = redis::from_redis_value(answer).map_err(|_| RedisFault::Unexpected)?;
        let mut map = Self { owners: vec![None; usize::from(Partition::COUNT)], ..Self::default() };
        for range in ranges {
            let [Value::Int(from), Value::Int(to), nodes @ ..] = range.as_slice() else {
                return Err(RedisFault::Unexpected);
            };
            let nodes: Vec<_> = nodes.iter().filter_map(|node| endpoint_of(node, asked)).collect();
            map.nodes.extend(nodes.iter().cloned());
            let Some(primary) = nodes.into_iter().next() else { continue };
            for partition in Partition::all() {
                if (*from..=*to).contains(&i64::from(slot_of(partition))) {
                    map.give(partition, primary.clone());
                }
            }
            map.primaries.insert(primary);
        }
        Ok(map)
    }

    /// What most of several maps say.
    pub(super) fn most_of(maps: &[Self]) -> Self {
        let mut result = Self { owners: vec![None; usize::from(Partition::COUNT)], ..Self::default() };
        result.nodes = maps.iter().flat_map(|map| map.nodes.iter().cloned()).collect();
        for partition in Partition::all() {
            if let Some(owner) = most_named(maps.iter().filter_map(|map| map.owner(partition))) {
                result.give(partition, owner.clone());
            }
        }
        // Whoever most call a primary, or has anything of ours.
        let named = maps.iter().flat_map(|map| &map.primaries);
        let mut votes: HashMap<&Endpoint, usize> = HashMap::new();
        named.for_each(|node| *votes.entry(node).or_default() += 1);
        let most = votes.into_iter().filter(|(_, votes)| votes * 2 > maps.len()).map(|(node, _)| node.clone());
        result.primaries.extend(most);
        result
    }

    pub(super) fn owner(&self, partition: Partition) -> Option<&Endpoint> {
        self.owners.get(usize::from(partition.number()))?.as_ref()
    }

    /// From now on this node has the partition.
    pub(super) fn give(&mut self, partition: Partition, node: Endpoint) {
        if let Some(owner) = self.owners.get_mut(usize::from(partition.number())) {
            self.primaries.insert(node.clone());
            self.nodes.insert(node.clone());
            *owner = Some(node);
        }
    }

    pub(super) fn is_primary(&self, node: &Endpoint) -> bool {
        self.primaries.contains(node)
    }

    pub(super) fn primaries(&self) -> impl Iterator<Item = &Endpoint> {
        self.primaries.iter()
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = &Endpoint> {
        self.nodes.iter()
    }
}

fn most_named<'e>(named: impl Iterator<Item = &'e Endpoint>) -> Option<&'e Endpoint> {
    let mut votes: HashMap<&Endpoint, usize> = HashMap::new();
    named.for_each(|node| *votes.entry(node).or_default() += 1);
    votes.into_iter().max_by_key(|(node, votes)| (*votes, *node)).map(|(node, _)| node)
}

/// A node in the answer. It may leave out its host, which is then the one that was asked.
fn endpoint_of(node: &Value, asked: &Endpoint) -> Option<Endpoint> {
    let Value::Array(parts) = node else { return None };
    let [host, Value::Int(port), ..] = parts.as_slice() else { return None };
    let host = match host {
        Value::Nil => asked.host.clone(),
        Value::BulkString(host) if host.is_empty() => asked.host.clone(),
        Value::BulkString(host) if host != b"?" => String::from_utf8(host.clone()).ok()?,
        _ => return None,
    };
    Some(Endpoint { host, port: u16::try_from(*port).ok()? })
}

/// The address in `MOVED` or `ASK`, as the node at `asked` said it.
pub(super) fn redirection(to: &str, asked: &Endpoint) -> Result<Endpoint, RedisFault> {
    let (host, port) = to.rsplit_once(':').ok_or(RedisFault::Unexpected)?;
    let port = port.parse().map_err(|_| RedisFault::Unexpected)?;
    match host {
        "" => Ok(Endpoint { host: asked.host.clone(), port }),
        "?" => Err(RedisFault::NoPrimary),
        host => Ok(Endpoint { host: host.to_owned(), port }),
    }
}

/// The slot of everything in a partition: of its hash tag, which is its number.
pub(super) fn slot_of(partition: Partition) -> u16 {
    crc16(partition.number().to_string().as_bytes()) % SLOTS
}

/// CRC-16/XMODEM, as the specification of the cluster has it.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(
            crc ^ (u16::from(*byte) << 8),
            |crc, _| {
                if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
            },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(port: u16) -> Endpoint {
        Endpoint { host: "10.0.0.1".to_owned(), port }
    }

    fn answer(ranges: &[(i64, i64, &[i64])]) -> Value {
        let bytes = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let told = |port: &i64| Value::Array(vec![bytes("10.0.0.1"), Value::Int(*port), bytes("id")]);
        let range = |(from, to, nodes): &(i64, i64, &[i64])| {
            Value::Array([Value::Int(*from), Value::Int(*to)].into_iter().chain(nodes.iter().map(told)).collect())
        };
        Value::Array(ranges.iter().map(range).collect())
    }

    #[test]
    fn slots_are_those_of_the_servers() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        // As `CLUSTER KEYSLOT` tells.
        let slots: Vec<_> = Partition::all().map(slot_of).collect();
        assert_eq!(slots.first(), Some(&13_907));
        assert_eq!(slots.iter().collect::<BTreeSet<_>>().len(), 16);
    }

    #[test]
    fn a_map_tells_who_has_what() {
        let map = SlotMap::parse(answer(&[(0, 8_000, &[1, 4]), (8_001, 16_383, &[2, 5])]), &node(9)).unwrap();
        for partition in Partition::all() {
            let owner = if slot_of(partition) <= 8_000 { node(1) } else { node(2) };
            assert_eq!(map.owner(partition), Some(&owner));
        }
        assert_eq!(map.primaries().cloned().collect::<Vec<_>>(), [node(1), node(2)]);
        assert_eq!(map.nodes().count(), 4);
        let half = SlotMap::parse(answer(&[(0, 8_000, &[1])]), &node(9)).unwrap();
        assert!(Partition::all().any(|partition| half.owner(partition).is_none()));
        assert!(matches!(SlotMap::parse(Value::Int(1), &node(9)), Err(RedisFault::Unexpected)));
    }

    #[test]
    fn what_most_say_counts() {
        let map = |port| SlotMap::parse(answer(&[(0, 16_383, &[port])]), &node(9)).unwrap();
        let most = SlotMap::most_of(&[map(1), map(2), map(2)]);
        assert!(Partition::all().all(|partition| most.owner(partition) == Some(&node(2))));
        assert_eq!(most.primaries().cloned().collect::<Vec<_>>(), [node(2)]);
        assert_eq!(most.nodes().count(), 2);
    }

    #[test]
    fn a_redirection_names_a_node_or_only_its_port() {
        assert_eq!(redirection("10.0.0.1:7", &node(9)).unwrap(), node(7));
        assert_eq!(redirection(":7", &node(9)).unwrap(), node(7));
        assert_eq!(redirection("::1:7", &node(9)).unwrap().host, "::1");
        assert!(redirection("?:7", &node(9)).is_err());
        assert!(redirection("nowhere", &node(9)).is_err());
    }
}
