//! The one script that writes: a record and its indices change together or not at all.
//!
//! A script that fails half way keeps what it did. So everything that can fail comes before the record itself: what is in
//! an index without a record behind it is found out by whoever follows it.

use redis::{Cmd, Script, Value, cmd};

use super::super::frame::Condition;
use super::super::place::Place;
use super::fault::RedisFault;
use super::layout::{self, Layout};
use crate::domain::ports::{Address, CHANGES_KEPT, Expected, Hints, Partition, Version};

/// `KEYS`: the drawer, `#due`, `#changes`, `#drawers`. `ARGV`: the field, the condition and the version in it, the frame,
/// the name in the indices or nothing, when it is due or nothing, the name of the drawer or nothing, how many changes are
/// kept. Strings are not compared by size, because the server does that in the order of some language.
const WRITE: &str = r"
local found = redis.pcall('HGET', KEYS[1], ARGV[1])
if type(found) == 'table' then
  if string.find(found.err, 'WRONGTYPE', 1, true) then return 0 end
  return found
end
if found then
  if #found < 20 then return 0 end
  local format, high, low, state = struct.unpack('>BI4I4B', found)
  if format ~= 2 or (high == 0 and low == 0) or state > 3 then return 0 end
  if ARGV[2] == 'absent' then return 0 end
  local to_high, to_low = struct.unpack('>I4I4', ARGV[3])
  if ARGV[2] == 'is' then
    if high ~= to_high or low ~= to_low then return 0 end
  elseif high > to_high or (high == to_high and low >= to_low) then
    return 0
  end
elseif ARGV[2] == 'is' then
  return 0
end
if ARGV[5] ~= '' then
  if ARGV[6] ~= '' then
    redis.call('ZADD', KEYS[2], ARGV[6], ARGV[5])
  elseif found and string.sub(found, 16, 20) ~= '\0\0\0\0\0' then
    redis.call('ZREM', KEYS[2], ARGV[5])
  end
  if string.byte(ARGV[4], 10) > 0 then
    redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[8], '*', 'r', ARGV[5], 'h', string.sub(ARGV[4], 1, 10))
  end
end
if ARGV[7] ~= '' and not found then redis.call('ZADD', KEYS[4], '0', ARGV[7]) end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[4])
return 1
";

/// Asks the server whether this user may use every command with these `KEYS`, where it can be asked (from Redis 7.0 on).
const MAY_ALL: &str = r"
if not redis.acl_check_cmd then return 1 end
local asked = {
  {'HGET', KEYS[1], 'f'}, {'HGETALL', KEYS[1]}, {'HSET', KEYS[1], 'f', 'v'},
  {'ZADD', KEYS[2], '0', 'm'}, {'ZREM', KEYS[2], 'm'}, {'ZRANGE', KEYS[2], '0', '0'},
  {'XADD', KEYS[3], '*', 'f', 'v'}, {'XRANGE', KEYS[3], '-', '+'}, {'XREVRANGE', KEYS[3], '+', '-'},
  {'XINFO', 'STREAM', KEYS[3]}, {'ZADD', KEYS[4], '0', 'm'}, {'ZRANGE', KEYS[4], '0', '0'}
}
for _, command in ipairs(asked) do
  if not redis.acl_check_cmd(unpack(command)) then return redis.error_reply('NOPERM ' .. command[1]) end
end
return 1
";

/// The scripts, as a server knows them.
pub(super) struct Scripts {
    write_hash: String,
}

/// One write.
pub(super) struct Write<'w> {
    pub(super) address: &'w Address,
    pub(super) condition: Condition,
    pub(super) hints: Hints,
    pub(super) frame: &'w [u8],
}

// === impl Scripts ===

impl Scripts {
    pub(super) fn new() -> Self {
        Self { write_hash: Script::new(WRITE).get_hash().to_owned() }
    }

    /// Writes, by the script's hash; a server that does not know it, because it restarted, is given the script. Says
    /// whether the condition held.
    pub(super) async fn write<A>(
        &self,
        layout: &Layout,
        write: &Write<'_>,
        send: impl Fn(Cmd) -> A,
    ) -> Result<bool, RedisFault>
    where
        A: Future<Output = Result<Value, RedisFault>>,
    {
        let answer = match send(write.command(layout, "EVALSHA", &self.write_hash)).await {
            Err(RedisFault::Refused { code }) if code == "NOSCRIPT" => {
                send(write.command(layout, "EVAL", WRITE)).await?
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

// === impl Write ===

impl Write<'_> {
    fn command(&self, layout: &Layout, verb: &str, script: &str) -> Cmd {
        let place = Place::from(self.address);
        let due_at = self.hints.due_at.map(|at| at.unix_seconds().to_string()).unwrap_or_default();
        let (condition, version) = match self.condition {
            Condition::Is(Expected::Absent) => ("absent", None),
            Condition::Is(Expected::Version(version)) => ("is", Some(version)),
            Condition::OlderThan(version) => ("older", Some(version)),
        };
        let version = version.unwrap_or(Version(0)).0.to_be_bytes();
        let mut command = evaluate(layout, self.address.partition(), &place.drawer, verb, script);
        command.arg(&place.field).arg(condition).arg(&version[..]).arg(self.frame);
        command.arg(layout::indexed(self.address, &place)).arg(due_at).arg(layout::scanned(&place));
        // One more than are remembered, because the place before them is one of them.
        command.arg(CHANGES_KEPT + 1);
        command
    }
}

/// Asks for every right the store needs, and changes nothing.
pub(super) fn may_all(layout: &Layout, partition: Partition) -> Cmd {
    evaluate(layout, partition, "#", "EVAL", MAY_ALL)
}

fn evaluate(layout: &Layout, partition: Partition, drawer: &str, verb: &str, script: &str) -> Cmd {
    let keys =
        [layout.drawer(partition, drawer), layout.due(partition), layout.changes(partition), layout.drawers(partition)];
    let mut command = cmd(verb);
    command.arg(script).arg(keys.len()).arg(&keys);
    command
}
