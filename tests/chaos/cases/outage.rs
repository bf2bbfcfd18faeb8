//! The store is in trouble under load, and comes back: everybody is told in time, nobody storms it, nothing is lost.
//!
//! A store that copies what it has acknowledged to others later may forget some of it when one of those takes over. Then the
//! tokens are lost, and the promise is that instances that have seen them say so.

use std::time::{Duration, Instant};

use tonic::Code;

use super::Setting;
use super::load::{Load, Pace};
use crate::judge;
use crate::report::Report;
use crate::shape::Trouble;
use crate::world::{World, dead, store_expired};

/// A steady load, the same before and during the trouble.
const PACE: Pace = Pace { callers: 36, every: Duration::from_millis(300), limit: Duration::from_secs(2), another: 8 };

/// A claim of which nobody knows whether it was written is not waited for longer than a grant may be out of reach.
const SETTINGS: &str = "outbox: { handover_seconds: 10 }\n";

/// How long it is looked at while all is well.
const CALM: Duration = Duration::from_secs(3);

/// Within which an instance serves again.
const RECOVERY: Duration = Duration::from_secs(5);

/// How often the store may be asked for a call, compared with calm times; where the near-cache answers many calls then,
/// compared with once.
const STORM: f64 = 2.0;

/// One call of so many may be answered late, because the machine has other things to do.
const LATE: usize = 100;

/// How much memory an instance may take more than in calm times.
const MEBIBYTES: u64 = 64;

pub(super) async fn run(setting: Setting) -> Report {
    let trouble = setting.trouble.unwrap();
    let judge = judge::strict().await;
    let mut world = World::begin(setting.kind, &[judge.platform()], SETTINGS).await;
    let grants = judge.grants(setting.size.grants).await;
    store_expired(&world.callers()[0], &grants).await;
    let users: Vec<String> = grants.into_iter().map(|(user, _)| user).collect();
    let mut report = Report::default();
    let first_round = dead(&world.callers(), &users).await;
    report.must(first_round.is_empty(), || format!("nothing was wrong yet: {first_round:?}"));

    let load = Load::begin(world.callers(), &users, PACE);
    let calm = Watch::begin(&world, &load);
    load.goes_on(CALM).await;
    let calm = calm.end(&world, &load);
    let resident = world.resident_mebibytes().unwrap_or_default();
    report.must(calm.tally.served() == calm.tally.calls(), || format!("before the trouble: {:?}", calm.tally.refused));

    setting.tell("the trouble begins");
    let ends_by_itself = trouble == Trouble::FailedOver;
    world.begin_trouble(trouble).await;
    let watch = Watch::begin(&world, &load);
    if ends_by_itself {
        world.end_trouble(trouble).await;
    } else {
        load.goes_on(setting.size.outage).await;
    }
    let during = watch.end(&world, &load);
    let resident_during = world.resident_mebibytes();
    if !ends_by_itself {
        world.end_trouble(trouble).await;
    }
    let recovery = world.recovery(RECOVERY * 3).await;
    setting.tell(&format!("the trouble is over, and all serve again after {recovery:.1?}"));
    load.goes_on(if ends_by_itself { setting.size.outage.max(CALM) } else { CALM }).await;
    let after = load.take_tally();
    let storm = during.asked_per_call.zip(calm.asked_per_call);
    report.calls = load.calls();
    load.end().await;

    let instances = world.instances.len();
    report.done = format!(
        "{instances} instances, {:.1?}; {} of {} calls served meanwhile, the longest took {:.1?}; store asked {}, {}",
        during.lasted,
        during.tally.served(),
        during.tally.calls(),
        during.tally.longest,
        storm.map_or_else(
            || "an unknown number of times".to_owned(),
            |(during, calm)| format!("{during:.1} times per call and {calm:.1} before"),
        ),
        resident_during.map_or_else(String::new, |now| format!("{now} MiB")),
    );
    // Whether the store may forget what it has acknowledged. What callers of such a record are told is looked at below.
    let forgets = setting.kind.troubles.contains(&Trouble::FailedOver);
    let expected = |code, reason: &str| match code {
        Code::Unavailable => true,
        Code::DataLoss => forgets,
        Code::FailedPrecondition => forgets && reason == "EXPIRED_TOKEN",
        _ => false,
    };
    for (when, tally) in [("in the trouble", &during.tally), ("after it", &after)] {
        let others = tally.refused_otherwise(expected);
        report.must(others.is_empty(), || format!("{when}, not UNAVAILABLE but {}", others.join(", ")));
        report.must(tally.late * LATE <= tally.calls(), || {
            format!("{when}, {} calls were answered after their deadline", tally.late)
        });
    }
    if trouble == Trouble::Partitioned {
        for (instance, (calls, served)) in during.tally.by_instance.iter().filter(|(instance, _)| **instance != 0) {
            // A claim of the instance that is cut off may hold some of them up.
            report.must(served * 10 >= calls * 9, || format!("instance {instance} served {served} of {calls} calls"));
        }
    }
    report.recovered(recovery, RECOVERY);
    report.must(storm.is_none_or(|(during, calm)| during <= STORM * calm.max(1.0)), || {
        format!("the store was asked {storm:.1?} times per call, in the trouble and before")
    });
    report.must(resident_during.is_some_and(|now| now <= resident + MEBIBYTES), || {
        format!("memory went from {resident} MiB to {resident_during:?}")
    });
    let ended = world.instances.iter_mut().filter_map(|one| (!one.vault.is_running()).then_some(&one.name));
    let ended: Vec<&String> = ended.collect();
    report.must(ended.is_empty(), || format!("these have ended: {ended:?}"));
    let dead = dead(&world.callers(), &users).await;
    let asked_again = dead.iter().map(|lost| world.tell_of(&lost.user));
    futures_util::future::join_all(asked_again).await;
    let forgotten = world.reported_lost();
    let (reported, silent): (Vec<_>, Vec<_>) = dead.iter().partition(|lost| forgotten.contains(&lost.user));
    report.alive = Some((users.len() - dead.len(), users.len()));
    report.excused = vec![(reported.len(), "forgotten by the store, and reported")];
    report.must(silent.is_empty(), || format!("{} grants are lost, and nobody says why: {silent:?}", silent.len()));
    report.must(forgets || dead.is_empty(), || format!("the store has forgotten {dead:?}"));
    let seen = judge.seen().await;
    report.refreshes = Some(seen.granted + seen.refused);
    report.must(seen.revoked <= reported.len() && (seen.refused == 0 || !reported.is_empty()), || {
        format!("the judge saw {} replays and revoked {} grants", seen.refused, seen.revoked)
    });
    report
}

/// What happens between two moments.
struct Watch {
    began: Instant,
    calls: usize,
    asked: Option<usize>,
}

struct Watched {
    lasted: Duration,
    tally: super::load::Tally,
    asked_per_call: Option<f64>,
}

// === impl Watch ===

impl Watch {
    fn begin(world: &World, load: &Load) -> Self {
        drop(load.take_tally());
        Self { began: Instant::now(), calls: load.calls(), asked: world.asked() }
    }

    #[expect(clippy::cast_precision_loss, reason = "numbers that a float holds exactly")]
    fn end(self, world: &World, load: &Load) -> Watched {
        let calls = load.calls() - self.calls;
        let asked = world.asked().zip(self.asked).map(|(now, before)| now - before);
        let asked_per_call = asked.map(|asked| asked as f64 / calls.max(1) as f64);
        Watched { lasted: self.began.elapsed(), tally: load.take_tally(), asked_per_call }
    }
}
