//! An instance has asked the judge and then cannot write, until its claim has run out and another instance has taken it
//! over. When it can again, what it brings is kept if it is newer than what is stored, and dropped if it is not, with a
//! line in its audit trail.

use std::fs;
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::{Code, Status};
use vault_engine::pb::vault_v1::GetTokenResponse;

use super::Setting;
use crate::caller::{Caller, reason};
use crate::eventually::eventually;
use crate::judge::Scripted;
use crate::judge::scripted::{first_refresh_token, granted};
use crate::provider::{Answer, Gate};
use crate::report::Report;
use crate::shape::Trouble;
use crate::world::World;

const PLATFORM: &str = "tardy";

/// Longer than a claim holds.
const PATIENCE: Duration = Duration::from_secs(20);

/// One whose newer answer is stored first, one where nobody has a newer one, and one whose instance is stopped.
const USERS: [&str; 3] = ["overtaken", "alone", "stopped"];

type Call = JoinHandle<Result<GetTokenResponse, Status>>;

pub(super) async fn run(setting: Setting) -> Report {
    let judge = Scripted::start().await;
    let platform = judge.platform(PLATFORM, "refresh: { rotates: yes }\n");
    let lease = "refresh: { lease_seconds: 5, backoff_base_seconds: 1 }\noutbox: { handover_seconds: 2 }\n";
    let mut world = World::begin(setting.kind, &[platform], lease).await;
    let [late, stopped, taker] = [0, 1, 2].map(|n| world.instances[n].caller.on(PLATFORM));
    for user in USERS {
        taker.store_expired(user, &first_refresh_token(user)).await;
    }
    let mut report = Report { done: format!("{} owners overtaken after 5 s", USERS.len()), ..Report::default() };

    // The first two cannot reach the store any more when their answers arrive.
    let gate = hold_first_answers(&judge);
    let calls = [ask(&late, "overtaken"), ask(&late, "alone")];
    judge.has_seen(PLATFORM, &USERS[..2]).await;
    world.begin_trouble(Trouble::Partitioned).await;
    gate.open();
    for (user, call) in USERS.iter().zip(calls) {
        let served = call.await.unwrap();
        report.must(served.as_ref().is_ok_and(|it| it.access_token == format!("access-{user}-1")), || {
            format!("{user}: its own caller is not served from memory: {served:?}")
        });
    }
    setting.tell("claims run out");
    let (overtaking, refused) =
        tokio::join!(taker.get_within(PATIENCE, "overtaken"), taker.get_within(PATIENCE, "alone"));
    report.must(token(&overtaking) == "access-overtaken-2", || format!("the claim is not taken over: {overtaking:?}"));
    let unavailable = refused.as_ref().is_err_and(|status| status.code() == Code::Unavailable);
    report.must(unavailable, || format!("the judge was busy: {refused:?}"));
    world.end_trouble(Trouble::Partitioned).await;
    for (user, expected) in [("overtaken", "access-overtaken-2"), ("alone", "access-alone-1")] {
        for (n, instance) in world.instances.iter().enumerate() {
            settles(&instance.caller.on(PLATFORM), user, expected, &mut report, n).await;
        }
    }
    // Its owner may still be pausing between two attempts to store it.
    let says_so = |line: &Value| line["user"] == "overtaken" && line["reason"] == "answer_superseded";
    let written = async || trail(&world, 0).iter().any(says_so).then_some(());
    let dropped = tokio::time::timeout(PATIENCE, eventually("the trail says so", written)).await.is_ok();
    report.must(dropped, || "the audit trail does not say that an answer was dropped".to_owned());

    // The third one does nothing at all while its claim runs out; its answer waits for it in the socket.
    let gate = hold_first_answers(&judge);
    let call = ask(&stopped, "stopped");
    judge.has_seen(PLATFORM, &USERS[2..]).await;
    world.instances[1].vault.pause().await;
    gate.open();
    let overtaking = taker.get_within(PATIENCE, "stopped").await;
    report.must(token(&overtaking) == "access-stopped-2", || format!("the claim is not taken over: {overtaking:?}"));
    world.instances[1].vault.resume().await;
    let told = call.await.unwrap();
    report.must(told.is_ok() || told.as_ref().is_err_and(|status| reason(status) != "EXPIRED_TOKEN"), || {
        format!("the caller of the stopped instance was sent to connect again: {told:?}")
    });
    for (n, instance) in world.instances.iter().enumerate() {
        settles(&instance.caller.on(PLATFORM), "stopped", "access-stopped-2", &mut report, n).await;
    }
    report.calls = 4 + 3 * world.instances.len();
    report.refreshes = Some(judge.arrivals().len());
    let alive = USERS.len() - report.broken.len().min(USERS.len());
    report.alive = Some((alive, USERS.len()));
    report
}

/// Holds every user's first answer back; the second one goes through, but the judge is busy when `alone` asks again.
fn hold_first_answers(judge: &Scripted) -> Gate {
    let gate = Gate::closed();
    let for_judge = gate.clone();
    judge.fails(PLATFORM, move |arrival, before| match (before, &*arrival.user) {
        (0, user) => Some(granted(user, 1).behind(&for_judge)),
        (_, "alone") => Some(Answer::text(503, "busy")),
        (_, user) => Some(granted(user, 2)),
    });
    gate
}

fn ask(caller: &Caller, user: &'static str) -> Call {
    let caller = caller.clone();
    tokio::spawn(async move { caller.get_within(PATIENCE, user).await })
}

fn token(answer: &Result<GetTokenResponse, Status>) -> &str {
    answer.as_ref().map_or("", |answer| &answer.access_token)
}

/// An instance comes to hand out this token, and never asks anybody to connect again.
async fn settles(caller: &Caller, user: &str, expected: &str, report: &mut Report, instance: usize) {
    let deadline = Instant::now() + PATIENCE;
    let mut looks = tokio::time::interval(Duration::from_millis(250));
    loop {
        looks.tick().await;
        let answer = caller.get_within(Duration::from_secs(2), user).await;
        if token(&answer) == expected {
            return;
        }
        let wrong = answer.as_ref().is_err_and(|status| status.code() != Code::Unavailable);
        if wrong || Instant::now() > deadline {
            report.must(false, || format!("instance {instance} says of {user}: {answer:?}, and not {expected}"));
            return;
        }
    }
}

/// The audit trail of an instance.
fn trail(world: &World, instance: usize) -> Vec<Value> {
    let file = world.installation.data_dir(&world.instances[instance].name).join("audit.jsonl");
    fs::read_to_string(file).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
