//! One record, many clients at all instances at once: what they see has to fit one order of events.

mod history;
mod model;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;
use tonic::{Code, Status};

use super::Setting;
use crate::caller::{Caller, reason};
use crate::judge;
use crate::report::Report;
use crate::world::{FAR, World};
use history::{Answer, Event};

const CLIENTS: u64 = 16;
const USER: &str = "register";

pub(super) async fn run(setting: Setting) -> Report {
    // Nobody refreshes: the platform is there because a record needs one.
    let scripted = judge::Scripted::start().await;
    let world = World::begin(setting.kind, &[scripted.platform("register", "")], "").await;
    let callers = world.callers();
    let clock = Arc::new(Clock { began: Instant::now(), tokens: AtomicU64::new(1) });
    let clients = (0..CLIENTS).map(|n| {
        let caller = callers[usize::try_from(n).unwrap() % callers.len()].on("register");
        let (clock, lasting) = (Arc::clone(&clock), setting.size.register);
        tokio::spawn(async move { client(n, &caller, &clock, lasting).await })
    });
    let events: Vec<Event> = join_all(clients).await.into_iter().flat_map(Result::unwrap).collect();
    setting.tell(&format!("{} operations to put in order", events.len()));

    let mut report = Report { calls: events.len(), ..Report::default() };
    let mistakes = history::mistakes();
    report.must(mistakes.is_empty(), || format!("the check itself is wrong about these: {mistakes:?}"));
    let count = |wanted: fn(&Answer) -> bool| events.iter().filter(|event| wanted(&event.answer)).count();
    let unknown = count(|answer| matches!(answer, Answer::Unclear(_)));
    let lag = setting.kind.lag;
    report.done = format!(
        "{CLIENTS} clients at {} instances, {} s: {} stored, {} read, {} found none, {} deleted, {unknown} unclear; {}",
        callers.len(),
        setting.size.register.as_secs(),
        count(|answer| matches!(answer, Answer::Stored { .. })),
        count(|answer| matches!(answer, Answer::Read { .. })),
        count(|answer| matches!(answer, Answer::Missing)),
        count(|answer| matches!(answer, Answer::Deleted(true))),
        if lag.is_zero() { "strict reads".to_owned() } else { format!("reads up to {lag:?} old") },
    );
    let judged = tokio::task::spawn_blocking(move || history::check(&events, lag)).await.unwrap();
    report.must(judged.is_ok(), || judged.unwrap_err());
    report
}

/// The time all clients share, and the tokens none of them shares.
struct Clock {
    began: Instant,
    tokens: AtomicU64,
}

async fn client(n: u64, caller: &Caller, clock: &Clock, lasting: Duration) -> Vec<Event> {
    let mut events = Vec::new();
    for turn in n.. {
        let began = clock.began.elapsed();
        if began >= lasting {
            break;
        }
        // No two clients do the same in the same order.
        let answer = match turn.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 60 {
            0..=3 => {
                let token = clock.tokens.fetch_add(1, Ordering::SeqCst);
                stored(
                    token,
                    caller.try_store(USER, &format!("token-{token}"), "refresh", FAR).await.map(|it| it.version),
                )
            }
            4 => match caller.delete(USER).await {
                Ok(deleted) => Answer::Deleted(deleted),
                Err(status) => unsuccessful(None, &status),
            },
            _ => match caller.get(USER).await {
                Ok(got) => {
                    let token = got.access_token.strip_prefix("token-").and_then(|token| token.parse().ok());
                    Answer::Read { token: token.unwrap_or(u64::MAX), version: got.version }
                }
                Err(status) if status.code() == Code::NotFound => Answer::Missing,
                // Whoever read nothing has nothing to say.
                Err(_) => Answer::Nothing,
            },
        };
        events.push(Event { began, ended: clock.began.elapsed(), answer });
    }
    events
}

fn stored(token: u64, outcome: Result<u64, Status>) -> Answer {
    match outcome {
        Ok(version) => Answer::Stored { token, version },
        Err(status) => unsuccessful(Some(token), &status),
    }
}

/// A write that lost every race was never made; of one that failed otherwise nobody knows.
fn unsuccessful(token: Option<u64>, status: &Status) -> Answer {
    if reason(status) == "WRITE_CONTENDED" { Answer::Nothing } else { Answer::Unclear(token) }
}
