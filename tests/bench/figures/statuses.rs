//! `GetStatus` of a user with fifty connections, against `GetToken` of the same user from the same vault: how often the
//! store is asked, and how much more it costs.

use std::error::Error;
use std::sync::Arc;

use prost::Message as _;
use vault_engine::domain::method::Method;
use vault_engine::pb::vault_v1::GetStatusRequest;

use crate::contest::{self, Contestant};
use crate::effort::{Effort, TARGET_LEVEL};
use crate::engine;
use crate::load::Load;
use crate::platforms;
use crate::redis_server::RedisServer;
use crate::report::{Bound, Target};
use crate::traffic::Connection;
use crate::vault::{NearCache, Store, Vault};

/// Connections of each user, to as many platforms as there are.
const PLATFORMS: usize = 50;

/// How many users take turns.
const USERS: usize = 100;

const LEVELS: [usize; 2] = [1, TARGET_LEVEL];

/// Each store without the near-cache: a status is never told from it.
const TABLE: [(Store, &str, &str); 2] = [
    (Store::Redis, "GetToken over Redis", "GetStatus of 50 over Redis"),
    (Store::Postgres, "GetToken over PostgreSQL", "GetStatus of 50 over PostgreSQL"),
];

pub(super) fn measure(effort: &Effort) -> Result<Vec<Target>, Box<dyn Error>> {
    let mut vaults = Vec::new();
    for (store, ..) in TABLE {
        vaults.push(start(store)?);
    }
    let mut contestants = Vec::new();
    for (vault, (_, token, status)) in vaults.iter().zip(&TABLE) {
        let server = &vault.server;
        let load = vault.get_token((0..USERS).map(first_of));
        contestants.push(Contestant { name: token, server, load, compared_with: &[] });
        let compared_with = std::slice::from_ref(token);
        contestants.push(Contestant { name: status, server, load: get_status(vault)?, compared_with });
    }
    let mut targets = Vec::new();
    if let Some(vault) = vaults.first() {
        let trips = round_trips(vault.redis()?, &get_status(vault)?, effort)?;
        targets.push(Target::new("round trips to the store of one GetStatus for 50", Bound::AtMost(1.0, ""), trips));
    }
    for level in contest::hold(&contestants, &LEVELS, effort)? {
        // What one call costs: one after the other. How a core that is full fares is in the table above.
        for (_, token, status) in TABLE.iter().filter(|_| level.in_flight == 1) {
            let costs = level.ratio(status, token)?.inverse();
            targets.push(Target::at_most(2.0, costs, format!("what one {status} costs, to {token}")));
        }
    }
    Ok(targets)
}

fn start(store: Store) -> Result<Vault, Box<dyn Error>> {
    let nobody = "http://127.0.0.1:9";
    let vault = Vault::start_with(store, NearCache::Off, |folder| {
        let platforms = platforms::write(&folder.join("profiles"), PLATFORMS, nobody)?;
        // What is counted is what the calls ask of the store.
        Ok(format!("{platforms}registry: {{ enabled: false }}\n"))
    })?;
    let of_user = |user| (0..PLATFORMS).map(move |number| Connection::of_user(user).to(platforms::name(number)));
    vault.store_fresh((0..USERS).flat_map(of_user))?;
    Ok(vault)
}

fn first_of(user: usize) -> Connection {
    Connection::of_user(user).to(platforms::name(0))
}

fn request(user: usize) -> GetStatusRequest {
    GetStatusRequest { user_id: Connection::of_user(user).user, ..GetStatusRequest::default() }
}

/// Asks for the statuses of every user. All answers are as large as the first, which is looked at.
fn get_status(vault: &Vault) -> Result<Arc<Load>, Box<dyn Error>> {
    let answer = engine::runtime()?
        .block_on(async { Ok::<_, Box<dyn Error>>(vault.engine()?.get_status(request(0)).await?) })?;
    let active = answer.connected_platforms.iter().filter(|told| told.status == "active").count();
    if active != PLATFORMS {
        return Err(format!("{active} active connections instead of {PLATFORMS}").into());
    }
    let requests = (0..USERS).map(|user| request(user).encode_to_vec()).collect();
    Ok(vault.load(Method::GetStatus, requests, answer.encoded_len()))
}

/// Reads of records that one call causes, as the store counts them.
fn round_trips(redis: &RedisServer, load: &Arc<Load>, effort: &Effort) -> Result<f64, Box<dyn Error>> {
    redis.ask(&[b"CONFIG", b"RESETSTAT"]);
    let outcome = load.run(effort.plan(TARGET_LEVEL))?;
    let told = redis.ask(&[b"INFO", b"commandstats"]);
    let reads = ["hget", "hgetall", "hmget"].map(|command| calls(&told, command));
    Ok(f64::from(reads.into_iter().sum::<u32>()) / f64::from(u32::try_from(outcome.calls)?))
}

/// How often a command was called, out of `cmdstat_hgetall:calls=12,usec=...`.
fn calls(told: &str, command: &str) -> u32 {
    let line = told.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.and_then(|line| line.split(',').next()?.parse().ok()).unwrap_or(0)
}
