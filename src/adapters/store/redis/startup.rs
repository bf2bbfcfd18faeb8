//! What is asked of the server before the vault relies on it.
//!
//! A vault that starts against a Redis that is down, evicts keys or refuses its commands would find out with the first
//! token it loses. So it does not start. What merely may lose writes in a crash is said, loudly, and left to the operator.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str;
use std::time::Duration;

use redis::{RedisError, Value, cmd};
use tokio::time::sleep;

use super::super::reason;
use super::fault::RedisFault;
use super::line::Line;
use super::servers::Servers;

/// How often the server is tried before the start is given up.
const ATTEMPTS: u32 = 3;

/// The pause between two attempts: longer than the cool-down of a line.
const PAUSE: Duration = Duration::from_millis(500);

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A setting cannot work.
    #[error("the redis setting `{field}` {fault}")]
    Settings {
        /// Its name.
        field: &'static str,
        /// What would be right.
        fault: &'static str,
    },
    /// A file that the settings name cannot be read.
    #[error("`{}` cannot be read", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The address or the certificates make no client.
    #[error("the redis settings make no client")]
    Client(#[source] RedisError),
    /// The server does not answer.
    #[error("redis at `{address}` cannot be reached ({attempts} attempts)")]
    Unreachable {
        /// The host and port.
        address: String,
        /// How often it was tried.
        attempts: u32,
        /// How the last attempt failed.
        #[source]
        source: RedisFault,
    },
    /// The server is there and does not let the vault work.
    #[error("redis at `{address}` does not let the vault work")]
    Refused {
        /// The host and port.
        address: String,
        /// What it said.
        #[source]
        source: RedisFault,
    },
    /// The server throws away what it has no room for.
    #[error(
        "redis at `{address}` has the `maxmemory-policy` `{policy}` and would throw away tokens when memory runs short: \
         set `noeviction`"
    )]
    Evicts {
        /// The host and port.
        address: String,
        /// The policy.
        policy: &'static str,
    },
    /// The server copies another one.
    #[error("redis at `{address}` is a replica: give the address of the primary")]
    Replica {
        /// The host and port.
        address: String,
    },
}

// === impl ConnectError ===

impl ConnectError {
    /// What a fault after the first answer means: what passes by itself is no refusal.
    pub(super) fn after_an_answer(address: String, source: RedisFault) -> Self {
        if reason::is_transient(source.reason()) {
            Self::Unreachable { address, attempts: 1, source }
        } else {
            Self::Refused { address, source }
        }
    }
}

/// Something an operator should know about the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// Writes are in memory only.
    NoAppendOnlyFile,
    /// Writes reach the disk some time after they are acknowledged.
    LateFsync,
    /// A primary that is cut off goes on taking writes that are lost.
    SplitBrain,
    /// It does not tell of changes.
    NoTracking,
    /// The vault's user may not ask.
    Unchecked(&'static str),
}

// === impl Note ===

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAppendOnlyFile => {
                f.write_str("redis keeps no append-only file: a restart of it loses tokens; set `appendonly yes`")
            }
            Self::LateFsync => f.write_str(
                "redis acknowledges writes before they are on the disk: a crash may lose the last of them; set \
                 `appendfsync always`",
            ),
            Self::SplitBrain => f.write_str(
                "redis takes writes without any replica: a primary that is cut off loses what it acknowledges; set \
                 `min-replicas-to-write 1` and a short `min-replicas-max-lag`",
            ),
            Self::NoTracking => {
                f.write_str("redis does not tell this user of changes: allow `client|tracking` (Redis 6 or later)")
            }
            Self::Unchecked(what) => {
                write!(f, "redis does not let this user see `{what}`: make sure yourself that it is right")
            }
        }
    }
}

/// Waits, within bounds, until the servers answer, and refuses those that must not be relied on.
pub(super) async fn inspect(servers: &Servers, address: &str) -> Result<Vec<Note>, ConnectError> {
    match servers {
        Servers::Server { lines, .. } => inspect_server(lines.of_this_thread(), address).await,
        Servers::Sentinel { lines, .. } => {
            let line = lines.of_this_thread();
            let mut notes = inspect_server(line, address).await?;
            note(&mut notes, replicas(line).await);
            Ok(notes)
        }
        Servers::Cluster(cluster) => {
            let primaries = knock(address, || cluster.each_primary()).await?;
            let mut notes = Vec::new();
            for (node, lines) in primaries {
                let line = lines.of_this_thread();
                for found in inspect_server(line, &node.to_string()).await? {
                    note(&mut notes, Some(found));
                }
                note(&mut notes, replicas(line).await);
            }
            Ok(notes)
        }
    }
}

