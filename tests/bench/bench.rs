//! Measures the vault against bare servers, side by side in one run: what matters is the ratios.
//!
//! ```text
//! just bench             everything, some minutes
//! just bench --quick     a sanity run, half a minute
//! ```
//!
//! Each server is a process of its own on one core, the load runs on another, and the servers take turns, round after
//! round. What is compared with what, and how to read it, is in `docs/performance.md`.

#![expect(clippy::print_stdout, reason = "what is measured is printed")]

mod crypto;
mod echo;
mod load;
#[path = "../support/redis.rs"]
#[expect(dead_code, reason = "what is measured needs a server, and none of its tricks")]
mod redis_server;
mod report;
mod server;
#[path = "../support/started.rs"]
mod started;
mod traffic;

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use load::{Load, Plan};
use redis_server::{RedisOptions, RedisServer};
use report::{Bound, Figure, Level, Target};
use server::Server;
use traffic::{Connection, ENGINE};
use vault_engine::domain::id::TenantId;
use vault_engine::domain::method::Method;
use vault_engine::domain::ports::Partition;

/// The servers, in the order they take turns in.
const NAMES: [&str; 5] = ["echo, tokio's defaults", "echo", "vault", "echo + Redis GET", "vault over Redis"];
const DEFAULT_ECHO: usize = 0;
const ECHO: usize = 1;
const VAULT: usize = 2;
const REDIS_ECHO: usize = 3;
const REDIS_VAULT: usize = 4;
const COMPARED: [(usize, &[usize]); 3] =
    [(ECHO, &[DEFAULT_ECHO]), (VAULT, &[ECHO, DEFAULT_ECHO]), (REDIS_VAULT, &[REDIS_ECHO, ECHO])];

/// Calls in flight.
const LEVELS: [usize; 4] = [1, 16, 64, 256];
/// The level the targets are set at.
const TARGET_LEVEL: usize = 64;

/// How thoroughly to measure.
struct Effort {
    rounds: usize,
    warm_up: Duration,
    measured: Duration,
    primitive_calls: u32,
}

/// Everything that runs while it is measured.
struct World {
    redis: RedisServer,
    servers: Vec<(Server, Arc<Load>)>,
    idle_bytes: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    // cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve-echo-default"] => echo::serve(&tokio::runtime::Runtime::new()?, None)?,
        ["serve-echo"] => echo::serve(&vault_engine::runtime::build()?, None)?,
        ["serve-echo-redis", port] => echo::serve(&vault_engine::runtime::build()?, Some(port.parse()?))?,
        ["store", address, key] => traffic::store_all(&format!("http://{address}"), key)?,
        ["load", address, key, in_flight, seconds] => load_one(address, key, in_flight, seconds)?,
        [] => measure(&Effort::thorough())?,
        ["--quick"] => measure(&Effort::quick())?,
        _ => return Err("usage: bench [--quick | store ADDRESS KEY | load ADDRESS KEY CALLS_IN_FLIGHT SECONDS]".into()),
    }
    Ok(())
}

// === impl Effort ===

impl Effort {
    fn thorough() -> Self {
        let (warm_up, measured) = (Duration::from_millis(300), Duration::from_millis(1_500));
        Self { rounds: 7, warm_up, measured, primitive_calls: 20_000 }
    }

    fn quick() -> Self {
        let (warm_up, measured) = (Duration::from_millis(100), Duration::from_millis(300));
        Self { rounds: 3, warm_up, measured, primitive_calls: 2_000 }
    }
}

// === impl World ===

impl World {
    fn begin(data: &Path) -> Result<Self, Box<dyn Error>> {
        let redis = RedisServer::start(RedisOptions::default());
        let port = redis.port().to_string();
        let in_redis = [
            ("VAULT_ENGINE_STORE__KIND", "redis".to_owned()),
            ("VAULT_ENGINE_STORE__REDIS__URL", format!("redis://127.0.0.1:{port}")),
        ];
        let (embedded, over_redis) = (data.join("embedded"), data.join("redis"));
        let vault = Server::vault(&embedded, &[])?;
        let idle_bytes = vault.resident()?;
        let servers = [
            (Server::echo(&["serve-echo-default"])?, None),
            (Server::echo(&["serve-echo"])?, None),
            (vault, Some(engine_key(&embedded)?)),
            (Server::echo(&["serve-echo-redis", &port])?, None),
            (Server::vault(&over_redis, &in_redis)?, Some(engine_key(&over_redis)?)),
        ];
        let mut loaded = Vec::new();
        for (server, key) in servers {
            if let Some(key) = &key {
                traffic::store_all(&format!("http://{}", server.address()), key)?;
            }
            // The bare servers get the same headers, so that reading them is no part of the difference.
            let key = key.unwrap_or_else(|| "x".repeat(vault_engine::access::EngineKey::LENGTH));
            let load = Arc::new(load(server.address(), &key));
            loaded.push((server, load));
        }
        let world = Self { redis, servers: loaded, idle_bytes };
        // The bare server reads a value as large as the vault's.
        let value = "v".repeat(world.record_bytes()?);
        world.redis.ask(&[b"SET", echo::REDIS_KEY.as_bytes(), value.as_bytes()]);
        Ok(world)
    }

