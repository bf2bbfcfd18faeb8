//! What is inside records: bytes that were written once and must be read for ever.
//!
//! A line here is never changed. When the format grows, lines are added.

use std::time::Duration;

use vault_engine::domain::cause::Cause;
use vault_engine::domain::connection::{
    Backoff, Claim, Connection, Doubt, Entry, Generation, Grant, Health, InstanceId, LastRefresh, OriginFingerprint,
    RefreshOutcome, Renewal, Tombstone,
};
use vault_engine::domain::secret::{AccessToken, RefreshToken};
use vault_engine::domain::time::Timestamp;
use vault_engine::envelope::{decode, encode};

/// A connection with every field set.
const FULL: &str = "080712550a066163636573731207726566726573681a0870726576696f75732090fecfaa062880e2cfaa063205656d61\
    696c321163616c656e6461722e726561646f6e6c793a036d616340c0a5e3b10649efcdab89674523011a140910325476\
    98badcfe10091894f096ffbc31200722080881e2cfaa0610012a080882e2cfaa061009320a0883e2cfaa061002180d3a\
    1008041084e2cfaa0618f0e3cfaa06200c4080e2cfaa06";
/// The same, since a claim says for how long it holds.
const FULL_WITH_LEASE: &str = "080712550a066163636573731207726566726573681a0870726576696f75732090fecfaa062880e2cfaa063205656d61\
    696c321163616c656e6461722e726561646f6e6c793a036d616340c0a5e3b10649efcdab89674523011a180910325476\
    98badcfe10091894f096ffbc31200728a09c0122080881e2cfaa0610012a080882e2cfaa061009320a0883e2cfaa061002180d3a\
    1008041084e2cfaa0618f0e3cfaa06200c4080e2cfaa06";
/// A connection as it is when it was just stored, with nothing that can be left out.
const PLAIN: &str = "0801120e0a066163636573732880e2cfaa064080e2cfaa06";
/// A deleted connection.
const DELETED: &str = "08034880e2cfaa06";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_seconds(seconds)
}

fn plain() -> Connection {
    let grant = Grant {
        access: AccessToken::new("access".into()).unwrap(),
        refresh: None,
        previous_refresh: None,
        expires_at: None,
        issued_at: at(1_700_000_000),
        scopes: Vec::new(),
        token_type: None,
        refresh_expires_at: None,
        origin: OriginFingerprint(0),
    };
    Connection::stored(grant, Generation(1), at(1_700_000_000))
}

fn full() -> Connection {
    let mut connection = plain();
    connection.generation = Generation(7);
    connection.grant.refresh = RefreshToken::new("refresh".into());
    connection.grant.previous_refresh = RefreshToken::new("previous".into());
    connection.grant.expires_at = Some(at(1_700_003_600));
    connection.grant.scopes = vec!["email".into(), "calendar.readonly".into()];
    connection.grant.token_type = Some("mac".into());
    connection.grant.refresh_expires_at = Some(at(1_715_000_000));
    connection.grant.origin = OriginFingerprint(0x0123_4567_89ab_cdef);
    connection.renewal = Renewal::Claimed(Claim {
        owner: InstanceId(0xfedc_ba98_7654_3210),
        fence: 9,
        deadline: Timestamp::from_unix_millis(1_700_000_020_500),
        lease: Duration::from_secs(20),
        generation: Generation(7),
    });
    connection.doubt = Some(Doubt { since: at(1_700_000_001), attempted: true });
    connection.health = Health::Dead { at: at(1_700_000_002), cause: Cause::LostAnswer };
    connection.last_refresh =
        Some(LastRefresh { at: at(1_700_000_003), outcome: RefreshOutcome::Failed(Cause::Throttled) });
    connection.backoff = Some(Backoff {
        failures: 4,
        first_at: at(1_700_000_004),
        next_at: at(1_700_000_240),
        cause: Cause::ProviderOutage,
    });
    connection
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// Everything in it that is no secret, and the secrets beside it.
fn told(entry: &Entry) -> String {
    match entry {
        Entry::Live(connection) => {
            let grant = &connection.grant;
            let text = |token: &Option<RefreshToken>| token.as_ref().map(|token| token.expose().to_owned());
            let secrets = (grant.access.expose(), text(&grant.refresh), text(&grant.previous_refresh));
            format!("{connection:?} {secrets:?}")
        }
        Entry::Deleted(tombstone) => format!("{tombstone:?}"),
    }
}

#[test]
fn every_record_ever_written_is_read_as_it_was_meant_and_written_the_same() {
    let deleted = Entry::Deleted(Tombstone { generation: Generation(3), at: at(1_700_000_000) });
    for (golden, entry) in
        [(FULL_WITH_LEASE, Entry::Live(Box::new(full()))), (PLAIN, Entry::Live(Box::new(plain()))), (DELETED, deleted)]
    {
        assert_eq!(hex(&encode(&entry)), golden);
        assert_eq!(told(&decode(&bytes(golden)).unwrap()), told(&entry));
    }
}

#[test]
fn a_claim_that_does_not_say_for_how_long_it_holds_holds_for_twenty_seconds() {
    assert_eq!(told(&decode(&bytes(FULL)).unwrap()), told(&Entry::Live(Box::new(full()))));
}

#[test]
fn what_a_later_version_adds_does_not_keep_this_one_from_reading() {
    // Field 15, which nobody has written yet, behind everything else.
    let later = [bytes(FULL), vec![0x7a, 0x03, b'n', b'e', b'w']].concat();
    assert_eq!(told(&decode(&later).unwrap()), told(&Entry::Live(Box::new(full()))));
}
