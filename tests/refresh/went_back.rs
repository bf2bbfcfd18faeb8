//! A store that has gone back in time while an answer was on its way, as a server does that takes over without the last
//! writes of the one before: the answer is written over what it went back to, because nobody has a newer one.

use std::sync::Arc;
use std::time::Duration;

use vault_engine::domain::connection::Renewal;
use vault_engine::domain::error::{CorruptRecord, VaultError};
use vault_engine::domain::id::ConnectionKey;
use vault_engine::domain::ports::{Address, Outbox as _, Record, Version};

use crate::house::{Instance, LIFE, Setup, World, connection_of, granted};
use crate::memory_store::MemoryStore;

/// A record that has expired, the store it is in, and what that is going to go back to.
struct Forgetful {
    world: World,
    store: Arc<MemoryStore>,
    vault: Instance,
    key: ConnectionKey,
    before_the_claim: (Version, Record),
}

// === impl Forgetful ===

impl Forgetful {
    async fn new(differ: impl FnOnce(&mut Setup)) -> Self {
        let store = Arc::new(MemoryStore::default());
        let world = World::over(Arc::clone(&store), tempfile::tempdir().unwrap(), differ).await;
        let (vault, key) = (world.instance(), connection_of("ada"));
        vault.consent(&key, "access-0", "refresh-0").await;
        world.clock.advance(LIFE);
        let before_the_claim = store.now_at(&Address::Connection(key.clone()));
        Self { world, store, vault, key, before_the_claim }
    }

    fn forgets_the_claim(&self) {
        self.store.go_back(&Address::Connection(self.key.clone()), self.before_the_claim.clone());
    }

    /// A caller, whose answer comes when `then` is done.
    async fn asked(&self, then: impl AsyncFnOnce(&Self)) -> Result<String, VaultError> {
        let gate = self.world.hold(granted(1));
        let (answer, ()) = tokio::join!(self.vault.get(&self.key), async {
            self.world.provider.has_seen(1).await;
            assert!(matches!(self.world.connection(&self.key).await.renewal, Renewal::Claimed(_)));
            then(self).await;
            gate.open();
        });
        answer.map(|answer| answer.access.expose().to_owned())
    }

    /// The answer is stored as if nothing had happened, and nobody has used the old refresh token again.
    async fn has_the_answer(&self) {
        let next = self.world.instance();
        assert_eq!(next.get(&self.key).await.unwrap().access.expose(), "access-1");
        assert_eq!(self.vault.get(&self.key).await.unwrap().access.expose(), "access-1");
        assert_eq!(self.store.now_at(&Address::Connection(self.key.clone())).0, Version(3), "stored, claimed, renewed");
        assert_eq!(self.world.presented(), ["refresh-0"]);
        self.vault.outbox.tend().await;
        assert!(self.vault.outbox.waiting().is_empty());
    }
}

#[tokio::test]
async fn an_answer_is_stored_although_the_store_has_forgotten_who_asked() {
    let forgetful = Forgetful::new(|_| {}).await;
    let access = forgetful.asked(async |it| it.forgets_the_claim()).await.unwrap();
    assert_eq!(access, "access-1");
    forgetful.vault.settled().await;
    forgetful.has_the_answer().await;
}

#[tokio::test]
async fn an_answer_in_the_outbox_is_stored_by_the_instance_that_knows_of_the_claim() {
    let forgetful = Forgetful::new(|setup| setup.settings.commit = Duration::ZERO).await;
    let answer = forgetful.asked(async |it| it.vault.store.refuse_writes()).await;
    assert!(matches!(answer, Ok(_) | Err(VaultError::Store(_))), "{answer:?}");
    forgetful.vault.settled().await;
    forgetful.forgets_the_claim();

    forgetful.vault.refresher.tend_outbox().await;
    assert_eq!(forgetful.vault.outbox.waiting().len(), 1, "the store takes no writes");
    forgetful.vault.store.come_back();
    forgetful.vault.refresher.tend_outbox().await;

    forgetful.has_the_answer().await;
}

#[tokio::test]
async fn a_deletion_that_the_store_has_forgotten_and_this_instance_has_not_stays() {
    let forgetful = Forgetful::new(|setup| setup.settings.commit = Duration::ZERO).await;
    let answer = forgetful.asked(async |it| it.vault.store.refuse_writes()).await;
    assert!(matches!(answer, Ok(_) | Err(VaultError::Store(_))), "{answer:?}");
    forgetful.vault.settled().await;
    forgetful.vault.store.come_back();
    forgetful.vault.delete(&forgetful.key).await;
    forgetful.forgets_the_claim();

    forgetful.vault.refresher.tend_outbox().await;

    assert_eq!(forgetful.store.now_at(&Address::Connection(forgetful.key.clone())), forgetful.before_the_claim);
    let told = forgetful.vault.get(&forgetful.key).await;
    assert!(matches!(told, Err(VaultError::Corrupt(CorruptRecord::Rollback))), "{told:?}");
}

#[tokio::test]
async fn what_was_stored_twice_since_the_store_went_back_is_newer_than_an_answer() {
    let forgetful = Forgetful::new(|_| {}).await;
    let answer = forgetful
        .asked(async |it| {
            it.forgets_the_claim();
            let other = it.world.instance();
            other.consent(&it.key, "access-new", "refresh-new").await;
            other.consent(&it.key, "access-newer", "refresh-newer").await;
        })
        .await;
    assert_eq!(answer.unwrap(), "access-newer");
    forgetful.vault.settled().await;
    assert_eq!(forgetful.world.connection(&forgetful.key).await.grant.access.expose(), "access-newer");
    forgetful.vault.outbox.tend().await;
    assert!(forgetful.vault.outbox.waiting().is_empty());
}
