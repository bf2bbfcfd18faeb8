//! The transitions of one connection under every interleaving a random walk finds: readers, claimants, lost and late
//! answers, crashes, deletions, new consents. The store is a versioned cell, the platform rotates and refuses replays.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use vault_engine::domain::cause::Cause;
use vault_engine::domain::connection::{
    Claim, Connection, Entry, Failure, Generation, Grant, Health, InstanceId, OriginFingerprint, Renewal, Renewed,
    Sight,
};
use vault_engine::domain::secret::{AccessToken, RefreshToken};
use vault_engine::domain::time::Timestamp;

const LEASE: Duration = Duration::from_secs(20);
const INSTANCES: usize = 3;

/// One thing that happens; the number is the instance it happens to.
#[derive(Debug, Clone, Copy)]
enum Step {
    Read(usize),
    Claim(usize),
    /// The platform redeems the token and the answer arrives.
    Ask(usize),
    /// The platform redeems the token and the answer is lost.
    AskInVain(usize),
    /// What the platform said is written down, unless the record has changed since it was read.
    Write(usize),
    Crash(usize),
    Delete,
    Consent,
    Wait(u8),
}

/// What the platform knows: which of all refresh tokens there ever were is good.
#[derive(Default)]
struct Platform {
    issued: u64,
    good: Option<u64>,
}

/// What an instance has in its memory.
#[derive(Default, Clone)]
struct Memory {
    seen: Option<(u64, Entry)>,
    claim: Option<(Claim, u64)>,
    verdict: Option<Verdict>,
}

#[derive(Debug, Clone, Copy)]
enum Verdict {
    Granted(u64),
    Refused,
    Lost,
}

struct World {
    now: Timestamp,
    version: u64,
    entry: Entry,
    platform: Platform,
    instances: Vec<Memory>,
    /// Every token set there has ever been, by its generation.
    history: BTreeMap<u64, u64>,
    /// Whether an answer that grants the good token was lost, by a crash or on its way.
    lost: bool,
}

// === impl World ===

impl World {
    fn new() -> Self {
        let mut platform = Platform::default();
        let now = Timestamp::from_unix_seconds(1_000);
        let entry = Entry::Live(Box::new(Connection::stored(grant(platform.consent()), Generation(1), now)));
        let instances = vec![Memory::default(); INSTANCES];
        Self { now, version: 1, entry, platform, instances, history: BTreeMap::from([(1, 1)]), lost: false }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Read(i) => self.instances[i].seen = Some((self.version, self.entry.clone())),
            Step::Claim(i) => self.claim(i),
            Step::Ask(i) => self.ask(i, true),
            Step::AskInVain(i) => self.ask(i, false),
            Step::Write(i) => self.write(i),
            Step::Crash(i) => self.crash(i),
            Step::Delete => self.put(self.entry.deleted(self.now)),
            Step::Consent => {
                let generation = self.entry.next_generation();
                let token = self.platform.consent();
                self.lost = false;
                // Answers under way belong to the grant before: nothing is lost with them.
                self.put(Entry::Live(Box::new(Connection::stored(grant(token), generation, self.now))));
            }
            Step::Wait(seconds) => self.now = self.now + Duration::from_secs(seconds.into()),
        }
    }

    fn claim(&mut self, i: usize) {
        if self.instances[i].claim.is_some() {
            return;
        }
        let Some((version, Entry::Live(connection))) = self.instances[i].seen.clone() else { return };
        let token = token_of(&connection);
        let owner = InstanceId(u64::try_from(i).unwrap());
        // Nobody can have watched a claim for longer than it has been there.
        let watched = match connection.renewal {
            Renewal::Claimed(held) => self.now.since(held.began()),
            Renewal::Idle => Duration::ZERO,
        };
        let sight = Sight { now: self.now, watched };
        let Ok((claimed, claim)) = connection.claim(owner, version + 1, sight, LEASE) else { return };
        if version == self.version {
            self.put(Entry::Live(Box::new(claimed)));
            self.instances[i].seen = Some((self.version, self.entry.clone()));
            self.instances[i].claim = Some((claim, token));
        }
    }

    fn ask(&mut self, i: usize, arrives: bool) {
        let Memory { claim: Some((_, token)), verdict: None, .. } = self.instances[i] else { return };
        let answer = self.platform.redeem(token);
        self.instances[i].verdict = Some(match answer {
            Some(next) if arrives => Verdict::Granted(next),
            None if arrives => Verdict::Refused,
            Some(_) => {
                self.lost = true;
                Verdict::Lost
            }
            None => Verdict::Lost,
        });
    }

    fn crash(&mut self, i: usize) {
        let memory = std::mem::take(&mut self.instances[i]);
        if let Some(Verdict::Granted(token)) = memory.verdict {
            self.lost |= self.platform.good == Some(token);
        }
    }

    /// As the protocol does it: against the record as it was read; whoever loses reads again and judges anew.
    fn write(&mut self, i: usize) {
        let Memory { seen, claim: Some((claim, _)), verdict: Some(verdict) } = self.instances[i].clone() else {
            return;
        };
        let Some((version, Entry::Live(connection))) = seen else {
            // Deleted, by somebody's will: the answer has no home.
            self.instances[i] = Memory::default();
            return;
        };
        let before = connection.generation;
        let next = match verdict {
            Verdict::Granted(token) => connection.renew(&claim, renewed(token, self.now)),
            Verdict::Refused => connection.die(&claim, Cause::GrantRefused, self.now),
            Verdict::Lost => {
                let lost = Some(claim.deadline - LEASE);
                let next_at = Some(self.now + Duration::from_secs(30));
                connection.release(&claim, Failure { at: self.now, cause: Cause::ProviderOutage, next_at, lost })
            }
        };
        let Ok(next) = next else {
            self.instances[i] = Memory::default();
            return;
        };
        if version != self.version {
            self.instances[i].seen = Some((self.version, self.entry.clone()));
            return;
        }
        assert_eq!(before, claim.generation, "only the generation that was claimed is replaced or declared dead");
        self.put(Entry::Live(Box::new(next)));
        self.instances[i] = Memory::default();
    }

    fn put(&mut self, entry: Entry) {
        let (before, after) = (generation_of(&self.entry), generation_of(&entry));
        assert!(after >= before, "a generation never comes back");
        if matches!((&self.entry, &entry), (Entry::Deleted(_), Entry::Live(_))) {
            assert!(after > before, "only a new consent follows a deletion");
        }
        if let Entry::Live(connection) = &entry {
            let token = token_of(connection);
            let known = *self.history.entry(after.0).or_insert(token);
            assert_eq!(known, token, "a generation has one set of tokens, whoever writes");
        }
        self.version += 1;
        self.entry = entry;
    }

    /// Whoever has an answer in hand writes it.
    fn come_to_rest(&mut self) {
        while let Some(i) = (0..INSTANCES).find(|i| self.instances[*i].verdict.is_some()) {
            self.step(Step::Write(i));
        }
    }
}

