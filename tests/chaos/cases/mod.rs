//! The cases, and over which stores each of them runs.

mod cancelled;
mod crowd;
mod deletion;
mod kill;
mod late;
mod load;
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
    /// One that several instances share, because the store is not what it is about.
    One,
    /// Those that three instances share, and that can be out of reach for one of them.
    Partitioned,
    /// All of them, once for each trouble they can be in.
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
    Case { name: "crowd", over: Over::Every, run: |setting| Box::pin(crowd::before_a_strict_judge(setting)) },
    Case { name: "crowd, gracious", over: Over::One, run: |setting| Box::pin(crowd::before_a_gracious_judge(setting)) },
    Case { name: "kill", over: Over::Every, run: |setting| Box::pin(kill::before_a_strict_judge(setting)) },
    Case { name: "kill, gracious", over: Over::One, run: |setting| Box::pin(kill::before_a_gracious_judge(setting)) },
    Case { name: "outage", over: Over::EveryTrouble, run: |setting| Box::pin(outage::run(setting)) },
    Case { name: "platform in trouble", over: Over::One, run: |setting| Box::pin(platform::run(setting)) },
    Case { name: "late owner", over: Over::Partitioned, run: |setting| Box::pin(late::run(setting)) },
    Case { name: "deletion", over: Over::Every, run: |setting| Box::pin(deletion::run(setting)) },
    Case { name: "cancelled callers", over: Over::Every, run: |setting| Box::pin(cancelled::run(setting)) },
    Case { name: "register", over: Over::Every, run: |setting| Box::pin(register::run(setting)) },
];

/// Everything there is to run.
pub(crate) fn plan(size: Size) -> impl Iterator<Item = Planned> {
    CASES.iter().flat_map(move |case| {
        let settings = case.over.settings();
        settings.into_iter().map(move |(kind, trouble)| Planned {
            setting: Setting { kind, trouble, size, case: case.name },
            run: case.run,
        })
    })
}

// === impl Over ===

impl Over {
    fn settings(self) -> Vec<(&'static Kind, Option<Trouble>)> {
        match self {
            Self::Every => KINDS.iter().map(|kind| (kind, None)).collect(),
            Self::One => {
                let one = KINDS.iter().find(|kind| kind.instances > 1).or(KINDS.first());
                one.into_iter().map(|kind| (kind, None)).collect()
            }
            Self::Partitioned => {
                let cut = |kind: &&Kind| kind.instances >= 3 && kind.troubles.contains(&Trouble::Partitioned);
                KINDS.iter().filter(cut).map(|kind| (kind, None)).collect()
            }
            Self::EveryTrouble => {
                KINDS.iter().flat_map(|kind| kind.troubles.iter().map(move |one| (kind, Some(*one)))).collect()
            }
        }
    }
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
