//! An owner that wakes up after its claim was taken over: what it brings is kept if it is newer, and dropped if not.

use std::sync::Arc;

use tokio::task::JoinHandle;
use vault_engine::domain::audit::AuditResult;
use vault_engine::domain::cause::Cause;
use vault_engine::domain::connection::Health;
use vault_engine::domain::error::VaultError;
use vault_engine::domain::id::ConnectionKey;
use vault_engine::service::GetTokenAnswer;

use crate::house::{Instance, LEASE, LIFE, Trail, World, connection_of, granted, refused};
use crate::provider::{Answer, Gate};

/// A caller who waits in the background.
type Waiting = JoinHandle<Result<GetTokenAnswer, VaultError>>;

/// An instance whose claim ran out while it waited for the platform, and another one.
struct Late {
    world: World,
    key: ConnectionKey,
    caller: Waiting,
    gate: Gate,
    other: Arc<Instance>,
    /// The audit trail of the late one.
    trail: Arc<Trail>,
}

/// The late answer will be this one.
async fn late(answer: Answer) -> Late {
    let (world, key) = (World::new().await, connection_of("ada"));
    let (late, other) = (Arc::new(world.instance()), Arc::new(world.instance()));
    late.consent(&key, "access-0", "refresh-0").await;
    world.clock.advance(LIFE);
    let gate = world.hold(answer);
    let caller = wait(&late, &key);
    world.provider.has_seen(1).await;
    other.sees(&key).await;
    world.clock.advance(LEASE);
    let trail = Arc::clone(&late.audit);
    Late { world, key, caller, gate, other, trail }
}

fn wait(vault: &Arc<Instance>, key: &ConnectionKey) -> Waiting {
    let (vault, key) = (Arc::clone(vault), key.clone());
    tokio::spawn(async move { vault.get(&key).await })
}

#[tokio::test]
async fn a_late_answer_is_kept_when_nobody_has_a_newer_one() {
    let Late { world, key, caller, gate, other, .. } = late(granted(7)).await;
    world.provider.will(refused(503, "busy"));
    assert!(matches!(other.get(&key).await, Err(VaultError::ProviderUnavailable { .. })));

    gate.open();

    assert_eq!(caller.await.unwrap().unwrap().access.expose(), "access-7");
    let stored = world.connection(&key).await;
    assert_eq!((stored.generation.0, stored.grant.refresh.unwrap().expose()), (2, "refresh-7"));
    assert_eq!(other.get(&key).await.unwrap().access.expose(), "access-7");
    assert_eq!((stored.doubt, stored.backoff), (None, None));
}

#[tokio::test]
async fn a_late_answer_revives_a_connection_that_was_declared_dead_for_want_of_it() {
    let Late { world, key, caller, gate, other, .. } = late(granted(7)).await;
    world.provider.will(refused(400, "invalid_grant"));
    let dead = other.get(&key).await;
    assert!(matches!(dead, Err(VaultError::ReauthRequired { cause: Cause::LostAnswer })), "{dead:?}");

    gate.open();

    assert_eq!(caller.await.unwrap().unwrap().access.expose(), "access-7");
    assert_eq!(world.connection(&key).await.health, Health::Alive);
    assert_eq!(other.get(&key).await.unwrap().access.expose(), "access-7");
}

#[tokio::test]
async fn a_late_answer_is_kept_while_the_other_one_is_still_asking() {
    let Late { world, key, caller, gate, other, .. } = late(granted(7)).await;
    let others_gate = world.hold(refused(400, "invalid_grant"));
    let others_caller = wait(&other, &key);
    world.provider.has_seen(2).await;

    gate.open();
    assert_eq!(caller.await.unwrap().unwrap().access.expose(), "access-7");
    others_gate.open();

    assert_eq!(others_caller.await.unwrap().unwrap().access.expose(), "access-7", "the winner's token, not a refusal");
    assert_eq!(world.connection(&key).await.health, Health::Alive);
}

#[tokio::test]
async fn a_late_answer_is_dropped_when_a_newer_one_is_stored_and_the_trail_says_so() {
    let Late { world, key, caller, gate, other, trail } = late(granted(7)).await;
    assert_eq!(other.get(&key).await.unwrap().access.expose(), "access-1");
    let version = world.entry(&key).await.1;

    gate.open();

    assert_eq!(caller.await.unwrap().unwrap().access.expose(), "access-1");
    assert_eq!(world.entry(&key).await.1, version);
    let dropped: Vec<_> = trail.entries().into_iter().filter(|line| line.reason == "answer_superseded").collect();
    assert_eq!(dropped.len(), 1);
    assert_eq!((dropped[0].result, dropped[0].record_version), (AuditResult::Failed, Some(version.0)));
}

#[tokio::test]
async fn a_late_refusal_declares_nothing_dead() {
    let Late { world, key, caller, gate, other, .. } = late(refused(400, "invalid_grant")).await;
    assert_eq!(other.get(&key).await.unwrap().access.expose(), "access-1");

    gate.open();

    assert_eq!(caller.await.unwrap().unwrap().access.expose(), "access-1");
    assert_eq!(world.connection(&key).await.health, Health::Alive);
}

#[tokio::test]
async fn a_late_refusal_sends_nobody_to_reconnect_while_the_other_one_is_still_asking() {
    let Late { world, key, caller, gate, other, .. } = late(refused(400, "invalid_grant")).await;
    let others_gate = world.hold(granted(8));
    let others_caller = wait(&other, &key);
    world.provider.has_seen(2).await;

    gate.open();
    let told = caller.await.unwrap();
    others_gate.open();

    assert!(matches!(told, Err(VaultError::Contended { .. })), "{told:?}");
    assert_eq!(others_caller.await.unwrap().unwrap().access.expose(), "access-8");
    assert_eq!(world.connection(&key).await.health, Health::Alive);
}

#[tokio::test]
async fn a_late_outage_takes_no_claim_away() {
    let Late { world, key, caller, gate, other, .. } = late(refused(503, "busy")).await;
    let others_gate = world.hold(granted(8));
    let others_caller = wait(&other, &key);
    world.provider.has_seen(2).await;

    gate.open();
    let told = caller.await.unwrap();
    others_gate.open();

    assert!(matches!(told, Err(VaultError::ProviderUnavailable { .. })), "{told:?}");
    assert_eq!(others_caller.await.unwrap().unwrap().access.expose(), "access-8");
    assert_eq!(world.connection(&key).await.backoff, None);
}
