//! Platforms that are down, busy, silent, slow or lie: each for a while, under callers who do not let up.

mod faults;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tonic::Code;

use super::Setting;
use crate::caller::{Caller, reason};
use crate::judge::Scripted;
use crate::judge::scripted::{Arrival, first_refresh_token};
use crate::report::Report;
use crate::world::World;
use faults::{FAULTS, Fault, Means};

/// Connections to each platform.
const USERS: usize = 4;

/// How long a caller is ready to wait; shorter than the vault waits for a platform.
const LIMIT: Duration = Duration::from_secs(3);

/// How often a caller asks who was refused.
const AGAIN: Duration = Duration::from_secs(1);

/// The pause after the first failure, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(4));

/// What was said to the callers of one platform while it was in trouble.
#[derive(Default)]
struct Said {
    served: usize,
    by_reason: BTreeMap<String, usize>,
    late: usize,
}

pub(super) async fn run(setting: Setting) -> Report {
    let judge = Scripted::start().await;
    let platforms: Vec<_> = FAULTS.iter().map(|fault| judge.platform(fault.name, &fault.profile())).collect();
    let paced = format!(
        "refresh: {{ lease_seconds: 5, backoff_base_seconds: {}, backoff_max_seconds: {} }}\n",
        BACKOFF.0.as_secs(),
        BACKOFF.1.as_secs(),
    );
    let world = World::begin(setting.kind, &platforms, &paced).await;
    let callers = world.callers();
    for fault in FAULTS {
        let at = callers[0].on(fault.name);
        join_all((0..USERS).map(async |n| at.store_expired(&user(n), &first_refresh_token(&user(n))).await)).await;
        judge.fails(fault.name, fault.answer);
    }

    let mut report = Report::default();
    let end = Instant::now() + setting.size.platform_outage;
    let said = join_all(FAULTS.iter().map(|fault| besiege(&callers, fault.name, end))).await;
    judge.recovers();
    let ended = Instant::now();
    setting.tell("the platforms are well again");
    let arrivals = judge.arrivals();
    for (fault, said) in FAULTS.iter().zip(&said) {
        report.calls += said.served + said.by_reason.values().sum::<usize>();
        judge_callers(fault, said, &mut report);
        judge_requests(fault, &arrivals, callers.len(), &mut report);
    }
    // A circuit that opened again and again stays open for about as long as the trouble lasted.
    let bound = setting.size.platform_outage * 2 + Duration::from_secs(15);
    let healing = FAULTS.iter().filter(|fault| fault.means != Means::Reconnect);
    let healed = join_all(healing.clone().map(|fault| heals(&callers, fault.name, ended + bound))).await;
    report.recovered(ended.elapsed(), bound);
    for (fault, healed) in healing.zip(&healed) {
        report.must(*healed == USERS, || format!("{}: {healed} of {USERS} connections work again", fault.name));
    }
    report.all_alive(healed.iter().sum(), healed.len() * USERS);
    report.refreshes = Some(judge.arrivals().len());
    report.done = format!(
        "{} faults x {USERS} connections for {} s, {} requests in all",
        FAULTS.len(),
        setting.size.platform_outage.as_secs(),
        arrivals.len(),
    );
    report
}

fn user(n: usize) -> String {
    format!("user{n}")
}

/// Callers at every instance ask for every connection again and again.
async fn besiege(callers: &[Caller], platform: &str, end: Instant) -> Said {
    let asking = callers.iter().flat_map(|caller| (0..USERS).map(move |n| (caller.on(platform), user(n))));
    let asking = asking.enumerate().map(|(n, (caller, user))| async move {
        // One after the other, so that they are a stream and no hammer.
        let starts_at = tokio::time::Instant::now() + AGAIN / 16 * u32::try_from(n).unwrap();
        let (mut answers, mut ticks) = (Vec::new(), tokio::time::interval_at(starts_at, AGAIN));
        while Instant::now() < end {
            ticks.tick().await;
            let asked_at = Instant::now();
            let answer = caller.get_within(LIMIT, &user).await.map(drop);
            answers.push((answer.map_err(|status| (status.code(), reason(&status))), asked_at.elapsed()));
        }
        answers
    });
    let mut said = Said::default();
    for (answer, took) in join_all(asking).await.into_iter().flatten() {
        said.late += usize::from(took > LIMIT);
        match answer {
            Ok(()) => said.served += 1,
            Err((code, reason)) => *said.by_reason.entry(format!("{code:?} {reason}")).or_default() += 1,
        }
    }
    said
}

