//! What is logged, and how. What a log line looks like is decided elsewhere.

use crate::document::Section;

/// What is logged, and how.
#[derive(Debug, Clone, Copy)]
pub struct LogConfig {
    /// How a line is written.
    pub format: LogFormat,
    /// From which level on.
    pub level: LogLevel,
}

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people on a terminal, as JSON elsewhere.
    Auto,
    /// As JSON.
    Json,
    /// For people.
    Human,
}

/// The least severe level that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// What needs somebody's attention.
    Error,
    /// What may need it.
    Warn,
    /// What happened.
    Info,
    /// How.
    Debug,
    /// Every step.
    Trace,
}

const LEVELS: [(&str, LogLevel); 5] = [
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];

// === impl LogLevel ===

impl LogLevel {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

pub(super) fn read(section: &mut Section<'_>) -> LogConfig {
    let formats = [("auto", LogFormat::Auto), ("json", LogFormat::Json), ("human", LogFormat::Human)];
    LogConfig {
        format: section.optional("format", |node| node.one_of(&formats)).unwrap_or(LogFormat::Auto),
        level: section.optional("level", |node| node.one_of(&LEVELS)).unwrap_or(LogLevel::Info),
    }
}
