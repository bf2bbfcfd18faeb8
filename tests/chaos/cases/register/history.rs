//! Whether a concurrent history fits the sequential model: is there an order of all operations in which each takes
//! effect at one moment between its beginning and its end, and each was answered as the model answers?
//!
//! The history is walked through in time, keeping every configuration that could be true ("just-in-time linearization"):
//! the state of the record, and which of the operations that are under way have taken effect already. When an operation
//! ends, it must have taken effect: configurations in which it has not are extended by those operations under way that
//! the model allows next, until it has, and are dropped if it never does. When none is left, the history is impossible.
//!
//! The search is small because versions are witnesses: a store that said its version can only follow smaller ones, and a
//! configuration that has passed it by is dropped at once. Reads do not change the record, so in every configuration they
//! take effect as early as they can. That is exact, not a heuristic: whatever order there is, moving a read to an earlier
//! moment of the same state keeps it one.
//!
//! A `lag` lets a read take effect that much before it began: it may be answered from a copy of that age.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use super::model::{Operation, State};

/// One call to the vault, and what came of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Event {
    pub(super) began: Duration,
    pub(super) ended: Duration,
    pub(super) answer: Answer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Stored {
        token: u64,
        version: u64,
    },
    /// Whether there was something to delete.
    Deleted(bool),
    Read {
        token: u64,
        version: u64,
    },
    Missing,
    /// A write of which nobody knows whether and when it was made: of this token, or a deletion.
    Unclear(Option<u64>),
    /// Nothing happened, and nothing was learnt.
    Nothing,
}

/// More configurations at once than this are not followed.
const LIMIT: usize = 200_000;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Configuration {
    state: State,
    /// Operations that have taken effect and not ended yet.
    effective: BTreeSet<usize>,
}

/// What happens at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Begins(usize),
    Ends(usize),
}

/// Operations under way, by what they do.
type UnderWay = HashMap<usize, Operation>;

/// Checks a history. `Err` says where it becomes impossible.
pub(super) fn check(events: &[Event], lag: Duration) -> Result<(), String> {
    let read: HashSet<u64> = events.iter().filter_map(|event| token_read(event.answer)).collect();
    let mut steps = Vec::new();
    let mut operations = HashMap::new();
    for (n, event) in events.iter().enumerate() {
        let (operation, ends) = match event.answer {
            Answer::Stored { token, version } => (Operation::Store { token, version: Some(version) }, true),
            Answer::Deleted(true) => (Operation::Delete, true),
            Answer::Deleted(false) | Answer::Missing => (Operation::FindNone, true),
            Answer::Read { token, version } => (Operation::Read { token, version }, true),
            // One that nobody has read may as well not have happened.
            Answer::Unclear(Some(token)) if read.contains(&token) => (Operation::Store { token, version: None }, false),
            Answer::Unclear(None) => (Operation::Delete, false),
            Answer::Unclear(Some(_)) | Answer::Nothing => continue,
        };
        let from_a_copy = matches!(event.answer, Answer::Read { .. } | Answer::Missing);
        let began = if from_a_copy { event.began.saturating_sub(lag) } else { event.began };
        operations.insert(n, operation);
        steps.push((began, Step::Begins(n)));
        if ends {
            steps.push((event.ended, Step::Ends(n)));
        }
    }
    // At the same instant beginnings come first: operations that touch are concurrent.
    steps.sort_unstable();

    let mut under_way = UnderWay::new();
    let mut possible = HashSet::from([Configuration { state: State::EMPTY, effective: BTreeSet::new() }]);
    for (_, step) in steps {
        possible = match step {
            Step::Begins(n) => {
                under_way.insert(n, operations[&n]);
                possible.into_iter().map(|one| one.with_reads(&under_way)).collect()
            }
            Step::Ends(n) => {
                let extended = extend(possible, n, &under_way)?;
                under_way.remove(&n);
                extended
            }
        };
        if let (true, Step::Ends(n)) = (possible.is_empty(), step) {
            return Err(format!("no order of events explains {:?} at {:?}", events[n].answer, events[n].ended));
        }
    }
    Ok(())
}

fn token_read(answer: Answer) -> Option<u64> {
    if let Answer::Read { token, .. } = answer { Some(token) } else { None }
}