/// Each is said once, however many servers it is true of.
fn note(notes: &mut Vec<Note>, found: Option<Note>) {
    notes.extend(found.filter(|found| !notes.contains(found)));
}

async fn inspect_server(line: &Line, address: &str) -> Result<Vec<Note>, ConnectError> {
    let ping = cmd("PING");
    knock(address, || line.send(&ping)).await?;
    let mut notes = Vec::new();
    match info(line, "replication").await {
        Ok(replication) if value_of(&replication, "role") == Some("slave") => {
            return Err(ConnectError::Replica { address: address.to_owned() });
        }
        // Whoever may not ask this may not ask the next either, and is told there.
        Ok(_) | Err(_) => {}
    }
    match info(line, "memory").await {
        Ok(memory) => {
            if let Some(policy) = evicting_policy(value_of(&memory, "maxmemory_policy")) {
                return Err(ConnectError::Evicts { address: address.to_owned(), policy });
            }
        }
        Err(_) => notes.push(Note::Unchecked("maxmemory-policy")),
    }
    match info(line, "persistence").await {
        Ok(persistence) if value_of(&persistence, "aof_enabled") == Some("0") => notes.push(Note::NoAppendOnlyFile),
        Ok(_) => match setting(line, "appendfsync").await {
            Ok(when) if when == "always" => {}
            Ok(_) => notes.push(Note::LateFsync),
            Err(_) => notes.push(Note::Unchecked("appendfsync")),
        },
        Err(_) => {
            notes.push(Note::Unchecked("appendonly"));
            notes.push(Note::Unchecked("appendfsync"));
        }
    }
    Ok(notes)
}

/// Whether a primary needs a replica to take writes.
async fn replicas(line: &Line) -> Option<Note> {
    match setting(line, "min-replicas-to-write").await {
        Ok(number) if number == "0" => Some(Note::SplitBrain),
        Ok(_) => None,
        Err(_) => Some(Note::Unchecked("min-replicas-to-write")),
    }
}

/// Tries until there is an answer, a few times.
async fn knock<T, A>(address: &str, ask: impl Fn() -> A) -> Result<T, ConnectError>
where
    A: Future<Output = Result<T, RedisFault>>,
{
    let mut attempts = 1;
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(source @ (RedisFault::Credentials | RedisFault::Refused { .. })) if source.reason() == "refused" => {
                return Err(ConnectError::Refused { address: address.to_owned(), source });
            }
            Err(source) if attempts >= ATTEMPTS => {
                return Err(ConnectError::Unreachable { address: address.to_owned(), attempts, source });
            }
            Err(_) => {
                attempts += 1;
                sleep(PAUSE).await;
            }
        }
    }
}

async fn info(line: &Line, section: &str) -> Result<String, RedisFault> {
    match line.send(cmd("INFO").arg(section)).await? {
        Value::BulkString(text) => String::from_utf8(text).map_err(|_| RedisFault::Unexpected),
        Value::VerbatimString { text, .. } | Value::SimpleString(text) => Ok(text),
        _ => Err(RedisFault::Unexpected),
    }
}

async fn setting(line: &Line, name: &str) -> Result<String, RedisFault> {
    let answer = line.send(cmd("CONFIG").arg("GET").arg(name)).await?;
    let pairs: Vec<(String, String)> = redis::from_redis_value(answer).map_err(|_| RedisFault::Unexpected)?;
    pairs.into_iter().find(|(found, _)| found == name).map(|(_, value)| value).ok_or(RedisFault::Unexpected)
}

/// A value in an answer to `INFO`, which is of lines `name:value`.
fn value_of<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// The policies that take keys without a time to live, which are all of a vault's; in our words, not the server's.
fn evicting_policy(policy: Option<&str>) -> Option<&'static str> {
    match policy? {
        "allkeys-lru" => Some("allkeys-lru"),
        "allkeys-lfu" => Some("allkeys-lfu"),
        "allkeys-random" => Some("allkeys-random"),
        other if other.starts_with("allkeys-") => Some("allkeys-*"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_that_takes_keys_without_a_time_to_live_is_known() {
        for policy in ["allkeys-lru", "allkeys-lfu", "allkeys-random", "allkeys-lrm"] {
            assert!(evicting_policy(Some(policy)).is_some(), "{policy}");
        }
        for policy in ["noeviction", "volatile-lru", "volatile-ttl"] {
            assert_eq!(evicting_policy(Some(policy)), None);
        }
    }

    #[test]
    fn a_value_is_found_by_its_whole_name() {
        let answer = "# Memory\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\n";
        assert_eq!(value_of(answer, "maxmemory_policy"), Some("noeviction"));
        assert_eq!(value_of(answer, "maxmemory"), Some("0"));
        assert_eq!(value_of(answer, "policy"), None);
    }
}
