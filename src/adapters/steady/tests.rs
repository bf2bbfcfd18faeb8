//! Which time is believed when clocks disagree.

use std::sync::atomic::{AtomicI64, Ordering};

use super::*;

const HOUR: i64 = 3_600;
/// When everything here begins.
const START: i64 = 1_700_000_000;

/// A machine on which time passes as the test wants, and whose wall clock is wrong as the test wants.
#[derive(Default)]
struct Machine {
    passed: AtomicI64,
    wrong: AtomicI64,
}

impl Machine {
    fn pass(&self, seconds: i64) {
        self.passed.fetch_add(seconds, Ordering::SeqCst);
    }

    fn step(&self, seconds: i64) {
        self.wrong.fetch_add(seconds, Ordering::SeqCst);
    }

    /// The time, truly.
    fn truth(&self) -> i64 {
        START + self.passed.load(Ordering::SeqCst)
    }
}

impl Clock for Machine {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_seconds(self.truth() + self.wrong.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_secs(u64::try_from(self.passed.load(Ordering::SeqCst)).unwrap())
    }
}

fn clock(wrong: i64) -> (Arc<Machine>, SteadyClock) {
    let machine = Arc::new(Machine::default());
    machine.step(wrong);
    let clock = SteadyClock::around(Arc::clone(&machine) as _);
    machine.pass(100);
    (machine, clock)
}

/// A platform answers, and its clock is wrong by this much.
fn answer(machine: &Machine, clock: &SteadyClock, platform: &str, wrong: i64) {
    clock.hear(&platform.parse().unwrap(), Timestamp::from_unix_seconds(machine.truth() + wrong));
}

/// How wrong the clock is.
fn error(machine: &Machine, clock: &SteadyClock) -> i64 {
    clock.now().unix_seconds() - machine.truth()
}

#[test]
fn a_clock_that_is_slewed_is_followed() {
    let (machine, clock) = clock(0);
    for _ in 0..HOUR {
        machine.pass(10);
        machine.step(1);
        clock.now();
    }
    assert_eq!(error(&machine, &clock), HOUR);
}

#[test]
fn after_a_step_the_later_time_counts() {
    for (step, believed) in [(-HOUR, 0), (HOUR, HOUR)] {
        let (machine, clock) = clock(0);
        machine.step(step);
        assert_eq!(error(&machine, &clock), believed);
    }
}

#[test]
fn one_platform_tells_which_of_the_two_is_right() {
    for step in [-HOUR, HOUR] {
        let (machine, clock) = clock(0);
        machine.step(step);
        clock.now();
        answer(&machine, &clock, "acme", 0);
        machine.pass(7 * 24 * HOUR);
        assert_eq!(error(&machine, &clock), 0, "a step by {step} was wrong");
        machine.step(-step);
        assert_eq!(error(&machine, &clock), 0);
        assert_eq!(clock.lock().standing, Standing::Trusted);
    }
    for step in [-HOUR, HOUR] {
        let (machine, clock) = clock(-step);
        machine.step(step);
        clock.now();
        answer(&machine, &clock, "acme", 0);
        assert_eq!(error(&machine, &clock), 0, "a step by {step} put it right");
    }
}

#[test]
fn what_was_heard_before_a_step_tells_too() {
    let (machine, clock) = clock(0);
    answer(&machine, &clock, "acme", 0);
    machine.pass(60);
    machine.step(HOUR);
    assert_eq!(error(&machine, &clock), 0);
}

#[test]
fn a_step_that_nobody_contradicts_is_believed_after_a_while() {
    let (machine, clock) = clock(HOUR);
    machine.step(-HOUR);
    assert_eq!(error(&machine, &clock), HOUR);
    machine.pass(601);
    assert_eq!(error(&machine, &clock), 0);
}

#[test]
fn a_clock_that_was_never_right_is_put_right_by_two_platforms_and_not_by_one() {
    for wrong in [-HOUR, HOUR] {
        let (machine, clock) = clock(wrong);
        answer(&machine, &clock, "acme", 0);
        answer(&machine, &clock, "acme", 1);
        assert_eq!(error(&machine, &clock), wrong);
        answer(&machine, &clock, "globex", 0);
        assert!(error(&machine, &clock).abs() <= 1);
        machine.pass(HOUR * 30);
        assert!(error(&machine, &clock).abs() <= 1, "and stays so");
    }
}

#[test]
fn platforms_that_are_wrong_themselves_move_nothing() {
    let (machine, clock) = clock(0);
    for (platform, wrong) in [("a", 0), ("b", 0), ("c", HOUR), ("d", HOUR), ("e", 2 * HOUR), ("f", -HOUR)] {
        answer(&machine, &clock, platform, wrong);
        assert_eq!(error(&machine, &clock), 0);
    }
    let year = 365 * 24 * HOUR;
    for platform in ["g", "h", "i", "j"] {
        answer(&machine, &clock, platform, -year);
        assert_eq!(error(&machine, &clock), 0, "another year is no time at all");
    }
}

#[test]
fn the_words_that_are_remembered_are_bounded() {
    let (machine, clock) = clock(0);
    for platform in 0..200 {
        answer(&machine, &clock, &format!("p{platform}"), 0);
    }
    assert_eq!(clock.lock().witnesses.len(), MOST_WITNESSES);
}
