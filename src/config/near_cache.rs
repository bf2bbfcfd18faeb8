//! How much of the store is kept at hand.

use crate::document::Section;

/// How much of the store is kept at hand.
#[derive(Debug, Clone, Copy)]
pub struct NearCacheConfig {
    /// The most bytes of sealed records in memory; 0: none. The embedded store is at hand already and needs none.
    pub max_bytes: u64,
}

pub(super) fn read(section: &mut Section<'_>) -> NearCacheConfig {
    let mebibytes = section.optional("max_mebibytes", |node| node.number(0..=65_536)).unwrap_or(64);
    NearCacheConfig { max_bytes: mebibytes * 1_024 * 1_024 }
}
