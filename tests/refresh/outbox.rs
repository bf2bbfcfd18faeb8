//! Answers on disk: an instance that ends between an answer and the store loses nothing, and whatever else happened to
//! the connection meanwhile is respected.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use vault_engine::adapters::outbox::{Bounds, Kind, folders_in, list};
use vault_engine::domain::connection::{Entry, Health};
use vault_engine::domain::error::VaultError;
use vault_engine::domain::id::ConnectionKey;
use vault_engine::domain::ports::{Outbox as _, OutboxError, Renewal as _, Version};
use vault_engine::domain::profile::Rotates;

use crate::eventually::eventually;
use crate::failing_store::Fault;
use crate::house::{Instance, LEASE, LIFE, Setup, World, connection_of, granted, refused};

/// A world in which an answer that the first write to the store does not take is given up at once, as by a crash.
async fn hasty(differ: impl FnOnce(&mut Setup)) -> World {
    World::with(|setup| {
        setup.settings.commit = Duration::ZERO;
        differ(setup);
    })
    .await
}

/// An expired record.
async fn expired(world: &World, vault: &Instance, user: &str) -> ConnectionKey {
    let key = connection_of(user);
    vault.consent(&key, "access-0", "refresh-0").await;
    world.clock.advance(LIFE);
    key
}

/// An instance was answered and is gone before the store had it.
async fn answered_and_gone(world: &World) -> ConnectionKey {
    let vault = world.instance();
    let key = expired(world, &vault, "ada").await;
    answer_and_go(world, vault, &key).await;
    key
}

async fn answer_and_go(world: &World, vault: Instance, key: &ConnectionKey) {
    let before = world.refreshes();
    refuse_after_the_claim(world, &vault, key).await;
    assert_eq!(world.refreshes(), before + 1);
    vault.crash().await;
}

/// A refresh whose answer the store does not take.
async fn refuse_after_the_claim(world: &World, vault: &Instance, key: &ConnectionKey) {
    let seen = world.refreshes();
    let gate = world.hold(granted(seen + 1));
    let (answer, ()) = tokio::join!(vault.get(key), async {
        world.provider.has_seen(seen + 1).await;
        vault.store.refuse_writes();
        gate.open();
    });
    assert!(matches!(answer, Ok(_) | Err(VaultError::Store(_))), "{answer:?}");
    assert_eq!(vault.outbox.waiting_for(key).len(), 1);
    vault.settled().await;
}

/// What lies in all outboxes.
fn files(world: &World, kind: Kind) -> Vec<PathBuf> {
    let extension = if kind == Kind::Waiting { "answer" } else { "quarantined" };
    let folders = folders_in(&world.outboxes()).unwrap();
    let listed = folders.iter().map(|folder| list(folder).unwrap());
    let found = listed.flat_map(|listed| {
        let of_kind = listed.found.into_iter().filter(|found| found.kind == kind).collect::<Vec<_>>();
        of_kind.into_iter().map(move |found| listed.path.join(format!("{}.{extension}", found.name)))
    });
    found.collect()
}

/// What the trail says about answers in the outbox.
fn audited(vault: &Instance) -> Vec<&'static str> {
    let entries = vault.audit.entries().into_iter().filter(|entry| entry.request_id.as_str().starts_with("outbox-"));
    entries.map(|entry| entry.reason).collect()
}

async fn assert_stored_once(world: &World, key: &ConnectionKey) {
    let stored = world.connection(key).await;
    assert_eq!((stored.generation.0, stored.grant.access.expose()), (2, "access-1"));
    assert_eq!(stored.grant.refresh.unwrap().expose(), "refresh-1");
    assert_eq!(world.entry(key).await.1, Version(3), "stored, claimed, renewed");
    assert_eq!(world.refreshes(), 1);
    assert!(files(world, Kind::Waiting).is_empty());
}

