//! Instances are killed (SIGKILL) at random moments under load, again and again.
//!
//! What an instance had stored is there, and so is every answer it had written to its disk. Before a judge that answers
//! twice nothing is lost at all. Before one that does not, a grant is lost when the judge had rotated and the instance died
//! before it had written the answer: nobody has the new token. Such a loss is excused when it is proven: the judge gave one
//! answer more than the instances have written, the log of an instance that was killed ends in the middle of a refresh of
//! that grant, and no instance has given an answer up.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tonic::Code;

use super::Setting;
use super::load::{Load, Pace};
use crate::judge::{self, Judge};
use crate::report::Report;
use crate::vault_log::{self, Stage};
use crate::world::{World, dead, store_expired};

/// Callers who mostly want another token, so that there is always a refresh on its way.
const PACE: Pace = Pace { callers: 12, every: Duration::from_millis(60), limit: Duration::from_secs(3), another: 2 };

/// Within which an instance serves again that was started again.
const RECOVERY: Duration = Duration::from_secs(10);

/// Claims run out soon, and a dead owner is waited for a little longer than it takes to start it again.
const SETTINGS: &str = "refresh: { lease_seconds: 5 }\noutbox: { handover_seconds: 12 }\nlog: { level: debug }\n";

pub(super) async fn before_a_strict_judge(setting: Setting) -> Report {
    kill(setting, judge::strict().await).await
}

pub(super) async fn before_a_gracious_judge(setting: Setting) -> Report {
    kill(setting, judge::gracious().await).await
}

async fn kill(setting: Setting, judge: Box<dyn Judge>) -> Report {
    let mut world = World::begin(setting.kind, &[judge.platform()], SETTINGS).await;
    let grants = judge.grants(setting.size.grants).await;
    store_expired(&world.callers()[0], &grants).await;
    let users: Vec<String> = grants.into_iter().map(|(user, _)| user).collect();
    let load = Load::begin(world.callers(), &users, PACE);
    let (mut evidence, mut slowest) = (Evidence::default(), Duration::ZERO);
    for n in 0..setting.size.kills {
        load.goes_on(Duration::from_millis(500 + random() % 1_000)).await;
        let doomed = n % world.instances.len();
        let began = std::time::Instant::now();
        evidence.of_a_dead(&world.kill(doomed).await);
        world.restart(doomed, &[]).await;
        load.replace(doomed, world.instances[doomed].caller.clone()).await;
        let asked_again = world.recovery(RECOVERY).await;
        slowest = slowest.max(began.elapsed().max(asked_again));
        setting.tell(&format!("kill {} of {}", n + 1, setting.size.kills));
    }
    load.goes_on(Duration::from_secs(1)).await;
    let (calls, tally) = (load.calls(), load.take_tally());
    load.end().await;
    let dead = dead(&world.callers(), &users).await;
    world.instances.iter().for_each(|instance| evidence.of_a_living(&instance.vault.stderr()));

    let seen = judge.seen().await;
    let mut report = Report { calls, refreshes: Some(seen.granted + seen.refused), ..Report::default() };
    // Whoever was being answered by an instance that died learns that from its connection.
    let expected = |code, reason: &str| match code {
        Code::Unavailable | Code::Unknown | Code::Cancelled => true,
        // Of a grant that is lost.
        Code::FailedPrecondition => reason == "EXPIRED_TOKEN",
        _ => false,
    };
    let others = tally.refused_otherwise(expected);
    report.must(others.is_empty(), || format!("callers were refused: {}", others.join(", ")));
    let mistakes = mistakes();
    report.must(mistakes.is_empty(), || format!("the evidence itself is wrong about these: {mistakes:?}"));
    let mut excused = BTreeMap::from([("not arrived", 0), ("not written", 0)]);
    for lost in &dead {
        match evidence.excuse(&lost.user, &seen.granted_to) {
            Ok(excuse) => *excused.entry(excuse).or_default() += 1,
            Err(why) => report.must(false, || format!("{lost:?}: {why}")),
        }
    }
    report.done = format!(
        "{} instances, {} kills at random moments; {} refreshes cut off before their answer arrived, {} before it was written",
        world.instances.len(),
        setting.size.kills,
        evidence.cut_off_at(Stage::Asked),
        evidence.cut_off_at(Stage::Arrived),
    );
    report.alive = Some((users.len() - dead.len(), users.len()));
    report.excused = excused.into_iter().map(|(why, count)| (count, why)).collect();
    report.recovered(slowest, RECOVERY);
    report
}

