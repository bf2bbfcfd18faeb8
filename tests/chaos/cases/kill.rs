//! Instances are killed (SIGKILL) at random moments under load, again and again.
//!
//! What an instance had stored is there. Before a judge that answers twice nothing is lost at all. Before one that does
//! not, a grant is lost when the judge had rotated and the instance died before it stored the answer: nobody has the new
//! token. Such a loss is excused when it is proven: the judge's last answer about that grant was on its way at a kill.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tonic::Code;

use super::Setting;
use super::load::{Load, Pace};
use crate::judge::{self, Judge};
use crate::report::Report;
use crate::world::{World, dead, store_expired};

/// Callers who mostly want another token, so that there is always a refresh on its way.
const PACE: Pace = Pace { callers: 12, every: Duration::from_millis(60), limit: Duration::from_secs(3), another: 2 };

/// Within which an instance serves again that was started again.
const RECOVERY: Duration = Duration::from_secs(10);

/// How long before a kill an answer may have been given that was not stored by then.
const ON_THE_WIRE: Duration = Duration::from_secs(1);

pub(super) async fn before_a_strict_judge(setting: Setting) -> Report {
    kill(setting, judge::strict().await).await
}

pub(super) async fn before_a_gracious_judge(setting: Setting) -> Report {
    kill(setting, judge::gracious().await).await
}

async fn kill(setting: Setting, judge: Box<dyn Judge>) -> Report {
    let mut world = World::begin(
        setting.kind,
        &[judge.platform()],
        "refresh: { lease_seconds: 5 }\noutbox: { handover_seconds: 10 }\n",
    )
    .await;
    let grants = judge.grants(setting.size.grants).await;
    store_expired(&world.callers()[0], &grants).await;
    let users: Vec<String> = grants.into_iter().map(|(user, _)| user).collect();
    let load = Load::begin(world.callers(), &users, PACE);
    let (mut kills, mut slowest) = (Vec::new(), Duration::ZERO);
    for n in 0..setting.size.kills {
        load.goes_on(Duration::from_millis(500 + random() % 1_000)).await;
        let doomed = n % world.instances.len();
        world.instances[doomed].vault.kill().await;
        kills.push(unix_millis());
        let began = std::time::Instant::now();
        world.restart(doomed, &[]).await;
        load.replace(doomed, world.instances[doomed].caller.clone()).await;
        let asked_again = world.recovery(RECOVERY).await;
        slowest = slowest.max(began.elapsed().max(asked_again));
        setting.tell(&format!("kill {} of {}", n + 1, setting.size.kills));
    }
    load.goes_on(Duration::from_secs(1)).await;
    let (calls, tally) = (load.calls(), load.take_tally());
    load.end().await;

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
    let dead = dead(&world.callers(), &users).await;
    let answered: Vec<Option<u64>> = dead.iter().map(|user| seen.last_granted.get(user).copied()).collect();
    let on_the_wire: Vec<Duration> = answered.iter().filter_map(|at| exposure((*at)?, &kills)).collect();
    let widest = on_the_wire.iter().max().copied().unwrap_or_default();
    report.done = format!(
        "{} instances, {} kills at random moments; {}",
        world.instances.len(),
        kills.len(),
        if on_the_wire.is_empty() {
            "no answer was lost".to_owned()
        } else {
            format!("answers lost up to {widest:.0?} old")
        },
    );
    report.alive = Some((users.len() - dead.len(), users.len()));
    report.excused = on_the_wire.len();
    report.must(dead.len() == on_the_wire.len(), || {
        format!(
            "{dead:?} are lost, {} of them excused; answered at {answered:?}, killed at {kills:?}",
            on_the_wire.len()
        )
    });
    report.recovered(slowest, RECOVERY);
    report
}

/// How long before the next kill this answer was given, if it may have been on its way then.
fn exposure(answered_at: u64, kills: &[u64]) -> Option<Duration> {
    let next = kills.iter().find(|kill| **kill + 50 >= answered_at)?;
    let before = Duration::from_millis(next.saturating_sub(answered_at));
    (before <= ON_THE_WIRE).then_some(before)
}

fn unix_millis() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// A number nobody knows before.
fn random() -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).unwrap();
    u64::from_be_bytes(bytes)
}