#[tokio::test]
async fn an_answer_is_on_disk_while_the_store_does_not_have_it_and_not_after() {
    let world = World::new().await;
    let vault = world.instance();
    let key = expired(&world, &vault, "ada").await;
    let gate = world.hold(granted(1));
    let (answer, ()) = tokio::join!(vault.get(&key), async {
        world.provider.has_seen(1).await;
        vault.store.refuse_writes();
        gate.open();
    });
    assert_eq!(answer.unwrap().access.expose(), "access-1");
    assert_eq!((vault.outbox.waiting_for(&key).len(), files(&world, Kind::Waiting).len()), (1, 1));

    vault.store.come_back();
    vault.settled().await;
    vault.outbox.tend().await;
    assert_stored_once(&world, &key).await;
    assert!(audited(&vault).is_empty(), "nothing had to be replayed");
}

#[tokio::test]
async fn what_an_instance_left_that_is_gone_is_stored_by_the_next_one() {
    let world = hasty(|_| {}).await;
    let key = answered_and_gone(&world).await;
    assert_eq!(world.connection(&key).await.grant.access.expose(), "access-0");

    let next = world.instance();
    next.refresher.tend_outbox().await;

    next.outbox.tend().await;
    assert_stored_once(&world, &key).await;
    assert_eq!(audited(&next), ["answer_replayed"]);
    assert_eq!(next.get(&key).await.unwrap().access.expose(), "access-1");
}

#[tokio::test]
async fn nothing_in_the_outbox_is_in_the_clear() {
    let world = hasty(|_| {}).await;
    answered_and_gone(&world).await;
    let bytes = fs::read(&files(&world, Kind::Waiting)[0]).unwrap();
    for secret in ["access-0", "access-1", "refresh-0", "refresh-1"] {
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret}");
    }
}

#[tokio::test]
async fn an_instance_that_has_the_answer_on_disk_does_not_use_the_old_refresh_token() {
    let world = hasty(|_| {}).await;
    let vault = world.instance();
    let key = expired(&world, &vault, "ada").await;
    refuse_after_the_claim(&world, &vault, &key).await;
    assert!(vault.refresher.in_hand(&key).is_none(), "memory has given up");
    world.clock.advance(LEASE);
    assert!(matches!(vault.get(&key).await, Err(VaultError::Store(_))));

    vault.store.come_back();

    assert_eq!(vault.get(&key).await.unwrap().access.expose(), "access-1");
    vault.outbox.tend().await;
    assert_stored_once(&world, &key).await;
}

#[tokio::test]
async fn a_replay_that_fails_half_way_is_done_again() {
    for fault in [Fault::Refused, Fault::AnswerLost] {
        let world = hasty(|_| {}).await;
        let key = answered_and_gone(&world).await;
        let next = world.instance();
        next.store.fail_next_write(fault);
        next.refresher.tend_outbox().await;
        assert_eq!(next.outbox.waiting_for(&key).len(), 1, "{fault:?}");

        next.refresher.tend_outbox().await;

        next.outbox.tend().await;
        assert_stored_once(&world, &key).await;
    }
}

#[tokio::test]
async fn an_answer_is_dropped_when_a_newer_token_is_stored() {
    let world = hasty(|_| {}).await;
    let key = answered_and_gone(&world).await;
    let next = world.instance();
    next.consent(&key, "access-new", "refresh-new").await;
    let version = world.entry(&key).await.1;

    next.refresher.tend_outbox().await;

    assert_eq!(world.connection(&key).await.grant.access.expose(), "access-new");
    assert_eq!(world.entry(&key).await.1, version);
    assert!(next.outbox.waiting().is_empty());
    assert_eq!(audited(&next), ["answer_superseded"]);
}

#[tokio::test]
async fn a_connection_that_was_deleted_meanwhile_stays_deleted() {
    let world = hasty(|_| {}).await;
    let key = answered_and_gone(&world).await;
    let next = world.instance();
    next.delete(&key).await;

    next.refresher.tend_outbox().await;

    assert!(matches!(world.entry(&key).await.0, Entry::Deleted(_)));
    assert!(next.outbox.waiting().is_empty());
    assert_eq!(audited(&next), ["answer_deleted"]);
    assert!(matches!(next.get(&key).await, Err(VaultError::Missing)));
}

