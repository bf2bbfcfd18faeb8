//! The store in a Redis server, for many vault instances over one store.
//!
//! ```text
//! key   = prefix ":{" drawer "}"      a hash; the braces keep what belongs to a user in one slot of a cluster
//! field = as in every store           value = the frame
//! ```
//!
//! Compare-and-swap is one script, so that nothing comes between the comparison and the write. How connections are made,
//! given up and replaced is in `line`; what is asked of the server at the start in `startup`.

mod fault;
mod line;
mod settings;
mod startup;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use redis::{Cmd, Script, Value, cmd};

pub use self::fault::RedisFault;
use self::line::{Dialer, Lines};
pub use self::settings::{ClientCertificate, RedisSettings, TlsSettings};
pub use self::startup::{ConnectError, Note};
use super::frame;
use super::place::{self, Place};
use crate::domain::id::{TenantId, UserId};
use crate::domain::ports::{Address, Expected, Record, Store, StoreError, Stored, UserDrawer, Version};

/// `KEYS[1]`: the hash. `ARGV`: the field, how the frame there must begin (empty: nothing may be there), the new frame.
const COMPARE_AND_SWAP: &str = "\
local found = redis.call('HGET', KEYS[1], ARGV[1])
if found then
  if ARGV[2] == '' or string.sub(found, 1, #ARGV[2]) ~= ARGV[2] then return 0 end
elseif ARGV[2] ~= '' then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
";

/// `KEYS[1]`: the hash. `ARGV`: the field, how the new frame begins, the new frame. A header compares like the version in
/// it, because that is written big end first.
const RESTORE: &str = "\
local found = redis.call('HGET', KEYS[1], ARGV[1])
if found and (#found < #ARGV[2] or string.sub(found, 1, #ARGV[2]) >= ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
";

/// Everything in a Redis server.
pub struct RedisStore {
    lines: Lines,
    key_prefix: String,
    compare_and_swap_hash: String,
    notes: Vec<Note>,
}

// === impl RedisStore ===

impl RedisStore {
    /// Connects, and looks whether the server may be relied on.
    ///
    /// # Errors
    ///
    /// When the settings cannot work, the server does not answer within a few attempts or does not let the vault work, or
    /// it is one that would lose tokens in ordinary operation.
    pub async fn connect(settings: &RedisSettings) -> Result<Self, ConnectError> {
        settings.check()?;
        let dialer = Arc::new(Dialer {
            client: settings.client().await?,
            config: settings.connection_config(),
            response_timeout: settings.response_timeout,
            operation_timeout: settings.operation_timeout,
        });
        let mut store = Self {
            lines: Lines::new(&dialer, settings.connections),
            key_prefix: settings.key_prefix.clone(),
            compare_and_swap_hash: Script::new(COMPARE_AND_SWAP).get_hash().to_owned(),
            notes: Vec::new(),
        };
        let address = settings.address();
        store.notes = startup::inspect(store.lines.of_this_thread(), &address).await?;
        store.try_commands().await.map_err(|source| ConnectError::Refused { address, source })?;
        Ok(store)
    }

    /// What an operator should know about this server.
    #[must_use]
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// Takes the commands the store needs through the server's access rules, changing nothing: no record has version 0.
    async fn try_commands(&self) -> Result<(), RedisFault> {
        let place = Place { drawer: String::new(), field: String::new() };
        self.send(cmd("HGETALL").arg(self.key(&place.drawer))).await?;
        self.compare_and_swap(&place, &[0], &[]).await.map(|_| ())
    }

    fn key(&self, drawer: &str) -> String {
        format!("{}:{{{drawer}}}", self.key_prefix)
    }

    async fn send(&self, command: &Cmd) -> Result<Value, RedisFault> {
        self.lines.of_this_thread().send(command).await
    }

    /// By the script's hash; a server that does not know it, because it restarted, is given the script.
    async fn compare_and_swap(&self, place: &Place, before: &[u8], frame: &[u8]) -> Result<bool, RedisFault> {
        let key = self.key(&place.drawer);
        let call = |verb: &str, script: &str| {
            let mut command = cmd(verb);
            command.arg(script).arg(1).arg(&key).arg(&place.field).arg(before).arg(frame);
            command
        };
        let answer = match self.send(&call("EVALSHA", &self.compare_and_swap_hash)).await {
            Err(RedisFault::Refused { code }) if code == "NOSCRIPT" => {
                self.send(&call("EVAL", COMPARE_AND_SWAP)).await?
            }
            answer => answer?,
        };
        match answer {
            Value::Int(1) => Ok(true),
            Value::Int(0) => Ok(false),
            _ => Err(RedisFault::Unexpected),
        }
    }
}

#[async_trait]
impl Store for RedisStore {
    async fn get(&self, address: &Address) -> Result<Option<Stored>, StoreError> {
        let place = Place::from(address);
        match self.send(cmd("HGET").arg(self.key(&place.drawer)).arg(&place.field)).await {
            Ok(Value::Nil) => Ok(None),
            Ok(Value::BulkString(frame)) => frame::decode(Bytes::from(frame)).map(Some),
            Ok(_) => Err(RedisFault::Unexpected.into()),
            Err(fault) => Err(unreadable(fault)),
        }
    }

    async fn put(&self, address: &Address, expected: Expected, record: Record) -> Result<(), StoreError> {
        let frame = frame::encode(expected.next(), &record)?;
        let header;
        let before = match expected {
            Expected::Absent => &[][..],
            Expected::Version(version) => {
                header = frame::version_header(version);
                &header[..]
            }
        };
        match self.compare_and_swap(&Place::from(address), before, &frame).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(StoreError::Conflict),
            // Something is there, and it has no version.
            Err(fault) if fault.is_wrong_type() => Err(StoreError::Conflict),
            Err(fault) => Err(fault.into()),
        }
    }

    async fn restore(&self, address: &Address, version: Version, record: Record) -> Result<(), StoreError> {
        let frame = frame::encode(version, &record)?;
        let place = Place::from(address);
        let mut command = cmd("EVAL");
        command.arg(RESTORE).arg(1).arg(self.key(&place.drawer)).arg(&place.field);
        match self.send(command.arg(&frame::version_header(version)[..]).arg(frame)).await {
            Ok(Value::Int(1)) => Ok(()),
            Ok(Value::Int(0)) => Err(StoreError::Conflict),
            Ok(_) => Err(RedisFault::Unexpected.into()),
            Err(fault) if fault.is_wrong_type() => Err(StoreError::Conflict),
            Err(fault) => Err(fault.into()),
        }
    }

    async fn list_user(&self, tenant: &TenantId, user: &UserId) -> Result<UserDrawer, StoreError> {
        let answer =
            self.send(cmd("HGETALL").arg(self.key(&place::drawer_of(tenant, user)))).await.map_err(unreadable)?;
        let found: Vec<(Vec<u8>, Vec<u8>)> =
            redis::from_redis_value(answer).map_err(|_| StoreError::from(RedisFault::Unexpected))?;
        let mut drawer = UserDrawer::default();
        for (field, frame) in found {
            place::add(&mut drawer, &field, Bytes::from(frame))?;
        }
        Ok(drawer)
    }

    fn kind(&self) -> &'static str {
        "redis"
    }
}

fn unreadable(fault: RedisFault) -> StoreError {
    if fault.is_wrong_type() { StoreError::Corrupt } else { fault.into() }
}