    /// Bytes of a stored connection.
    fn record_bytes(&self) -> Result<usize, Box<dyn Error>> {
        let user = Connection::of_user(0);
        let partition = Partition::of(&TenantId::default_tenant(), &user.user().parse()?);
        let key = format!("vault:{{{}}}:default/{}", partition.number(), user.user());
        Ok(self.redis.ask(&[b"HSTRLEN", key.as_bytes(), Connection::platform().as_bytes()]).parse()?)
    }

    fn level(&self, in_flight: usize, effort: &Effort) -> Result<Level, Box<dyn Error>> {
        let plan = Plan { in_flight, warm_up: effort.warm_up, measured: effort.measured };
        let mut rounds = Vec::new();
        for _ in 0..effort.rounds {
            let figures = self.servers.iter().map(|(server, load)| figure(server, load, plan));
            rounds.push(figures.collect::<Result<Vec<_>, _>>()?);
        }
        Ok(Level { in_flight, rounds })
    }
}

fn measure(effort: &Effort) -> Result<(), Box<dyn Error>> {
    server::move_to_the_core_of_the_load()?;
    if cfg!(debug_assertions) {
        say("This is a debug build: nothing it says about speed is true.\n");
    }
    let data = tempfile::tempdir()?;
    let world = World::begin(data.path())?;
    let mut at_target = None;
    for in_flight in LEVELS {
        let level = world.level(in_flight, effort)?;
        level.print(&NAMES, &COMPARED);
        at_target = if in_flight == TARGET_LEVEL { Some(level) } else { at_target };
    }
    let (authentication, opening) = crypto::per_call(effort.primitive_calls)?;
    let level = at_target.ok_or("the level of the targets was not measured")?;
    let targets = targets(&world, &level, authentication + opening)?;
    report::print_targets(&targets);
    Ok(())
}

/// The load alone, on a vault that runs elsewhere and was given its tokens by `store`: to look at it with a profiler.
fn load_one(address: &str, key: &str, in_flight: &str, seconds: &str) -> Result<(), Box<dyn Error>> {
    server::move_to_the_core_of_the_load()?;
    let load = Arc::new(load(address.parse()?, key));
    let measured = Duration::from_secs(seconds.parse()?);
    let outcome = load.run(Plan { in_flight: in_flight.parse()?, warm_up: Duration::ZERO, measured })?;
    say(format!("{} calls", outcome.calls));
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "bytes that a float holds exactly")]
fn targets(world: &World, level: &Level, crypto: Duration) -> Result<[Target; 6], Box<dyn Error>> {
    let overhead = world.record_bytes()? - Connection::payload_bytes();
    let ratio =
        |what, least, server, to| Target { what, wanted: Bound::AtLeast(least), measured: level.ratio(server, to) };
    let most = |what, most, unit, measured| Target { what, wanted: Bound::Below(most, unit), measured };
    let mebibytes = world.idle_bytes as f64 / 1_048_576.0;
    Ok([
        ratio("GetToken, embedded, audited, to an echo on the same runtime", 0.60, VAULT, ECHO),
        ratio("GetToken, embedded, audited, to an echo on tokio's defaults", 1.00, VAULT, DEFAULT_ECHO),
        ratio("GetToken over Redis, to an echo that does one Redis GET", 0.75, REDIS_VAULT, REDIS_ECHO),
        most("cryptography and authentication of one GetToken, CPU", 15.0, "us", crypto.as_secs_f64() * 1e6),
        most("resident memory of a vault that has just started", 60.0, "MiB", mebibytes),
        most("bytes of a stored record beyond its tokens and scopes", 160.0, "B", overhead as f64),
    ])
}

fn figure(server: &Server, load: &Arc<Load>, plan: Plan) -> Result<Figure, Box<dyn Error>> {
    let before = server.cpu_time()?;
    let mut outcome = load.run(plan)?;
    let used = server.cpu_time()?.since(before);
    outcome.latencies.sort_unstable();
    let counted = outcome.latencies.len();
    let at = |index: usize| outcome.latencies.get(index).copied().ok_or("no call was answered");
    let calls = u32::try_from(outcome.calls)?;
    Ok(Figure {
        calls_per_second: f64::from(u32::try_from(counted)?) / plan.measured.as_secs_f64(),
        median: at(counted / 2)?,
        slowest_hundredth: at(counted * 99 / 100)?,
        cpu_per_call: used / calls.max(1),
    })
}

fn load(address: SocketAddr, key: &str) -> Load {
    Load::new(address, Method::GetToken.path(), (ENGINE, key), traffic::requests(), traffic::answer_bytes())
}

/// The key of the engine that asks, as `dev` wrote it down.
fn engine_key(data: &Path) -> Result<String, Box<dyn Error>> {
    let keys: BTreeMap<String, String> = serde_json::from_str(&fs::read_to_string(data.join("engine-keys.json"))?)?;
    Ok(keys.get(ENGINE).cloned().ok_or("no such engine")?)
}

fn say(line: impl AsRef<str>) {
    println!("{}", line.as_ref());
}
