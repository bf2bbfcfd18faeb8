//! `GetToken` of a fresh token over each store, against servers that do nothing but answer, or nothing but read.

use std::error::Error;
use std::sync::Arc;

use vault_engine::access::EngineKey;
use vault_engine::domain::method::Method;

use crate::contest::{self, Contestant};
use crate::echo::Echo;
use crate::effort::{Effort, TARGET_LEVEL};
use crate::load::Load;
use crate::report::Target;
use crate::traffic;
use crate::vault::{NearCache, Store, Vault};

const LEVELS: [usize; 4] = [1, 16, TARGET_LEVEL, 256];

const ECHO_DEFAULT: &str = "echo, tokio's defaults";
const ECHO: &str = "echo";
const EMBEDDED: &str = "vault, embedded";
const CACHED: &str = "vault over Redis, near-cache";
const REDIS_ECHO: &str = "echo + Redis GET";
const REDIS: &str = "vault over Redis";
const POSTGRES_ECHO: &str = "echo + SELECT";
const POSTGRES: &str = "vault over PostgreSQL";

/// The servers, in the order they take turns in: each next to what it is compared with.
const TABLE: [(&str, Kind, &[&str]); 8] = [
    (ECHO_DEFAULT, Kind::Echo(Echoing::OnDefaults), &[]),
    (ECHO, Kind::Echo(Echoing::Nothing), &[ECHO_DEFAULT]),
    (EMBEDDED, Kind::Vault(Store::Embedded, NearCache::AsItShips), &[ECHO, ECHO_DEFAULT]),
    (CACHED, Kind::Vault(Store::Redis, NearCache::AsItShips), &[ECHO, ECHO_DEFAULT]),
    (REDIS_ECHO, Kind::Echo(Echoing::Redis), &[]),
    (REDIS, Kind::Vault(Store::Redis, NearCache::Off), &[REDIS_ECHO]),
    (POSTGRES_ECHO, Kind::Echo(Echoing::Postgres), &[]),
    (POSTGRES, Kind::Vault(Store::Postgres, NearCache::Off), &[POSTGRES_ECHO]),
];

/// What is promised: at least so many times what another does.
const PROMISES: [(f64, &str, &str); 6] = [
    (0.60, EMBEDDED, ECHO),
    (1.00, EMBEDDED, ECHO_DEFAULT),
    (0.75, CACHED, ECHO),
    (1.20, CACHED, ECHO_DEFAULT),
    (0.80, REDIS, REDIS_ECHO),
    (0.75, POSTGRES, POSTGRES_ECHO),
];

#[derive(Debug, Clone, Copy)]
enum Kind {
    Echo(Echoing),
    Vault(Store, NearCache),
}

#[derive(Debug, Clone, Copy)]
enum Echoing {
    OnDefaults,
    Nothing,
    Redis,
    Postgres,
}

enum Running {
    Echo(Echo),
    Vault(Vault),
}

pub(super) fn measure(effort: &Effort) -> Result<Vec<Target>, Box<dyn Error>> {
    let mut running = Vec::with_capacity(TABLE.len());
    let record_bytes = record_bytes()?;
    for (name, kind, compared_with) in TABLE {
        running.push((name, Running::start(kind, record_bytes)?, compared_with));
    }
    let contestants: Vec<_> = running.iter().map(|(name, running, to)| running.contestant(name, to)).collect();
    let levels = contest::hold(&contestants, &LEVELS, effort)?;
    let level = levels.iter().find(|level| level.in_flight == TARGET_LEVEL).ok_or("the level was not measured")?;
    let promised = |(least, one, other): (f64, &str, &str)| {
        Ok(Target::at_least(least, level.ratio(one, other)?, format!("GetToken, {one}, to {other}")))
    };
    PROMISES.into_iter().map(promised).collect()
}

/// Bytes of a record: what the echoes read is as large.
fn record_bytes() -> Result<usize, Box<dyn Error>> {
    let vault = Vault::start(Store::Redis, NearCache::Off)?;
    vault.store_fresh(traffic::one_each().take(1))?;
    vault.record_bytes()
}

// === impl Running ===

impl Running {
    fn start(kind: Kind, record_bytes: usize) -> Result<Self, Box<dyn Error>> {
        match kind {
            Kind::Echo(Echoing::OnDefaults) => Ok(Self::Echo(Echo::on_default_runtime()?)),
            Kind::Echo(Echoing::Nothing) => Ok(Self::Echo(Echo::on_own_runtime()?)),
            Kind::Echo(Echoing::Redis) => Ok(Self::Echo(Echo::over_redis(record_bytes)?)),
            Kind::Echo(Echoing::Postgres) => Ok(Self::Echo(Echo::over_postgres(record_bytes)?)),
            Kind::Vault(store, near_cache) => {
                let vault = Vault::start(store, near_cache)?;
                vault.store_fresh(traffic::one_each())?;
                Ok(Self::Vault(vault))
            }
        }
    }

    fn contestant(&self, name: &'static str, compared_with: &'static [&'static str]) -> Contestant<'_> {
        let (server, load) = match self {
            Self::Echo(Echo { server, .. }) => {
                // Echoes get the same headers, so that reading them is no part of the difference.
                let key = "x".repeat(EngineKey::LENGTH);
                let requests = traffic::requests(traffic::one_each());
                let load = Load::new(server.address(), Method::GetToken, &key, requests, traffic::answer_bytes());
                (server, Arc::new(load))
            }
            Self::Vault(vault) => (&vault.server, vault.get_token(traffic::one_each())),
        };
        Contestant { name, server, load, compared_with }
    }
}