/// Nobody is told anything but what is true of this fault.
fn judge_callers(fault: &Fault, said: &Said, report: &mut Report) {
    let unavailable = |reason: &str| format!("{:?} {reason}", Code::Unavailable);
    // The last one is about this machine: it is too busy to write the trail in time.
    let busy = ["PROVIDER_UNAVAILABLE", "REFRESH_CONTENDED", "AUDIT_UNAVAILABLE"].map(unavailable);
    let refused = |reason: &str| format!("{:?} {reason}", Code::FailedPrecondition);
    let (truth, may_serve) = match fault.means {
        Means::Wait => (vec![], false),
        Means::Nothing => (vec![], true),
        Means::Reconnect => (vec![refused("EXPIRED_TOKEN")], false),
        Means::App => (vec![refused("APP_MISCONFIGURED")], false),
    };
    let false_words = said.by_reason.iter().filter(|(word, _)| !truth.contains(word) && !busy.contains(word));
    let false_words: Vec<_> = false_words.collect();
    report.must(false_words.is_empty(), || format!("{}: callers were told {false_words:?}", fault.name));
    report.must(may_serve == (said.served > 0), || format!("{}: {} calls got a token", fault.name, said.served));
    report.must(truth.iter().all(|word| said.by_reason.contains_key(word)), || {
        format!("{}: nobody was told {truth:?}, but {:?}", fault.name, said.by_reason)
    });
    report.must(said.late == 0, || format!("{}: {} calls were answered after their deadline", fault.name, said.late));
}

/// No connection is tried more often than its backoff allows.
fn judge_requests(fault: &Fault, arrivals: &[Arrival], instances: usize, report: &mut Report) {
    for n in 0..USERS {
        let user = user(n);
        let mine = arrivals.iter().filter(|arrival| arrival.platform == fault.name && arrival.user == user);
        let at: Vec<Instant> = mine.map(|arrival| arrival.at).collect();
        match fault.means {
            Means::Wait => {
                for (step, pair) in at.windows(2).enumerate() {
                    // Up to a fifth sooner, so that what failed together does not come back together.
                    let doubled = BACKOFF.0 * 2_u32.saturating_pow(u32::try_from(step).unwrap_or(u32::MAX));
                    let least = (doubled.min(BACKOFF.1) / 5 * 4).max(BACKOFF.0);
                    let least = fault.retry_after.unwrap_or(least);
                    let pause = pair[1] - pair[0];
                    report.must(pause + Duration::from_millis(20) >= least, || {
                        format!("{}: {user} was tried again after {pause:.2?}, at step {step}", fault.name)
                    });
                }
            }
            // One opinion, and a second one.
            Means::Nothing => {
                report.must(at.len() == 2, || format!("{}: {user} was tried {} times", fault.name, at.len()));
            }
            Means::Reconnect => {
                report.must(at.len() == 1, || format!("{}: {user} was tried {} times", fault.name, at.len()));
            }
            // Each instance finds out by itself, and tries once in a while whether it still is so.
            Means::App => report
                .must(at.len() <= 3 * instances, || format!("{}: {user} was tried {} times", fault.name, at.len())),
        }
    }
    let none = !arrivals.iter().any(|arrival| arrival.platform == fault.name);
    report.must(!none, || format!("{}: the platform was never asked", fault.name));
}

/// How many of the connections to a platform hand out a token at every instance by then.
async fn heals(callers: &[Caller], platform: &str, by: Instant) -> usize {
    let healed = (0..USERS).map(|n| async move {
        let each = callers.iter().map(|caller| async move {
            let (caller, user, mut ticks) = (caller.on(platform), user(n), tokio::time::interval(AGAIN));
            while Instant::now() < by {
                ticks.tick().await;
                if caller.get_within(LIMIT, &user).await.is_ok() {
                    return true;
                }
            }
            false
        });
        join_all(each).await.into_iter().all(|healed| healed)
    });
    join_all(healed).await.into_iter().filter(|healed| *healed).count()
}
