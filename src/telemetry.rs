//! What a log line looks like: text for people on a terminal, one JSON object per line otherwise. Logs go to standard
//! error; the audit trail is something else and lives in `adapters::audit`.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

use crate::config::{LogConfig, LogFormat};

/// Sets up the log of this process. The first call counts.
pub fn init(config: LogConfig) {
    // The libraries underneath speak up when something is wrong and are silent otherwise.
    let filter = format!("warn,vault_engine={}", config.level.as_str());
    let filter = EnvFilter::builder().parse_lossy(filter);
    let human = match config.format {
        LogFormat::Auto => io::stderr().is_terminal(),
        LogFormat::Json => false,
        LogFormat::Human => true,
    };
    // A line that cannot be written is lost. To complain of it on standard error, where whoever read has gone, would be a
    // panic in the middle of whatever was worth a line.
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).log_internal_errors(false);
    // A second subscriber is refused, which is right: whoever embeds the vault may have set up their own.
    if human {
        let _ = builder.with_ansi(io::stderr().is_terminal()).with_target(false).try_init();
    } else {
        let _ = builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init();
    }
}
