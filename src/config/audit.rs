//! Where the audit trail goes.

use std::path::PathBuf;

use super::{Context, path};
use crate::document::Section;

/// Where the audit trail goes.
#[derive(Debug, Clone)]
pub enum AuditConfig {
    /// Into a file.
    File {
        /// The file; lines are appended.
        path: PathBuf,
    },
    /// To standard output, for whoever collects it there.
    Stdout,
}

#[derive(Clone, Copy)]
enum Sink {
    File,
    Stdout,
}

pub(super) fn read(section: &mut Section<'_>, context: &Context<'_>) -> AuditConfig {
    let sinks = [("file", Sink::File), ("stdout", Sink::Stdout)];
    let sink = section.optional("sink", |node| node.one_of(&sinks)).unwrap_or(Sink::File);
    let file = section.optional("path", path);
    match sink {
        Sink::File => AuditConfig::File { path: file.unwrap_or_else(|| context.data_dir.join("audit.jsonl")) },
        Sink::Stdout => AuditConfig::Stdout,
    }
}
