//! What nodes of a cluster do to a vault: die, hang, and hand slots to each other.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "an assertion fails by panicking")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use vault_engine::adapters::store::redis::{ConnectError, Note, RedisSettings, RedisStore};
use vault_engine::domain::ports::{Address, Expected, Index as _, Listener, Store, StoreError, Version};

use super::backends::{clustered, drawer_key};
use super::eventually::eventually;
use super::promises::connection;
use super::redis_ear::Ear;
use super::redis_load::Load;
use super::redis_server::{PASSWORD, RIGHTS, USERNAME};
use super::redis_shapes::{Nodes, claims};

fn of_user(user: &str) -> Address {
    connection("default", user, "gmail")
}

fn value(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

async fn started() -> (Nodes, Arc<RedisStore>) {
    let servers = Nodes::start().await;
    let store = Arc::new(RedisStore::connect(&clustered(&servers)).await.unwrap());
    (servers, store)
}

fn slot_of(servers: &Nodes, address: &Address) -> u16 {
    let key = format!("vault:{{{}}}:", address.partition().number());
    servers.nodes[5].ask(&[b"CLUSTER", b"KEYSLOT", key.as_bytes()]).parse().unwrap()
}

/// The number of the node that has this user.
fn home_of(servers: &Nodes, address: &Address) -> usize {
    servers.owner_of(slot_of(servers, address))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_a_node_is_killed_under_load_its_users_come_back_after_the_promotion_and_no_answer_crosses() {
    let (mut servers, store) = started().await;
    let load = Load::begin(&(Arc::clone(&store) as Arc<dyn Store>), 12);
    let begun = Instant::now();
    eventually("everybody writes", async || load.all_succeeded_after(begun, |_| true).then_some(())).await;
    let victim = home_of(&servers, &load.writers()[0].address());
    let homes: Vec<_> = load.writers().iter().map(|writer| home_of(&servers, &writer.address())).collect();
    assert!(homes.iter().any(|home| *home != victim), "all users are in one node");
    let slot = slot_of(&servers, &load.writers()[0].address());
    servers.nodes[victim].kill();
    eventually("its replica is promoted", async || {
        let others = servers.nodes.iter().enumerate().filter(|(number, _)| *number != victim);
        others.map(|(_, node)| node.ask(&[b"CLUSTER", b"NODES"])).any(|table| claims(&table, slot)).then_some(())
    })
    .await;
    let promoted = Instant::now();
    eventually("everybody writes again", async || load.all_succeeded_after(promoted, |_| true).then_some(())).await;
    assert!(promoted.elapsed() < Duration::from_secs(5), "{:?}", promoted.elapsed());
    assert!(load.end().await <= 12);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_hangs_is_felt_by_its_own_users_only() {
    let (servers, store) = started().await;
    let users: Vec<_> = (0..20).map(|number| of_user(&format!("u{number}"))).collect();
    for address in &users {
        store.put(address, Expected::Absent, value("v").into()).await.unwrap();
    }
    let hung = home_of(&servers, &users[0]);
    let (theirs, others): (Vec<_>, Vec<_>) = users.iter().partition(|user| home_of(&servers, user) == hung);
    assert!(!others.is_empty());
    servers.nodes[hung].pause();
    // Somebody asks for what hangs all the time.
    let asking = {
        let (store, address) = (Arc::clone(&store), theirs[0].clone());
        let mut asking = tokio::task::JoinSet::new();
        asking.spawn(async move {
            loop {
                drop(store.get(&address).await);
                tokio::task::yield_now().await;
            }
        });
        asking
    };
    let begun = Instant::now();
    for address in others.iter().cycle().take(200) {
        store.get(address).await.unwrap();
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    drop(asking);
    // Its replica takes over, and it is told when it goes on.
    eventually("an answer", async || store.get(theirs[0]).await.ok()).await;
    servers.nodes[hung].resume();
    for address in &users {
        eventually("an answer", async || store.get(address).await.ok()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_is_handed_over_by_hand_is_read_all_along_and_written_when_it_is_over() {
    let (servers, store) = started().await;
    let (there, absent) = (of_user("u1"), connection("default", "u1", "slack"));
    let partition = there.partition();
    store.put(&there, Expected::Absent, value("v1").into()).await.unwrap();
    let ear = Arc::new(Ear::default());
    store.listen(Arc::clone(&ear) as Arc<dyn Listener>);
    ear.catch_up().await;

    let slot = slot_of(&servers, &there).to_string();
    let from = home_of(&servers, &there);
    let to = (0..6).find(|to| *to != from && is_primary(&servers, *to)).unwrap();
    let (from_id, to_id) = (servers.id_of(from), servers.id_of(to));
    let set_slot = |node: usize, what: &[u8], id: &str| {
        servers.nodes[node].ask(&[b"CLUSTER", b"SETSLOT", slot.as_bytes(), what, id.as_bytes()]);
    };
    set_slot(to, b"IMPORTING", &from_id);
    set_slot(from, b"MIGRATING", &to_id);
    let hand_over = |key: &str| {
        let port = servers.nodes[to].port().to_string();
        let command: [&[u8]; 6] = [b"MIGRATE", b"127.0.0.1", port.as_bytes(), key.as_bytes(), b"0", b"5000"];
        servers.nodes[from].ask(&command);
    };
    hand_over(&drawer_key("default/u1"));
    assert_eq!(store.get(&there).await.unwrap().unwrap().value, value("v1"));
    assert_eq!(store.get(&absent).await.unwrap(), None);
    // The record is here and its indices are there: nobody can write both at once.
    let verdict = store.put(&there, Expected::Version(Version::FIRST), value("v2").into()).await;
    assert!(matches!(verdict, Err(StoreError::Unavailable { reason: "busy", .. })), "{verdict:?}");
    for name in ["#drawers", "#changes", "#due"] {
        hand_over(&format!("vault:{{{}}}:{name}", partition.number()));
    }
    for node in [to, from] {
        set_slot(node, b"NODE", &to_id);
    }
    store.put(&there, Expected::Version(Version::FIRST), value("v2").into()).await.unwrap();
    assert_eq!(store.get(&there).await.unwrap().unwrap().version, Version(2));
    assert_eq!(home_of(&servers, &there), to);
    // What is written at its new home is told of as well.
    ear.catch_up().await;
    let heard = ear.users().len();
    store.put(&there, Expected::Version(Version(2)), value("v3").into()).await.unwrap();
    ear.catch_up().await;
    assert!(ear.users().len() > heard);
}

fn is_primary(servers: &Nodes, number: usize) -> bool {
    servers.nodes[number].ask(&[b"CLUSTER", b"NODES"]).contains("myself,master")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_is_told_when_a_node_is_gone_and_hears_whoever_took_over() {
    let (mut servers, store) = started().await;
    let ear = Arc::new(Ear::default());
    store.listen(Arc::clone(&ear) as Arc<dyn Listener>);
    ear.catch_up().await;
    let victim = home_of(&servers, &of_user("u1"));
    let losses = ear.losses();
    servers.nodes[victim].kill();
    eventually("the loss was told", async || (ear.losses() > losses).then_some(())).await;
    let written = async || store.put(&of_user("u1"), Expected::Absent, value("v").into()).await.ok();
    eventually("a write", written).await;
    ear.catch_up().await;
    store.put(&of_user("u1"), Expected::Version(Version::FIRST), value("v").into()).await.unwrap();
    ear.catch_up().await;
    assert_eq!(ear.users().last().map(String::as_str), Some("default/u1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_with_few_rights_needs_to_ask_for_the_slots_besides() {
    let servers = Nodes::start().await;
    let settings = RedisSettings {
        username: Some(USERNAME.to_owned()),
        password: Some(PASSWORD.to_owned().into()),
        ..clustered(&servers)
    };
    let allow = |rights: &str| servers.nodes.iter().for_each(|node| node.allow(rights));
    allow(RIGHTS);
    assert!(matches!(RedisStore::connect(&settings).await.err().unwrap(), ConnectError::Refused { .. }));
    allow(&format!("{RIGHTS} +cluster|slots +asking"));
    let store = RedisStore::connect(&settings).await.unwrap();
    assert!(!store.notes().contains(&Note::NoTracking));
    for number in 0..20 {
        store.put(&of_user(&format!("u{number}")), Expected::Absent, value("v").into()).await.unwrap();
    }
}