#[tokio::test]
async fn a_connection_that_is_deleted_during_its_refresh_leaves_nothing_in_the_outbox() {
    let world = World::new().await;
    let vault = world.instance();
    let key = expired(&world, &vault, "ada").await;
    let gate = world.hold(granted(1));
    let (answer, ()) = tokio::join!(vault.get(&key), async {
        world.provider.has_seen(1).await;
        world.instance().delete(&key).await;
        gate.open();
    });
    assert!(matches!(answer, Err(VaultError::Missing)), "{answer:?}");
    vault.settled().await;

    vault.refresher.tend_outbox().await;

    assert!(matches!(world.entry(&key).await.0, Entry::Deleted(_)));
    assert!(vault.outbox.waiting().is_empty());
    assert_eq!(audited(&vault), ["answer_deleted"]);
}

#[tokio::test]
async fn of_two_answers_for_one_token_one_is_stored_and_the_other_dropped() {
    let world = hasty(|setup| setup.profile.refresh.reuse_window = LIFE).await;
    let (first, second) = (world.instance(), world.instance());
    let key = expired(&world, &first, "ada").await;
    answer_and_go(&world, first, &key).await;
    second.sees(&key).await;
    world.clock.advance(LEASE);
    answer_and_go(&world, second, &key).await;
    assert_eq!(files(&world, Kind::Waiting).len(), 2);

    let next = world.instance();
    next.refresher.tend_outbox().await;

    assert!(next.outbox.waiting().is_empty());
    let mut said = audited(&next);
    said.sort_unstable();
    assert_eq!(said, ["answer_replayed", "answer_superseded"]);
    assert_eq!(world.connection(&key).await.generation.0, 2);
}

#[tokio::test]
async fn an_answer_revives_a_connection_that_was_declared_dead_for_want_of_it() {
    let world = hasty(|_| {}).await;
    let key = answered_and_gone(&world).await;
    let other = world.instance();
    other.sees(&key).await;
    world.clock.advance(LEASE);
    world.provider.will(refused(400, "invalid_grant"));
    assert!(matches!(other.get(&key).await, Err(VaultError::ReauthRequired { .. })));

    other.refresher.tend_outbox().await;

    assert_eq!(world.connection(&key).await.health, Health::Alive);
    assert_eq!(other.get(&key).await.unwrap().access.expose(), "access-1");
}

#[tokio::test]
async fn whoever_takes_a_claim_over_gives_the_dead_owner_s_answer_time_to_arrive() {
    let world = hasty(|setup| setup.settings.handover = Duration::from_secs(10)).await;
    let other = Arc::new(world.instance());
    let key = answered_and_gone(&world).await;
    other.sees(&key).await;
    world.clock.advance(LEASE + Duration::from_secs(9));
    let hurried = other.get_within(Duration::from_millis(300), &key).await;
    assert!(matches!(hurried, Err(VaultError::Contended { .. })), "{hurried:?}");
    assert_eq!(world.refreshes(), 1);

    world.instance().refresher.tend_outbox().await;

    assert_eq!(other.get(&key).await.unwrap().access.expose(), "access-1");
    assert_eq!(world.refreshes(), 1);
}

#[tokio::test]
async fn when_that_time_is_over_the_old_refresh_token_is_tried_once() {
    let world = hasty(|setup| setup.settings.handover = Duration::from_secs(10)).await;
    let vault = world.instance();
    let key = expired(&world, &vault, "ada").await;
    let gate = world.hold(granted(7));
    drop(vault.get_within(Duration::from_millis(200), &key).await);
    world.provider.has_seen(1).await;
    vault.crash().await;
    gate.open();
    let other = world.instance();
    other.sees(&key).await;
    world.clock.advance(LEASE + Duration::from_secs(10));

    assert_eq!(other.get(&key).await.unwrap().access.expose(), "access-1");
    assert_eq!(world.presented(), ["refresh-0", "refresh-0"]);
}

