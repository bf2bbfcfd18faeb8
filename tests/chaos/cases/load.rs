//! Callers who go on asking, at a steady pace, while something is done to the house.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::RwLock;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};
use tonic::{Code, Status};

use crate::caller::{Caller, reason};

/// How many ask, how often each of them, and how long each is ready to wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub(super) callers: usize,
    pub(super) every: Duration,
    pub(super) limit: Duration,
    /// One call of so many wants another token than the one there is.
    pub(super) another: usize,
}

/// Callers at work.
pub(super) struct Load {
    stage: Arc<Stage>,
    tasks: Vec<JoinHandle<()>>,
}

struct Stage {
    callers: RwLock<Vec<Caller>>,
    users: Vec<String>,
    pace: Pace,
    over: AtomicBool,
    calls: AtomicUsize,
    tally: Mutex<Tally>,
}

/// How calls ended.
#[derive(Debug, Default, Clone)]
pub(super) struct Tally {
    /// By instance: calls, and those that got a token.
    pub(super) by_instance: BTreeMap<usize, (usize, usize)>,
    /// By code, as a number, and reason.
    pub(super) refused: BTreeMap<(i32, String), usize>,
    /// Calls that were answered later than their caller was ready to wait.
    pub(super) late: usize,
    /// The longest any call took.
    pub(super) longest: Duration,
}

// === impl Load ===

impl Load {
    /// Callers begin to ask these instances for the tokens of these users.
    pub(super) fn begin(callers: Vec<Caller>, users: &[String], pace: Pace) -> Self {
        let stage = Arc::new(Stage {
            callers: RwLock::new(callers),
            users: users.to_vec(),
            pace,
            over: AtomicBool::new(false),
            calls: AtomicUsize::new(0),
            tally: Mutex::default(),
        });
        let caller = |n| tokio::spawn(Arc::clone(&stage).ask(n));
        let tasks = (0..pace.callers).map(caller).collect();
        Self { stage, tasks }
    }

    /// Calls that were begun so far.
    pub(super) fn calls(&self) -> usize {
        self.stage.calls.load(Ordering::SeqCst)
    }

    /// Whoever asked that instance asks this one from now on.
    pub(super) async fn replace(&self, instance: usize, caller: Caller) {
        self.stage.callers.write().await[instance] = caller;
    }

    /// How the calls ended that ended since this was asked last.
    pub(super) fn take_tally(&self) -> Tally {
        std::mem::take(&mut self.stage.tally.lock().unwrap())
    }

    /// Lets it go on for so long.
    pub(super) async fn goes_on(&self, time: Duration) {
        let end = Instant::now() + time;
        let mut looks = tokio::time::interval(Duration::from_millis(20));
        while Instant::now() < end {
            looks.tick().await;
        }
    }

    /// Waits until everybody has got the last answer.
    pub(super) async fn end(self) {
        self.stage.over.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

// === impl Stage ===

impl Stage {
    async fn ask(self: Arc<Self>, n: usize) {
        let Pace { callers, every, limit, another } = self.pace;
        let share = |of: usize| u32::try_from(of).unwrap();
        let mut ticks = tokio::time::interval_at(Instant::now() + every * share(n) / share(callers), every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for turn in n.. {
            ticks.tick().await;
            if self.over.load(Ordering::SeqCst) {
                return;
            }
            let (instance, caller) = {
                let all = self.callers.read().await;
                let instance = n % all.len();
                (instance, all[instance].clone())
            };
            let user = &self.users[(turn * 7 + n) % self.users.len()];
            self.calls.fetch_add(1, Ordering::SeqCst);
            let asked_at = Instant::now();
            let answer = if turn % another == 0 {
                caller.get_another_within(limit, user).await
            } else {
                caller.get_within(limit, user).await
            };
            self.tally.lock().unwrap().count(instance, answer.err(), asked_at.elapsed(), limit);
        }
    }
}

// === impl Tally ===

impl Tally {
    fn count(&mut self, instance: usize, refused: Option<Status>, took: Duration, limit: Duration) {
        let (calls, served) = self.by_instance.entry(instance).or_default();
        *calls += 1;
        *served += usize::from(refused.is_none());
        if let Some(status) = refused {
            *self.refused.entry((i32::from(status.code()), reason(&status))).or_default() += 1;
        }
        self.late += usize::from(took > limit);
        self.longest = self.longest.max(took);
    }

    pub(super) fn calls(&self) -> usize {
        self.by_instance.values().map(|(calls, _)| calls).sum()
    }

    pub(super) fn served(&self) -> usize {
        self.by_instance.values().map(|(_, served)| served).sum()
    }

    /// Refusals other than these.
    pub(super) fn refused_otherwise(&self, expected: impl Fn(Code, &str) -> bool) -> Vec<String> {
        let others = self.refused.iter().filter(|((code, reason), _)| !expected(Code::from(*code), reason));
        others.map(|((code, reason), count)| format!("{count} x {:?} {reason}", Code::from(*code))).collect()
    }
}
