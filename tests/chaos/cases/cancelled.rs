//! A fifth of all calls is given up by its caller, at any moment: no answer reaches anybody else, and every refresh that
//! was begun is finished.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};

use super::Setting;
use crate::caller::{Caller, reason};
use crate::judge::Scripted;
use crate::judge::scripted::{first_refresh_token, owner};
use crate::report::Report;
use crate::world::World;

const PLATFORM: &str = "impatient";
const CALLERS: usize = 48;

/// What one caller has seen.
#[derive(Default)]
struct Seen {
    answered: usize,
    given_up: usize,
    /// Calls that were refused because the trail could not be written in time.
    again: usize,
    /// Answers that belong to somebody else, and refusals.
    wrong: Vec<String>,
    /// The newest token of each user.
    newest: BTreeMap<String, u64>,
}

pub(super) async fn run(setting: Setting) -> Report {
    let judge = Scripted::start().await;
    let world = World::begin(setting.kind, &[judge.platform(PLATFORM, "refresh: { rotates: yes }\n")], "").await;
    let callers: Vec<_> = world.callers().iter().map(|caller| caller.on(PLATFORM)).collect();
    let users: Arc<Vec<String>> = Arc::new((0..setting.size.grants * 2).map(|n| format!("user{n}")).collect());
    let stores = users.iter().map(|user| async { callers[0].store_expired(user, &first_refresh_token(user)).await });
    stream::iter(stores).buffer_unordered(32).for_each(async |()| {}).await;

    let turns = Arc::new(AtomicUsize::new(0));
    let crowd = (0..CALLERS).map(|n| {
        let (caller, users, turns) = (callers[n % callers.len()].clone(), Arc::clone(&users), Arc::clone(&turns));
        let calls = setting.size.calls;
        tokio::spawn(async move { go_on(&caller, &users, &turns, calls).await })
    });
    let seen: Vec<Seen> = join_all(crowd).await.into_iter().map(Result::unwrap).collect();

    let mut report = Report { calls: setting.size.calls, ..Report::default() };
    let sum = |of: fn(&Seen) -> usize| seen.iter().map(of).sum::<usize>();
    let (answered, given_up, again) = (sum(|one| one.answered), sum(|one| one.given_up), sum(|one| one.again));
    let wrong: Vec<&String> = seen.iter().flat_map(|one| &one.wrong).collect();
    report.must(wrong.is_empty(), || format!("{} wrong answers, such as {}", wrong.len(), wrong[0]));
    report.must(given_up * 20 >= setting.size.calls, || format!("only {given_up} calls were given up"));

    // Whoever asks now gets what the last refresh brought, whoever began it and whether or not anybody waited for it.
    let mut newest: BTreeMap<&String, u64> = BTreeMap::new();
    for (user, number) in seen.iter().flat_map(|one| &one.newest) {
        let known = newest.entry(user).or_default();
        *known = (*known).max(*number);
    }
    let after = stream::iter(users.iter().enumerate()).map(async |(n, user)| {
        let caller = &callers[n % callers.len()];
        let mut answer = caller.get_another(user).await;
        while answer.as_ref().is_err_and(|status| reason(status) == "AUDIT_UNAVAILABLE") {
            answer = caller.get_another(user).await;
        }
        (user, answer.map(|answer| owner(&answer.access_token)))
    });
    let after: Vec<_> = after.buffer_unordered(16).collect().await;
    let alive = after.iter().filter(|(user, answer)| {
        let known = newest.get(user).copied().unwrap_or_default();
        matches!(answer, Ok(Some((of, number))) if of == *user && *number > known)
    });
    report.all_alive(alive.count(), users.len());
    let arrivals = judge.arrivals();
    let replays = arrivals.iter().filter(|arrival| !arrival.current).count();
    report.must(replays == 0, || format!("{replays} refreshes came with a token that was not the last"));
    report.refreshes = Some(arrivals.len());
    report.done = format!(
        "{} instances, {answered} calls answered, {given_up} given up, {again} refused for want of a trail",
        callers.len()
    );
    report
}

async fn go_on(caller: &Caller, users: &[String], turns: &AtomicUsize, calls: usize) -> Seen {
    let mut seen = Seen::default();
    loop {
        let turn = turns.fetch_add(1, Ordering::SeqCst);
        if turn >= calls {
            return seen;
        }
        let user = &users[turn.wrapping_mul(31) % users.len()];
        let call = async { if turn % 4 == 1 { caller.get_another(user).await } else { caller.get(user).await } };
        let answer = if turn.is_multiple_of(5) {
            // Anywhere between at once and when most calls are over.
            let patience = Duration::from_micros((turn as u64).wrapping_mul(7_919) % 6_000);
            let Ok(answer) = tokio::time::timeout(patience, call).await else {
                seen.given_up += 1;
                continue;
            };
            answer
        } else {
            call.await
        };
        match answer.map(|answer| answer.access_token) {
            Ok(token) => match owner(&token) {
                Some((of, number)) if of == *user => {
                    seen.answered += 1;
                    let newest = seen.newest.entry(of).or_default();
                    *newest = (*newest).max(number);
                }
                _ => seen.wrong.push(format!("{user} got {token}")),
            },
            // The machine is too busy to write the trail in time, and nothing is handed out without it.
            Err(status) if reason(&status) == "AUDIT_UNAVAILABLE" => seen.again += 1,
            Err(status) => seen.wrong.push(format!("{user}: {status}")),
        }
    }
}
