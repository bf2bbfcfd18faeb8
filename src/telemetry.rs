//! What a log line looks like: text for people on a terminal, one JSON object per line otherwise. Logs go to standard
//! error; the audit trail is something else and lives in `adapters::audit`.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// One JSON object per line.
    Json,
    /// For people.
    Human,
}

/// Sets up the log of this process. `filter` is in the syntax of `tracing_subscriber::EnvFilter`, such as `info` or
/// `info,vault_engine=debug`. The first call counts.
///
/// # Errors
///
/// When the filter does not parse.
pub fn init(format: LogFormat, filter: &str) -> Result<(), tracing_subscriber::filter::ParseError> {
    let filter = EnvFilter::builder().parse(filter)?;
    let human = match format {
        LogFormat::Auto => io::stderr().is_terminal(),
        LogFormat::Json => false,
        LogFormat::Human => true,
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // A second subscriber is refused, which is right: whoever embeds the vault may have set up their own.
    if human {
        let _ = builder.with_ansi(io::stderr().is_terminal()).with_target(false).try_init();
    } else {
        let _ = builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init();
    }
    Ok(())
}
