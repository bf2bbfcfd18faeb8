//! What a vault has written to its log about records, read back.

#![expect(clippy::unwrap_used, reason = "a test harness fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// How far a refresh had come, as the log tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The platform is asked; its answer has not arrived.
    Asked,
    /// The answer has arrived, and is in memory only.
    Arrived,
    /// The answer is in a file, and survives the process.
    Written,
}

/// The message of the line that is written at each stage, and of the one that says that there is nothing to keep.
const STAGES: [(&str, Option<Stage>); 4] = [
    ("a platform is asked", Some(Stage::Asked)),
    ("a platform has answered", Some(Stage::Arrived)),
    ("an answer survives this process", Some(Stage::Written)),
    ("a refresh failed", None),
];

/// The lines of a log.
pub(crate) fn lines(log: &str) -> impl Iterator<Item = Value> {
    log.lines().filter_map(|line| serde_json::from_str(line).ok())
}

/// The users of the lines with this message, in their order.
pub(crate) fn users_of(log: &str, message: &str) -> Vec<String> {
    lines(log).filter(|line| line["message"] == message).map(|line| user_of(&line)).collect()
}

/// How far the last refresh of each user had come; nothing of those that ended without an answer.
pub(crate) fn stages(log: &str) -> BTreeMap<String, Stage> {
    let mut stages = BTreeMap::new();
    for line in lines(log) {
        match STAGES.iter().find(|(message, _)| line["message"] == *message) {
            Some((_, Some(stage))) => {
                stages.insert(user_of(&line), *stage);
            }
            Some((_, None)) => {
                stages.remove(&user_of(&line));
            }
            None => {}
        }
    }
    stages
}

/// The users of whose records it says that they were newer, or there at all.
pub(crate) fn reported_lost(log: &str) -> BTreeSet<String> {
    let lost = |line: &Value| {
        line["alarm"] == "record_corrupt"
            && (line["reason"] == "record_rollback" || line["reason"] == "record_vanished")
    };
    lines(log).filter(lost).map(|line| user_of(&line)).collect()
}

/// Whose record a line is about.
pub(crate) fn user_of(line: &Value) -> String {
    let record = line["record"].as_str().unwrap();
    record.split_once(':').unwrap().0.to_owned()
}
