//! The cases, and over which stores each of them runs.

mod cancelled;
mod crowd;
mod deletion;
#[cfg(feature = "failpoints")]
mod failpoints;
mod kill;
mod late;
mod load;
mod lost_writes;
mod outage;
mod platform;
mod register;

use std::pin::Pin;

use crate::report::Report;
use crate::shape::{KINDS, Kind, Trouble};
use crate::size::Size;
use crate::tell;

/// A case.
struct Case {
    name: &'static str,
    over: Over,
    run: fn(Setting) -> Running,
}

/// Over which stores a case runs.
#[derive(Clone, Copy)]
enum Over {
    /// All of them.
    Every,
    /// All of them in the long form; in the short one, one shape of each.
    EveryDriver,
    /// One that several instances share, because the store is not what it is about.
    One,
    /// Those that three instances share, and that can be out of reach for one of them.
    Partitioned,
    /// Those that go on with another server when one is gone.
    Replicated,
    /// All of them, once for each trouble that callers feel.
    EveryTrouble,
}

/// Where and how a case runs.
#[derive(Clone, Copy)]
pub(crate) struct Setting {
    pub(crate) kind: &'static Kind,
    pub(crate) trouble: Option<Trouble>,
    pub(crate) size: Size,
    case: &'static str,
}

type Running = Pin<Box<dyn Future<Output = Report>>>;

/// A case that is going to run.
pub(crate) struct Planned {
    setting: Setting,
    run: fn(Setting) -> Running,
}

const CASES: &[Case] = &[
    Case { name: "crowd", over: Over::EveryDriver, run: |setting| Box::pin(crowd::before_a_strict_judge(setting)) },
    Case { name: "crowd, gracious", over: Over::One, run: |setting| Box::pin(crowd::before_a_gracious_judge(setting)) },
    Case { name: "kill", over: Over::EveryDriver, run: |setting| Box::pin(kill::before_a_strict_judge(setting)) },
    Case { name: "kill, gracious", over: Over::One, run: |setting| Box::pin(kill::before_a_gracious_judge(setting)) },
    #[cfg(feature = "failpoints")]
    Case { name: "kill at failpoints", over: Over::EveryDriver, run: |setting| Box::pin(failpoints::run(setting)) },
    Case { name: "outage", over: Over::EveryTrouble, run: |setting| Box::pin(outage::run(setting)) },
    Case { name: "lost writes", over: Over::Replicated, run: |setting| Box::pin(lost_writes::run(setting)) },
    Case { name: "platform in trouble", over: Over::One, run: |setting| Box::pin(platform::run(setting)) },
    Case { name: "late owner", over: Over::Partitioned, run: |setting| Box::pin(late::run(setting)) },
    Case { name: "deletion", over: Over::EveryDriver, run: |setting| Box::pin(deletion::run(setting)) },
    Case { name: "cancelled callers", over: Over::EveryDriver, run: |setting| Box::pin(cancelled::run(setting)) },
    Case { name: "register", over: Over::Every, run: |setting| Box::pin(register::run(setting)) },
];

/// Everything there is to run.
pub(crate) fn plan(size: Size) -> impl Iterator<Item = Planned> {
    CASES.iter().flat_map(move |case| {
        let settings = case.over.settings(size);
        settings.into_iter().map(move |(kind, trouble)| Planned {
            setting: Setting { kind, trouble, size, case: case.name },
            run: case.run,
        })
    })
}

// === impl Over ===

impl Over {
    fn settings(self, size: Size) -> Vec<(&'static Kind, Option<Trouble>)> {
        match self {
            Self::Every => KINDS.iter().map(|kind| (kind, None)).collect(),
            Self::EveryDriver => {
                let wanted = |kind: &&Kind| size.every_shape || kind.own_driver;
                KINDS.iter().filter(wanted).map(|kind| (kind, None)).collect()
            }
            Self::One => {
                let one = KINDS.iter().find(|kind| kind.instances > 1).or(KINDS.first());
                one.into_iter().map(|kind| (kind, None)).collect()
            }
            Self::Partitioned => shared_and(Trouble::Partitioned),
            Self::Replicated => shared_and(Trouble::FailedOver),
            Self::EveryTrouble => {
                let wanted = move |kind: &'static Kind, one: Trouble| match one {
                    Trouble::Lagging => false,
                    Trouble::Down => size.every_shape || kind.own_driver,
                    Trouble::Paused | Trouble::Slow | Trouble::Partitioned | Trouble::FailedOver => true,
                };
                let felt = move |kind: &'static Kind| kind.troubles.iter().filter(move |one| wanted(kind, **one));
                KINDS.iter().flat_map(|kind| felt(kind).map(move |one| (kind, Some(*one)))).collect()
            }
        }
    }
}

/// The kinds that three instances share, and that can be in this trouble.
fn shared_and(trouble: Trouble) -> Vec<(&'static Kind, Option<Trouble>)> {
    let can = |kind: &&Kind| kind.instances >= 3 && kind.troubles.contains(&trouble);
    KINDS.iter().filter(can).map(|kind| (kind, None)).collect()
}

// === impl Setting ===

impl Setting {
    fn case(&self) -> String {
        self.trouble.map_or_else(|| self.case.to_owned(), |trouble| format!("{}, {trouble}", self.case))
    }

    /// Tells how far the case is.
    fn tell(&self, what: &str) {
        tell(&format!("{} over {}", self.case(), self.kind.name), what);
    }
}

// === impl Planned ===

impl Planned {
    pub(crate) fn case(&self) -> String {
        self.setting.case()
    }

    pub(crate) fn store(&self) -> &'static str {
        self.setting.kind.name
    }

    pub(crate) fn name(&self) -> String {
        format!("{} over {}", self.case(), self.store())
    }

    pub(crate) fn run(self) -> Running {
        (self.run)(self.setting)
    }
}