#[tokio::test]
async fn whoever_took_over_the_outbox_of_a_dead_owner_waits_for_no_answer_that_is_not_in_it() {
    let world = hasty(|setup| setup.settings.handover = Duration::from_secs(3_600)).await;
    let (dying, survivor) = (world.instance(), world.instance());
    let key = expired(&world, &dying, "ada").await;
    world.dies_waiting(&dying, dying.get(&key)).await;
    survivor.sees(&key).await;
    world.clock.advance(LEASE);
    let hurried = survivor.get_within(Duration::from_millis(300), &key).await;
    assert!(matches!(hurried, Err(VaultError::Contended { .. })), "{hurried:?}");

    let folder = world.outboxes().join(format!("{:016x}", dying.outbox.owner().unwrap().0));
    drop(dying);
    // It was killed: nobody holds its lock, and nobody has tidied up.
    fs::create_dir(&folder).unwrap();
    survivor.refresher.tend_outbox().await;

    assert!(!folder.exists());
    assert!(survivor.get(&key).await.is_ok());
    assert_eq!(world.presented(), ["refresh-0", "refresh-0"]);
}

#[tokio::test]
async fn where_nothing_rotates_nobody_waits_for_a_dead_owner() {
    let world = hasty(|setup| {
        setup.settings.handover = Duration::from_secs(300);
        setup.profile.refresh.rotates = Rotates::No;
    })
    .await;
    let key = answered_and_gone(&world).await;
    let other = world.instance();
    other.sees(&key).await;
    world.clock.advance(LEASE);

    assert!(other.get_within(Duration::from_secs(5), &key).await.is_ok());
    assert_eq!(world.refreshes(), 2);
}

#[tokio::test]
async fn where_nothing_rotates_an_answer_goes_to_disk_only_when_the_store_does_not_take_it() {
    let keeps = |setup: &mut Setup| setup.profile.refresh.rotates = Rotates::No;
    let same_refresh_token = serde_json::json!({ "access_token": "access-1", "expires_in": 3_600 });
    let world = hasty(keeps).await;
    let vault = world.instance();
    let key = expired(&world, &vault, "ada").await;
    // An outbox that cannot be written would say so at the first attempt.
    fs::remove_dir_all(world.outboxes()).unwrap();
    world.provider.will(crate::provider::Answer::json(200, &same_refresh_token));
    assert_eq!(vault.get(&key).await.unwrap().access.expose(), "access-1");
    vault.settled().await;
    assert!(vault.outbox.reserve().is_ok());

    let world = hasty(keeps).await;
    answered_and_gone(&world).await;
    assert_eq!(files(&world, Kind::Waiting).len(), 1);
}

#[tokio::test]
async fn a_platform_that_rotates_is_not_asked_when_its_answer_would_have_no_place() {
    let world = hasty(|setup| setup.outbox = Bounds { entries: 1, ..setup.outbox }).await;
    let vault = world.instance();
    let (ada, grace) = (expired(&world, &vault, "ada").await, expired(&world, &vault, "grace").await);
    refuse_after_the_claim(&world, &vault, &ada).await;
    vault.store.come_back();

    let told = vault.get(&grace).await;

    assert!(matches!(told, Err(VaultError::Outbox(OutboxError::Full))), "{told:?}");
    assert_eq!(world.refreshes(), 1);
    assert_eq!(world.entry(&grace).await.1, Version::FIRST, "not even claimed");
    vault.refresher.tend_outbox().await;
    assert!(vault.get(&grace).await.is_ok(), "there is room again");
}

#[tokio::test]
async fn a_platform_that_does_not_rotate_is_asked_whether_or_not_there_is_room() {
    let world = hasty(|setup| {
        setup.outbox = Bounds { entries: 1, ..setup.outbox };
        setup.profile.refresh.rotates = Rotates::No;
    })
    .await;
    let vault = world.instance();
    let (ada, grace) = (expired(&world, &vault, "ada").await, expired(&world, &vault, "grace").await);
    refuse_after_the_claim(&world, &vault, &ada).await;
    vault.store.come_back();

    assert!(vault.get(&grace).await.is_ok());
}

