//! What lies in Redis, as somebody sees and changes it who can write to the store and has no keys.

use std::collections::BTreeMap;

use vault_engine::domain::ports::Partition;

use crate::redis::RedisServer;

/// Everything of one user.
pub(crate) struct Drawer<'a> {
    server: &'a RedisServer,
    key: String,
}

/// `KEYS[1]`, `ARGV[1]`: the bytes of one field, in hex.
const READ: &str = "return (string.gsub(redis.call('HGET', KEYS[1], ARGV[1]), '.', \
                    function(c) return string.format('%02x', string.byte(c)) end))";

/// Everything there is, in hex.
const READ_ALL: &str = "local all = '' \
                        for _, key in ipairs(redis.call('KEYS', '*')) do \
                          local kind, parts = redis.call('TYPE', key).ok, {} \
                          if kind == 'hash' then parts = redis.call('HGETALL', key) end \
                          if kind == 'zset' then parts = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES') end \
                          if kind == 'stream' then \
                            for _, entry in ipairs(redis.call('XRANGE', key, '-', '+')) do \
                              for _, part in ipairs(entry[2]) do table.insert(parts, part) end \
                            end \
                          end \
                          for _, text in ipairs(parts) do all = all .. key .. text end \
                        end \
                        return (string.gsub(all, '.', function(c) return string.format('%02x', string.byte(c)) end))";

/// The drawer of a user.
pub(super) fn drawer<'a>(server: &'a RedisServer, tenant: &str, user: &str) -> Drawer<'a> {
    let partition = Partition::of(&tenant.parse().unwrap(), &user.parse().unwrap());
    Drawer { server, key: format!("vault:{{{}}}:{tenant}/{user}", partition.number()) }
}

/// The drawer of what belongs to a tenant and to no user.
pub(super) fn tenant_drawer<'a>(server: &'a RedisServer, tenant: &str) -> Drawer<'a> {
    let partition = Partition::of_tenant(&tenant.parse().unwrap());
    Drawer { server, key: format!("vault:{{{}}}:{tenant}", partition.number()) }
}

/// Everything there is.
pub(super) fn everything(server: &RedisServer) -> Vec<u8> {
    from_hex(&server.ask(&[b"EVAL", READ_ALL.as_bytes(), b"0"]))
}

/// How often each command was carried out, those inside scripts included.
pub(super) fn commands(server: &RedisServer) -> BTreeMap<String, u64> {
    let report = server.ask(&[b"INFO", b"commandstats"]);
    let calls = report.lines().filter_map(|line| {
        let (name, numbers) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((name.to_owned(), numbers.split(',').next()?.parse().ok()?))
    });
    // The command that asks is not the vault's; making a connection, and keeping it, is part of no call.
    let is_of_no_call = |name: &str| matches!(name, "info" | "ping" | "hello") || name.starts_with("client");
    calls.filter(|(name, _)| !is_of_no_call(name)).collect()
}

// === impl Drawer ===

impl Drawer<'_> {
    /// The bytes of a field: a platform, or `#key:1`, or `#keyring`.
    pub(crate) fn read(&self, field: &str) -> Vec<u8> {
        from_hex(&self.server.ask(&[b"EVAL", READ.as_bytes(), b"1", self.key.as_bytes(), field.as_bytes()]))
    }

    /// Puts these bytes there.
    pub(crate) fn write(&self, field: &str, bytes: &[u8]) {
        self.server.ask(&[b"HSET", self.key.as_bytes(), field.as_bytes(), bytes]);
    }

    /// Takes a field away.
    pub(crate) fn remove(&self, field: &str) {
        assert_eq!(self.server.ask(&[b"HDEL", self.key.as_bytes(), field.as_bytes()]), "1");
    }

    /// Takes everything away.
    pub(crate) fn remove_all(&self) {
        assert_eq!(self.server.ask(&[b"DEL", self.key.as_bytes()]), "1");
    }
}

fn from_hex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).unwrap();
    text.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}
