//! Where the audit trail goes, and how it is kept.

use std::path::PathBuf;
use std::time::Duration;

use super::{Context, path};
use crate::document::Section;

/// Where the audit trail goes, and how it is kept.
#[derive(Debug, Clone)]
pub struct AuditConfig {
    /// Where it is written.
    pub sink: AuditSinkConfig,
    /// Whether a line about secrets that are released or changed is waited for until it is on disk.
    pub durable: bool,
    /// A segment of so many bytes is closed.
    pub segment_bytes: u64,
    /// One that is this old, too.
    pub segment_age: Duration,
    /// The socket of a syslog daemon that gets a copy.
    pub syslog: Option<PathBuf>,
    /// How many calls of one source without valid credentials are written in a minute, before they are counted.
    pub refused_verbatim: u32,
}

/// Where it is written.
#[derive(Debug, Clone)]
pub enum AuditSinkConfig {
    /// Into a file.
    File {
        /// The file; lines are appended. What is closed goes into the folder `<path>.d`.
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

const MEBIBYTE: u64 = 1_048_576;

pub(super) fn read(section: &mut Section<'_>, context: &Context<'_>) -> AuditConfig {
    let sinks = [("file", Sink::File), ("stdout", Sink::Stdout)];
    let sink = section.optional("sink", |node| node.one_of(&sinks)).unwrap_or(Sink::File);
    let file = section.optional("path", path);
    let sink = match sink {
        Sink::File => AuditSinkConfig::File { path: file.unwrap_or_else(|| context.data_dir.join("audit.jsonl")) },
        Sink::Stdout => AuditSinkConfig::Stdout,
    };
    let durable = section.optional("durability", |node| node.one_of(&[("os", false), ("disk", true)]));
    let mebibytes = section.optional("segment_mebibytes", |node| node.number(1..=1_048_576)).unwrap_or(64);
    let minutes = section.optional("segment_minutes", |node| node.number(1..=44_640)).unwrap_or(60);
    let refused = section.optional("refused_per_minute", |node| node.number(0..=1_000_000)).unwrap_or(10);
    AuditConfig {
        sink,
        durable: durable.unwrap_or(false),
        segment_bytes: mebibytes * MEBIBYTE,
        segment_age: Duration::from_secs(minutes * 60),
        syslog: section.optional("syslog", path),
        refused_verbatim: u32::try_from(refused).unwrap_or(u32::MAX),
    }
}
