//! While a platform takes its time, the store is free for everybody else.

use std::sync::Arc;

use futures_util::future::join_all;
use vault_engine::adapters::store::postgres::{PostgresSettings, PostgresStore};

use crate::house::{LIFE, World, connection_of, granted};
use crate::postgres_server::{PASSWORD, PostgresServer, USERNAME};
use crate::provider::Gate;

/// As few as there may be.
const CONNECTIONS: usize = 2;
const EXPIRED: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_connection_to_the_database_is_held_while_a_platform_is_asked() {
    let server = PostgresServer::shared();
    let settings = PostgresSettings {
        port: server.port(),
        database: server.make_database(),
        username: USERNAME.to_owned(),
        password: Some(PASSWORD.to_owned().into()),
        max_connections: CONNECTIONS,
        ..PostgresSettings::default()
    };
    PostgresStore::migrate(&settings).await.unwrap();
    let store = Arc::new(PostgresStore::connect(&settings).await.unwrap());
    let world = World::over(store, tempfile::tempdir().unwrap(), |_| {}).await;
    let vault = world.instance();
    let keys: Vec<_> = (0..EXPIRED).map(|user| connection_of(&format!("user-{user}"))).collect();
    for key in &keys {
        vault.consent(key, "access-0", "refresh-0").await;
    }
    world.clock.advance(LIFE);
    let fresh = connection_of("fresh");
    vault.consent(&fresh, "access-0", "refresh-0").await;
    let gate = Gate::closed();
    for number in 1..=EXPIRED {
        world.provider.will(granted(number).behind(&gate));
    }

    let waiting = join_all(keys.iter().map(|key| vault.get(key)));
    let (answers, busy) = tokio::join!(waiting, async {
        world.provider.has_seen(EXPIRED).await;
        // A transaction that is open, or a lock that is held, would show here.
        let held = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'";
        let held = server.ask(&settings.database, held);
        let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' OR (locktype = 'tuple')";
        let locks = server.ask(&settings.database, locks);
        let answer = vault.get(&fresh).await;
        gate.open();
        (held, locks, answer)
    });

    assert_eq!((busy.0.as_str(), busy.1.as_str()), ("0", "0"));
    assert_eq!(busy.2.unwrap().access.expose(), "access-0", "served while all of them wait");
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(world.refreshes(), EXPIRED);
}
