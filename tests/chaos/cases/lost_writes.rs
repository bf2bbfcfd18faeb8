//! The server that takes writes is gone, and with it what it had acknowledged and nobody else had: the store goes back in
//! time. Whoever has seen what is lost says so, to callers, log and audit trail, and hands out nothing older; what was
//! deleted does not come back there, and what was stored does not count as never stored.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use tokio::time::Instant;
use tonic::Code;

use super::Setting;
use crate::caller::{Caller, reason};
use crate::eventually::eventually;
use crate::judge::Scripted;
use crate::judge::scripted::first_refresh_token;
use crate::report::Report;
use crate::shape::Trouble;
use crate::vault_log;
use crate::world::{FAR, World};

const PLATFORM: &str = "forgotten";

/// Within which every instance serves again after the failover.
const RECOVERY: Duration = Duration::from_secs(5);

/// How long an instance may go on handing out what is lost: it has it in memory.
const PATIENCE: Duration = Duration::from_secs(4);

/// What was done to a connection last, and may be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Refreshed,
    Deleted,
    Stored,
}

/// A user with one connection.
struct User {
    name: String,
    deed: Deed,
    /// The instance that did it.
    owner: usize,
    /// The instance that has seen it done.
    witness: usize,
    /// The instance that knows nothing of it.
    stranger: usize,
}

/// What a caller is told.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    Token(String),
    Missing,
    Lost,
    Refused(String),
}

pub(super) async fn run(setting: Setting) -> Report {
    let judge = Scripted::start().await;
    let mut world = World::begin(setting.kind, &[judge.platform(PLATFORM, "refresh: { rotates: yes }\n")], "").await;
    let callers: Vec<Caller> = world.callers().iter().map(|caller| caller.on(PLATFORM)).collect();
    let users: Vec<User> = (0..setting.size.grants).map(User::new).collect();
    let at = |n: usize| &callers[n];
    join_all(users.iter().map(async |user| user.prepare(&callers).await)).await;

    world.begin_trouble(Trouble::Lagging).await;
    let done = join_all(users.iter().map(async |user| user.act(at(user.owner)).await)).await;
    join_all(users.iter().map(async |user| {
        let sees = async || (ask(at(user.witness), &user.name).await == user.after()).then_some(());
        eventually("another instance sees it", sees).await;
    }))
    .await;
    setting.tell("what nobody else has is acknowledged");
    world.begin_trouble(Trouble::FailedOver).await;
    world.end_trouble(Trouble::Lagging).await;
    world.end_trouble(Trouble::FailedOver).await;
    let recovery = world.recovery(RECOVERY * 3).await;

    let mut report = Report::default();
    report.must(done.iter().all(|done| *done), || "not everything was acknowledged".to_owned());
    report.recovered(recovery, RECOVERY);
    let told = join_all(users.iter().map(async |user| {
        let (owner, witness) = tokio::join!(user.settled(at(user.owner)), user.settled(at(user.witness)));
        [owner, witness, ask(at(user.stranger), &user.name).await]
    }))
    .await;
    report.calls = users.len() * (2 + callers.len() * 2);
    report.refreshes = Some(judge.arrivals().len());
    let (mut lost, mut reports, mut blind) = (0, 0, 0);
    let said: Vec<BTreeSet<String>> =
        world.instances.iter().map(|instance| vault_log::reported_lost(&instance.vault.stderr())).collect();
    let written: Vec<BTreeSet<String>> = (0..world.instances.len()).map(|n| lost_in_the_trail(&world, n)).collect();
    for (user, [owner, witness, stranger]) in users.iter().zip(told) {
        let what = format!("{}, {:?} at instance {}", user.name, user.deed, user.owner);
        let is_lost = stranger == user.before() || [&owner, &witness].contains(&&Told::Lost);
        lost += usize::from(is_lost);
        blind += usize::from(stranger == user.before());
        let wanted = if is_lost { Told::Lost } else { user.after() };
        for (n, told) in [(user.owner, owner), (user.witness, witness)] {
            report.must(told == wanted, || format!("{what}: instance {n} has seen it, and says {told:?}"));
            let logged = said[n].contains(&user.name) && written[n].contains(&user.name);
            report
                .must(logged == is_lost, || format!("{what}: log or trail of instance {n} do not say that it is lost"));
            reports += usize::from(logged && told == Told::Lost);
        }
        let may = stranger == user.before() || stranger == user.after();
        report.must(may, || format!("{what}: instance {} has not seen it, and says {stranger:?}", user.stranger));
    }
    report.must(lost > 0, || "the store has forgotten nothing".to_owned());
    report.done = format!(
        "{} instances; {lost} of {} acknowledged writes lost; {reports} of {} times reported by who had seen them, {blind} \
         older answers by who had not",
        callers.len(),
        users.len(),
        lost * 2,
    );
    report
}

