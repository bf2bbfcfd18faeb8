//! Calls of nobodies, of which anybody can make any number: the first of each source and minute are written as they are,
//! the others are counted.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::about;

/// Who has been refused how often.
pub(super) struct Refused {
    /// How many calls of one source are written in a minute.
    verbatim: u32,
    sources: HashMap<String, Source>,
    /// What is counted for sources that are too many to be told apart.
    others: Source,
    began: Instant,
}

#[derive(Default)]
struct Source {
    seen: u32,
    /// How many were not written, by what was wrong with them.
    counted: Vec<(&'static str, u64)>,
}

const MINUTE: Duration = Duration::from_secs(60);
/// Sources told apart in a minute.
const MOST_SOURCES: usize = 256;

// === impl Refused ===

impl Refused {
    pub(super) fn new(verbatim: u32) -> Self {
        Self { verbatim, sources: HashMap::new(), others: Source::default(), began: Instant::now() }
    }

    /// Whether a refusal is to be written. If not, it is counted.
    pub(super) fn admits(&mut self, peer: &str, reason: &'static str) -> bool {
        let source = address(peer);
        let known = self.sources.len() < MOST_SOURCES || self.sources.contains_key(source);
        let verbatim = self.verbatim;
        let source = if known {
            // Looked up before it is owned: this is what a flood costs.
            if !self.sources.contains_key(source) {
                self.sources.insert(source.to_owned(), Source::default());
            }
            self.sources.get_mut(source).unwrap_or(&mut self.others)
        } else {
            &mut self.others
        };
        source.seen = source.seen.saturating_add(1);
        if source.seen <= verbatim {
            return true;
        }
        match source.counted.iter_mut().find(|(word, _)| *word == reason) {
            Some((_, count)) => *count = count.saturating_add(1),
            None => source.counted.push((reason, 1)),
        }
        false
    }

    /// What was counted in the minute that is over; nothing while it lasts, unless `now`.
    pub(super) fn settle(&mut self, now: bool) -> Vec<Vec<u8>> {
        if !now && self.began.elapsed() < MINUTE {
            return Vec::new();
        }
        self.began = Instant::now();
        let others = std::iter::once(("others".to_owned(), std::mem::take(&mut self.others)));
        let all = self.sources.drain().chain(others);
        let lines = |(peer, source): (String, Source)| {
            source.counted.into_iter().map(move |(reason, count)| about::refused(&peer, reason, count))
        };
        all.flat_map(lines).collect()
    }
}

/// An address without its port.
fn address(peer: &str) -> &str {
    peer.rsplit_once(':').map_or(peer, |(address, _)| address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(refused: &mut Refused) -> Vec<String> {
        let mut lines: Vec<_> = refused.settle(true).into_iter().map(|line| String::from_utf8(line).unwrap()).collect();
        lines.sort();
        lines
    }

    #[test]
    fn the_first_of_each_source_are_written_and_the_others_counted_by_what_is_wrong() {
        let mut refused = Refused::new(2);
        let written = |refused: &mut Refused, peer, reason| (0..10).filter(|_| refused.admits(peer, reason)).count();
        assert_eq!(written(&mut refused, "10.0.0.1:1", "wrong_key"), 2);
        assert_eq!(written(&mut refused, "10.0.0.1:2", "unknown_engine"), 0);
        assert_eq!(written(&mut refused, "[::1]:1", "wrong_key"), 2);
        assert!(refused.settle(false).is_empty(), "the minute is not over");
        let told = counts(&mut refused);
        assert_eq!(told.len(), 3);
        assert!(told[0].contains(r#""peer":"10.0.0.1","refused_as":"unknown_engine","count":10"#), "{told:?}");
        assert!(told[1].contains(r#""peer":"10.0.0.1","refused_as":"wrong_key","count":8"#), "{told:?}");
        assert!(counts(&mut refused).is_empty());
        assert_eq!(written(&mut refused, "10.0.0.1:1", "wrong_key"), 2, "another minute");
    }

    #[test]
    fn sources_beyond_number_take_no_memory_beyond_number() {
        let mut refused = Refused::new(1);
        for source in 0..65_536 {
            refused.admits(&format!("10.0.{}.{}:1", source / 256, source % 256), "wrong_key");
        }
        assert_eq!(refused.sources.len(), MOST_SOURCES);
        let told = counts(&mut refused);
        assert!(told.len() == 1 && told[0].contains(r#""peer":"others""#), "{told:?}");
    }
}
