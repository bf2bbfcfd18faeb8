//! What it costs to know who calls and whether they may: in itself, for 10 engines and for 10,000, and as a part of a call.

use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use vault_engine::access::{Caller, Credentials, EngineKey, Pepper, Registry};
use vault_engine::adapters::system::SystemRandom;
use vault_engine::domain::id::{PlatformId, TenantId, UserId};
use vault_engine::domain::limits::{Limits, Rate};
use vault_engine::domain::method::Action;
use vault_engine::domain::policy::{Effect, Named, Policy, Rule};
use vault_engine::domain::registry::{Document, NewEngine, NewKey};
use vault_engine::domain::time::Timestamp;
use zeroize::Zeroizing;

use crate::contest::{self, Contestant};
use crate::crypto::median;
use crate::effort::{Effort, TARGET_LEVEL};
use crate::report::{Bound, Target};
use crate::traffic;
use crate::vault::{NearCache, Store, Vault};

/// Engines of one tenant.
const PER_TENANT: usize = 1_000;

/// Keys of which the load is made: they are spread over all engines.
const PRESENTED: usize = 512;

const DAY: Duration = Duration::from_secs(86_400);

const VAULT: &str = "vault, embedded";

/// A registry with so many engines of two keys each, and the credentials of some of them.
struct Crowd {
    registry: Registry,
    presented: Vec<Credentials>,
}

pub(super) fn measure(effort: &Effort) -> Result<Vec<Target>, Box<dyn Error>> {
    let (few, many) = (Crowd::of(10)?, Crowd::of(10_000)?);
    let (mut lookups, mut whole) = (Vec::new(), Duration::MAX);
    // By turns, so that whatever else the machine does is done to both.
    for _ in 0..5 {
        let (of_few, of_many) = (few.verify(effort.primitive_calls)?, many.verify(effort.primitive_calls)?);
        lookups.push(of_many.as_secs_f64() / of_few.as_secs_f64());
        whole = whole.min(many.decide(effort.primitive_calls)?);
    }
    let vault = Vault::start(Store::Embedded, NearCache::AsItShips)?;
    vault.store_fresh(traffic::one_each())?;
    let load = vault.get_token(traffic::one_each());
    let contestants = [Contestant { name: VAULT, server: &vault.server, load, compared_with: &[] }];
    let levels = contest::hold(&contestants, &[TARGET_LEVEL], effort)?;
    let results = levels.iter().flat_map(|level| &level.results).find(|results| results.name == VAULT);
    let call = results.ok_or("the vault was not measured")?.median(|round| round.cpu_per_call.as_secs_f64());
    let share = whole.as_secs_f64() / call;
    Ok(vec![
        Target::new(
            "finding and verifying a key of 10,000 engines, to 10",
            Bound::AtMost(1.2, ""),
            contest::median(lookups.into_iter()),
        ),
        Target::new("authentication, policy and quota, of a GetToken's CPU", Bound::AtMost(0.2, ""), share),
    ])
}

// === impl Crowd ===

impl Crowd {
    fn of(engines: usize) -> Result<Self, Box<dyn Error>> {
        let pepper = || Pepper::new(Zeroizing::new([7; 32]));
        let registry = Registry::new(pepper(), [], EngineKey::make(&SystemRandom));
        let mut documents = vec![(TenantId::system(), Arc::new(Document::default()))];
        let mut all = Vec::new();
        for first in (0..engines).step_by(PER_TENANT) {
            let tenant: TenantId = format!("tenant-{first}").parse()?;
            let mut document = Document::default();
            for number in first..engines.min(first + PER_TENANT) {
                let id = format!("engine-{number:05}").parse()?;
                document.create_engine(&tenant, &id, engine(&tenant)?, now())?;
                for _ in 0..2 {
                    let key = EngineKey::make(&SystemRandom);
                    let verifier = key.verifier(&pepper(), id.as_str());
                    let new = NewKey { id: verifier.key_id, verifier: verifier.verifier, life: DAY };
                    document.create_key(&id, &new, now())?;
                    all.push((id.to_string(), key.expose()));
                }
            }
            documents.push((tenant, Arc::new(document)));
        }
        registry.adopt(|| documents);
        let step = (all.len() / PRESENTED).max(1);
        let presented = all.into_iter().step_by(step).cycle().take(PRESENTED);
        Ok(Self { registry, presented: presented.map(|(id, key)| Credentials::new(id, key)).collect() })
    }

    /// The processor time of finding out who presents a key.
    fn verify(&self, calls: u32) -> Result<Duration, Box<dyn Error>> {
        let took = median(|| {
            for credentials in self.presented.iter().cycle().take(usize::try_from(calls)?) {
                black_box(self.caller(credentials)?);
            }
            Ok(())
        })?;
        Ok(took / calls)
    }

    /// The processor time of that and of everything else that is decided about a call.
    fn decide(&self, calls: u32) -> Result<Duration, Box<dyn Error>> {
        let (user, platform): (UserId, PlatformId) = ("user-17".parse()?, "gmail".parse()?);
        let took = median(|| {
            for (credentials, at) in self.presented.iter().cycle().zip(0..calls) {
                let caller = self.caller(credentials)?;
                let (tenant, now) = (caller.tenant("")?, Duration::from_millis(at.into()));
                caller.count_call(now).map_err(|_| "a limit nobody reaches was reached")?;
                let permits = caller.permits(Action::Get, &tenant);
                caller.count_user(&tenant, &user, now).map_err(|_| "a limit nobody reaches was reached")?;
                black_box(permits.connection(&user, &platform));
            }
            Ok(())
        })?;
        Ok(took / calls)
    }

    fn caller(&self, credentials: &Credentials) -> Result<Caller, Box<dyn Error>> {
        self.registry.verify(black_box(credentials), None, now()).map_err(|_| "a sound key was refused".into())
    }
}

fn now() -> Timestamp {
    Timestamp::from_unix_seconds(1_800_000_000)
}

/// With a policy and limits such as an installation that is careful has.
fn engine(tenant: &TenantId) -> Result<NewEngine, Box<dyn Error>> {
    let platforms = ["gmail", "slack", "notion"].map(str::parse).into_iter().collect::<Result<_, _>>()?;
    let users = (0..50).map(|number| format!("ceo-{number}").parse()).collect::<Result<_, _>>()?;
    let allow = Rule { platforms: Named::Only(platforms), ..Rule::allowing(Named::Only([Action::Get].into())) };
    let deny = Rule { effect: Effect::Deny, users: Named::Only(users), ..Rule::allowing(Named::All) };
    Ok(NewEngine {
        display_name: String::new(),
        policy: Policy::new(Named::Only([tenant.clone()].into()), vec![allow, deny])?,
        limits: Limits { rate: Rate::new(1_000_000, 1_000_000), max_distinct_users_per_hour: Some(5_000) },
        disabled: false,
    })
}