/// What the logs of all instances tell about answers, by user.
#[derive(Default)]
struct Evidence {
    /// How many were written to a disk.
    written: BTreeMap<String, usize>,
    /// How far refreshes had come that were cut off by a kill before their answer was written.
    cut: BTreeMap<String, Vec<Stage>>,
    /// Whose answer somebody did not wait for, or could not read.
    given_up: BTreeSet<String>,
}

// === impl Evidence ===

impl Evidence {
    fn of_a_dead(&mut self, log: &str) {
        self.of_a_living(log);
        for (user, stage) in vault_log::stages(log).into_iter().filter(|(_, stage)| *stage != Stage::Written) {
            self.cut.entry(user).or_default().push(stage);
        }
    }

    fn of_a_living(&mut self, log: &str) {
        for user in vault_log::users_of(log, "an answer survives this process") {
            *self.written.entry(user).or_default() += 1;
        }
        let in_doubt = |line: &serde_json::Value| {
            line["message"] == "a refresh failed"
                && ["provider_outage", "malformed_answer"].iter().any(|reason| line["reason"] == *reason)
        };
        self.given_up.extend(vault_log::lines(log).filter(in_doubt).map(|line| vault_log::user_of(&line)));
    }

    /// Why nobody is to blame for the loss of this user's grant; otherwise, what speaks against it.
    fn excuse(&self, user: &str, granted_to: &BTreeMap<String, usize>) -> Result<&'static str, String> {
        let granted = granted_to.get(user).copied().unwrap_or_default();
        let written = self.written.get(user).copied().unwrap_or_default();
        let cut = self.cut.get(user).map(Vec::as_slice).unwrap_or_default();
        let facts = || format!("{granted} answers were given and {written} written; kills cut off {cut:?}");
        if self.given_up.contains(user) {
            return Err(format!("an instance that lived did not take an answer; {}", facts()));
        }
        if granted != written + 1 {
            return Err(facts());
        }
        if cut.contains(&Stage::Arrived) {
            Ok("not written")
        } else if cut.contains(&Stage::Asked) {
            Ok("not arrived")
        } else {
            Err(facts())
        }
    }

    fn cut_off_at(&self, stage: Stage) -> usize {
        self.cut.values().flatten().filter(|one| **one == stage).count()
    }
}

/// What the evidence makes of made-up logs; whatever it gets wrong.
fn mistakes() -> Vec<&'static str> {
    const ASKED: &str = "a platform is asked";
    const ANSWERED: &str = "a platform has answered";
    const WRITTEN: &str = "an answer survives this process";
    const FAILED: &str = "a refresh failed";
    type Known = (&'static str, Option<&'static str>, &'static [&'static str], &'static [&'static str], usize);
    // What a dead instance wrote, what a living one wrote, and how many answers the judge gave.
    let known: [Known; 7] = [
        ("not arrived", Some("not arrived"), &[ASKED], &[], 1),
        ("not written", Some("not written"), &[ASKED, ANSWERED], &[], 1),
        ("not arrived after one that was", Some("not arrived"), &[ASKED, ANSWERED, WRITTEN, ASKED], &[], 2),
        ("written", None, &[ASKED, ANSWERED, WRITTEN], &[], 1),
        ("written, and never asked again", None, &[ASKED, ANSWERED, WRITTEN, ASKED], &[], 1),
        ("nobody was killed", None, &[], &[ASKED], 1),
        ("given up by who lived", None, &[ASKED], &[ASKED, FAILED], 1),
    ];
    let log = |messages: &[&str]| {
        let line =
            |message| serde_json::json!({ "message": message, "record": "ada:judge", "reason": "provider_outage" });
        messages.iter().map(|message| line(message).to_string()).collect::<Vec<_>>().join("\n")
    };
    let is_wrong = |(_, excuse, dead, living, granted): &Known| {
        let mut evidence = Evidence::default();
        evidence.of_a_dead(&log(dead));
        evidence.of_a_living(&log(living));
        evidence.excuse("ada", &BTreeMap::from([("ada".to_owned(), *granted)])).ok() != *excuse
    };
    known.iter().filter(|one| is_wrong(one)).map(|(name, ..)| *name).collect()
}

/// A number nobody knows before.
fn random() -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).unwrap();
    u64::from_be_bytes(bytes)
}
