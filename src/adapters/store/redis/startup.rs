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

use super::fault::RedisFault;
use super::line::Line;

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

/// Something an operator should know about the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// Writes are in memory only.
    NoAppendOnlyFile,
    /// Writes reach the disk some time after they are acknowledged.
    LateFsync,
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
            Self::NoTracking => {
                f.write_str("redis does not tell this user of changes: allow `client|tracking` (Redis 6 or later)")
            }
            Self::Unchecked(what) => {
                write!(f, "redis does not let this user see `{what}`: make sure yourself that it is right")
            }
        }
    }
}

/// Waits, within bounds, until the server answers, and refuses one that must not be relied on.
pub(super) async fn inspect(line: &Line, address: &str) -> Result<Vec<Note>, ConnectError> {
    knock(line, address).await?;
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
        Ok(_) => match append_fsync(line).await {
            Ok(always) if always => {}
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

async fn knock(line: &Line, address: &str) -> Result<(), ConnectError> {
    let mut attempts = 1;
    loop {
        match line.send(&cmd("PING")).await {
            Ok(_) => return Ok(()),
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

/// Whether every write is on the disk before it is acknowledged.
async fn append_fsync(line: &Line) -> Result<bool, RedisFault> {
    let answer = line.send(cmd("CONFIG").arg("GET").arg("appendfsync")).await?;
    let pairs: Vec<(String, String)> = redis::from_redis_value(answer).map_err(|_| RedisFault::Unexpected)?;
    Ok(pairs.iter().any(|(name, value)| name == "appendfsync" && value == "always"))
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