// === impl User ===

impl User {
    fn new(n: usize) -> Self {
        let deed = [Deed::Refreshed, Deed::Deleted, Deed::Stored][n % 3];
        let owner = n / 3 % 3;
        Self { name: format!("user{n}"), deed, owner, witness: (owner + 1) % 3, stranger: (owner + 2) % 3 }
    }

    /// What everybody is told at first.
    fn before(&self) -> Told {
        match self.deed {
            Deed::Refreshed | Deed::Deleted => Told::Token(format!("access-{}-1", self.name)),
            Deed::Stored => Told::Missing,
        }
    }

    /// What everybody is told once it is done.
    fn after(&self) -> Told {
        match self.deed {
            Deed::Refreshed => Told::Token(format!("access-{}-2", self.name)),
            Deed::Deleted => Told::Missing,
            Deed::Stored => Told::Token("first-access".to_owned()),
        }
    }

    /// Has every instance know what there is at first.
    async fn prepare(&self, callers: &[Caller]) {
        if self.deed != Deed::Stored {
            callers[self.owner].store_expired(&self.name, &first_refresh_token(&self.name)).await;
        }
        for caller in callers {
            let knows = async || (ask(caller, &self.name).await == self.before()).then_some(());
            eventually("everybody knows what there is", knows).await;
        }
    }

    /// Does what may be lost; whether it was acknowledged.
    async fn act(&self, owner: &Caller) -> bool {
        match self.deed {
            Deed::Refreshed => owner.get_another(&self.name).await.is_ok(),
            Deed::Deleted => owner.delete(&self.name).await.unwrap_or(false),
            Deed::Stored => owner.try_store(&self.name, "first-access", "refresh", FAR).await.is_ok(),
        }
    }

    /// What an instance says that has seen it done, once it cannot have it in memory any more.
    async fn settled(&self, caller: &Caller) -> Told {
        let deadline = Instant::now() + PATIENCE;
        let mut looks = tokio::time::interval(Duration::from_millis(100));
        loop {
            looks.tick().await;
            let told = ask(caller, &self.name).await;
            if told != self.after() || Instant::now() > deadline {
                return told;
            }
        }
    }
}

/// Asks until there is an answer.
async fn ask(caller: &Caller, user: &str) -> Told {
    eventually("an answer", async || match caller.get(user).await {
        Ok(answer) => Some(Told::Token(answer.access_token)),
        Err(status) if status.code() == Code::Unavailable => None,
        Err(status) if status.code() == Code::NotFound => Some(Told::Missing),
        Err(status) if (status.code(), &*reason(&status)) == (Code::DataLoss, "RECORD_CORRUPT") => Some(Told::Lost),
        Err(status) => Some(Told::Refused(status.to_string())),
    })
    .await
}

/// The users of whose records the audit trail of an instance says that they went back.
fn lost_in_the_trail(world: &World, instance: usize) -> BTreeSet<String> {
    let file = world.installation.data_dir(&world.instances[instance].name).join("audit.jsonl");
    let trail = fs::read_to_string(file).unwrap();
    let lines = trail.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let lost = lines.filter(|line| line["reason"] == "record_rollback" || line["reason"] == "record_vanished");
    lost.map(|line| line["user"].as_str().unwrap().to_owned()).collect()
}