#[tokio::test]
async fn an_answer_the_disk_does_not_take_is_kept_in_memory_and_nothing_more_is_asked_for() {
    let world = World::new().await;
    let vault = world.instance();
    let (ada, grace) = (expired(&world, &vault, "ada").await, expired(&world, &vault, "grace").await);
    let (folder, away) = (folders_in(&world.outboxes()).unwrap().remove(0), world.outboxes().with_extension("away"));
    let gate = world.hold(granted(1));
    let (answer, ()) = tokio::join!(vault.get(&ada), async {
        world.provider.has_seen(1).await;
        fs::rename(&folder, &away).unwrap();
        vault.store.refuse_writes();
        gate.open();
    });
    assert_eq!(answer.unwrap().access.expose(), "access-1");
    let told = vault.get(&grace).await;
    assert!(matches!(told, Err(VaultError::Outbox(OutboxError::Unavailable { .. }))), "{told:?}");
    assert_eq!(world.refreshes(), 1);

    vault.store.come_back();
    eventually("the answer is stored from memory", async || {
        (world.connection(&ada).await.grant.access.expose() == "access-1").then_some(())
    })
    .await;
    fs::rename(&away, &folder).unwrap();
    vault.refresher.tend_outbox().await;
    assert!(vault.get(&grace).await.is_ok(), "the disk takes answers again");
}

#[tokio::test]
async fn an_entry_that_cannot_be_opened_is_put_aside_and_kept() {
    let world = hasty(|_| {}).await;
    let ada = answered_and_gone(&world).await;
    let eve = connection_of("eve");
    world.instance().consent(&eve, "access-eve", "refresh-eve").await;
    // Whole, but made out to somebody else.
    let file = &files(&world, Kind::Waiting)[0];
    let mut bytes = fs::read(file).unwrap();
    let at = bytes.windows(3).position(|window| window == b"ada").unwrap();
    bytes[at..at + 3].copy_from_slice(b"eve");
    let body = bytes.len() - 4;
    let checksum = crc32fast::hash(&bytes[..body]).to_be_bytes();
    bytes[body..].copy_from_slice(&checksum);
    fs::write(file, bytes).unwrap();

    let next = world.instance();
    next.refresher.tend_outbox().await;
    next.outbox.tend().await;

    assert!(next.outbox.waiting().is_empty());
    assert_eq!((files(&world, Kind::Waiting).len(), files(&world, Kind::Quarantined).len()), (0, 1));
    assert_eq!(world.connection(&eve).await.grant.access.expose(), "access-eve");
    assert_eq!(world.connection(&ada).await.grant.access.expose(), "access-0");
}

#[tokio::test]
async fn while_the_keys_are_away_an_answer_waits() {
    let world = hasty(|_| {}).await;
    let key = answered_and_gone(&world).await;
    let next = world.instance();
    next.keys.set(crate::faulty::Fault::Unavailable("timeout"));
    next.refresher.tend_outbox().await;
    assert_eq!(next.outbox.waiting_for(&key).len(), 1);

    let later = {
        next.crash().await;
        drop(next);
        world.instance()
    };
    later.refresher.tend_outbox().await;
    later.outbox.tend().await;
    assert_stored_once(&world, &key).await;
}

#[tokio::test]
async fn a_late_answer_that_is_dropped_is_written_down() {
    let world = World::new().await;
    let (late, other) = (world.instance(), world.instance());
    let key = expired(&world, &late, "ada").await;
    let gate = world.hold(granted(7));
    let (answer, ()) = tokio::join!(late.get(&key), async {
        world.provider.has_seen(1).await;
        other.sees(&key).await;
        world.clock.advance(LEASE);
        assert_eq!(other.get(&key).await.unwrap().access.expose(), "access-1");
        gate.open();
    });
    assert_eq!(answer.unwrap().access.expose(), "access-1");
    late.settled().await;
    assert_eq!(audited(&late), ["answer_superseded"]);
    assert!(late.outbox.waiting().is_empty());
}