// === impl Platform ===

impl Platform {
    fn consent(&mut self) -> u64 {
        self.issued += 1;
        self.good = Some(self.issued);
        self.issued
    }

    fn redeem(&mut self, token: u64) -> Option<u64> {
        (self.good == Some(token)).then(|| self.consent())
    }
}

fn generation_of(entry: &Entry) -> Generation {
    match entry {
        Entry::Live(connection) => connection.generation,
        Entry::Deleted(tombstone) => tombstone.generation,
    }
}

fn token_of(connection: &Connection) -> u64 {
    connection.grant.refresh.as_ref().unwrap().expose().parse().unwrap()
}

fn grant(token: u64) -> Grant {
    Grant {
        access: AccessToken::new(token.to_string()).unwrap(),
        refresh: RefreshToken::new(token.to_string()),
        previous_refresh: None,
        expires_at: None,
        issued_at: Timestamp::EPOCH,
        scopes: Vec::new(),
        token_type: None,
        refresh_expires_at: None,
        origin: OriginFingerprint(1),
    }
}

fn renewed(token: u64, now: Timestamp) -> Renewed {
    Renewed {
        access: AccessToken::new(token.to_string()).unwrap(),
        refresh: RefreshToken::new(token.to_string()),
        expires_at: None,
        sent_at: now,
        scopes: None,
        token_type: None,
        refresh_expires_at: None,
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let instance = || 0..INSTANCES;
    let step = prop_oneof![
        6 => instance().prop_map(Step::Read),
        6 => instance().prop_map(Step::Claim),
        6 => instance().prop_map(Step::Ask),
        1 => instance().prop_map(Step::AskInVain),
        8 => instance().prop_map(Step::Write),
        1 => instance().prop_map(Step::Crash),
        1 => Just(Step::Delete),
        1 => Just(Step::Consent),
        3 => (1_u8..30).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn no_interleaving_loses_an_answer_that_arrived(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.come_to_rest();
        let Entry::Live(connection) = &world.entry else { return Ok(()) };
        if !world.lost {
            prop_assert_eq!(Some(token_of(connection)), world.platform.good);
            prop_assert_eq!(connection.health, Health::Alive);
        }
    }
}