/// All configurations in which operation `n` has taken effect, and ends.
fn extend(from: HashSet<Configuration>, n: usize, under_way: &UnderWay) -> Result<HashSet<Configuration>, String> {
    let (mut met, mut ended) = (HashSet::new(), HashSet::new());
    let mut to_extend: Vec<Configuration> = from.into_iter().collect();
    while let Some(mut one) = to_extend.pop() {
        if one.effective.remove(&n) {
            ended.insert(one);
            continue;
        }
        if met.len() > LIMIT {
            return Err("there are too many possible orders to follow them all".to_owned());
        }
        let writes = under_way.iter().filter(|(_, operation)| !is_read(**operation));
        for (&next, &operation) in writes.filter(|(next, _)| !one.effective.contains(next)) {
            let Some(state) = one.state.after(operation) else { continue };
            let mut effective = one.effective.clone();
            effective.insert(next);
            let extended = Configuration { state, effective }.with_reads(under_way);
            if extended.is_hopeless(under_way) || !met.insert(extended.clone()) {
                continue;
            }
            to_extend.push(extended);
        }
    }
    Ok(ended)
}

fn is_read(operation: Operation) -> bool {
    matches!(operation, Operation::Read { .. } | Operation::FindNone)
}

// === impl Configuration ===

impl Configuration {
    /// Lets every read under way take effect that can.
    fn with_reads(mut self, under_way: &UnderWay) -> Self {
        for (&n, &operation) in under_way.iter().filter(|(_, operation)| is_read(**operation)) {
            if !self.effective.contains(&n)
                && let Some(state) = self.state.after(operation)
            {
                self.state = state;
                self.effective.insert(n);
            }
        }
        self
    }

    /// Whether something under way can never take effect any more.
    fn is_hopeless(&self, under_way: &UnderWay) -> bool {
        under_way.iter().any(|(n, operation)| !self.effective.contains(n) && self.state.is_past(*operation))
    }
}

/// What the check itself makes of made-up histories; whatever it gets wrong.
pub(super) fn mistakes() -> Vec<&'static str> {
    let at = |began: u64, ended: u64, answer| {
        let moment = Duration::from_millis;
        Event { began: moment(began), ended: moment(ended), answer }
    };
    let stored = |token| Answer::Stored { token, version: token };
    let read = |token| Answer::Read { token, version: token };
    let histories = [
        ("reads what was stored", true, vec![at(0, 1, stored(1)), at(2, 3, read(1))]),
        ("reads either of two at once", true, vec![at(0, 9, stored(1)), at(0, 9, stored(2)), at(1, 2, read(1))]),
        (
            "reads back and forth",
            false,
            vec![at(0, 9, stored(1)), at(0, 9, stored(2)), at(1, 2, read(2)), at(3, 4, read(1))],
        ),
        ("reads the past", false, vec![at(0, 1, stored(1)), at(2, 3, stored(2)), at(4, 5, read(1))]),
        (
            "reads what was deleted",
            false,
            vec![at(0, 1, stored(1)), at(2, 3, Answer::Deleted(true)), at(4, 5, read(1))],
        ),
        ("deletes while it reads", true, vec![at(0, 1, stored(1)), at(2, 9, Answer::Deleted(true)), at(4, 5, read(1))]),
        ("finds nothing that is there", false, vec![at(0, 1, stored(1)), at(2, 3, Answer::Missing)]),
        (
            "deletes twice",
            false,
            vec![at(0, 1, stored(1)), at(2, 5, Answer::Deleted(true)), at(2, 5, Answer::Deleted(true))],
        ),
        ("stores without moving on", false, vec![at(0, 1, stored(2)), at(2, 3, stored(1))]),
        ("reads another version", false, vec![at(0, 1, stored(1)), at(2, 3, Answer::Read { token: 1, version: 2 })]),
        (
            "an unclear store shows late",
            true,
            vec![at(0, 1, Answer::Unclear(Some(7))), at(0, 1, stored(1)), at(2, 3, read(1)), at(4, 5, read(7))],
        ),
    ];
    let wrong = histories.into_iter().filter(|(_, fits, events)| check(events, Duration::ZERO).is_ok() != *fits);
    let mut wrong: Vec<&str> = wrong.map(|(name, _, _)| name).collect();
    let copy = vec![at(0, 1, stored(1)), at(2, 3, stored(2)), at(10, 11, read(1))];
    for (name, lag, fits) in [("reads a copy", 10, true), ("reads a copy that is too old", 5, false)] {
        if check(&copy, Duration::from_millis(lag)).is_ok() != fits {
            wrong.push(name);
        }
    }
    wrong
}
