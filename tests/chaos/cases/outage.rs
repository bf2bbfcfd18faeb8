//! The store is in trouble under load, and comes back: everybody is told in time, nobody storms it, nothing is lost.

use std::time::Duration;

use tonic::Code;

use super::Setting;
use super::load::{Load, Pace};
use crate::judge;
use crate::report::Report;
use crate::shape::Trouble;
use crate::world::{World, dead, store_expired};

/// A steady load, the same before and during the trouble.
const PACE: Pace = Pace { callers: 36, every: Duration::from_millis(300), limit: Duration::from_secs(2), another: 8 };

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
    let mut world = World::begin(setting.kind, &[judge.platform()], "").await;
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
    world.begin_trouble(trouble).await;
    let watch = Watch::begin(&world, &load);
    load.goes_on(setting.size.outage).await;
    let during = watch.end(&world, &load);
    let resident_during = world.resident_mebibytes();
    world.end_trouble(trouble).await;
    let recovery = world.recovery(RECOVERY * 3).await;
    setting.tell(&format!("the trouble is over, and all serve again after {recovery:.1?}"));
    load.goes_on(CALM).await;
    let after = load.take_tally();
    let storm = during.asked_per_call.zip(calm.asked_per_call);
    report.calls = load.calls();
    load.end().await;

    let seen = judge.seen().await;
    report.refreshes = Some(seen.granted + seen.refused);
    let instances = world.instances.len();
    report.done = format!(
        "{instances} instances, {} s; {} of {} calls served meanwhile, the longest took {:.1?}; store asked {}, {}",
        setting.size.outage.as_secs(),
        during.tally.served(),
        during.tally.calls(),
        during.tally.longest,
        storm.map_or_else(
            || "an unknown number of times".to_owned(),
            |(during, calm)| format!("{during:.1} times per call and {calm:.1} before"),
        ),
        resident_during.map_or_else(String::new, |now| format!("{now} MiB")),
    );
    for (when, tally) in [("in the trouble", &during.tally), ("after it", &after)] {
        let others = tally.refused_otherwise(|code, _| code == Code::Unavailable);
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
    report.must((seen.refused, seen.revoked) == (0, 0), || format!("the judge saw {} replays", seen.refused));
    report.all_alive(users.len() - dead(&world.callers(), &users).await.len(), users.len());
    report
}

/// What happens between two moments.
struct Watch {
    calls: usize,
    asked: Option<usize>,
}

struct Watched {
    tally: super::load::Tally,
    asked_per_call: Option<f64>,
}

// === impl Watch ===

impl Watch {
    fn begin(world: &World, load: &Load) -> Self {
        drop(load.take_tally());
        Self { calls: load.calls(), asked: world.asked() }
    }

    #[expect(clippy::cast_precision_loss, reason = "numbers that a float holds exactly")]
    fn end(self, world: &World, load: &Load) -> Watched {
        let calls = load.calls() - self.calls;
        let asked = world.asked().zip(self.asked).map(|(now, before)| now - before);
        Watched { tally: load.take_tally(), asked_per_call: asked.map(|asked| asked as f64 / calls.max(1) as f64) }
    }
}
