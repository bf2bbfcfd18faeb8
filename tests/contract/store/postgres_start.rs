//! What a PostgreSQL has to be before a vault relies on it.

#![expect(clippy::unwrap_used, reason = "an assertion fails by panicking")]

use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use vault_engine::adapters::store::postgres::{
    ConnectError, Migrated, Note, PostgresSettings, PostgresStore, TlsSettings, Verify,
};
use vault_engine::domain::ports::{Expected, Store as _};

use super::backends::in_database;
use super::eventually::eventually;
use super::postgres_server::{PostgresServer, STRANGER};
use super::promises::connection;

/// Why it is not connected to, with all that is underneath.
async fn refusal(settings: &PostgresSettings) -> String {
    let error = PostgresStore::connect(settings).await.err().expect("it was connected to");
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// The settings of an empty database.
fn empty(server: &PostgresServer) -> PostgresSettings {
    in_database(server, &server.make_database())
}

async fn migrated(server: &PostgresServer) -> PostgresSettings {
    let settings = empty(server);
    PostgresStore::migrate(&settings).await.unwrap();
    settings
}

#[tokio::test]
async fn a_database_without_tables_is_refused_until_it_is_migrated() {
    let settings = empty(PostgresServer::shared());
    let refused = refusal(&settings).await;
    assert!(refused.contains("run `vault-engine migrate`"), "{refused}");
    assert_eq!(PostgresStore::migrate(&settings).await.unwrap(), Migrated { from: 0, to: 1 });
    assert_eq!(PostgresStore::migrate(&settings).await.unwrap(), Migrated { from: 1, to: 1 });
    PostgresStore::connect(&settings).await.unwrap();
}

#[tokio::test]
async fn two_that_migrate_at_the_same_time_both_succeed() {
    let settings = empty(PostgresServer::shared());
    let (one, other) = tokio::join!(PostgresStore::migrate(&settings), PostgresStore::migrate(&settings));
    assert_eq!((one.unwrap().to, other.unwrap().to), (1, 1));
    PostgresStore::connect(&settings).await.unwrap();
}

#[tokio::test]
async fn a_schema_of_a_later_binary_is_refused_and_left_alone() {
    let server = PostgresServer::shared();
    let settings = migrated(server).await;
    let later = "INSERT INTO vault_migration (version, description, success, checksum, execution_time)
                 VALUES (99, 'later', true, '', 0)";
    server.ask(&settings.database, later);
    let refused = refusal(&settings).await;
    assert!(refused.contains("version 99, and this binary knows 1"), "{refused}");
    let migrated = PostgresStore::migrate(&settings).await;
    assert!(matches!(migrated, Err(ConnectError::NewerSchema { found: 99, known: 1 })), "{migrated:?}");
}

#[tokio::test]
async fn a_wrong_password_and_a_wrong_database_say_what_to_look_at() {
    let settings = migrated(PostgresServer::shared()).await;
    let refused = refusal(&PostgresSettings { password: Some("hunter2".to_owned().into()), ..settings.clone() }).await;
    assert!(refused.contains("does not accept the username or the password"), "{refused}");
    assert!(!refused.contains("hunter2"), "{refused}");
    let refused = refusal(&PostgresSettings { database: "nowhere".to_owned(), ..settings }).await;
    assert!(refused.contains("there is no such database"), "{refused}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_refused_after_a_few_attempts() {
    let settings = PostgresSettings { port: 1, ..PostgresSettings::default() };
    let refused = refusal(&settings).await;
    assert!(refused.contains("postgres at `127.0.0.1:1/vault` cannot be reached (3 attempts)"), "{refused}");
}

#[tokio::test]
async fn a_server_that_answers_and_is_slow_for_now_is_not_refused_for_good() {
    let server = PostgresServer::shared();
    let settings = PostgresSettings { command_timeout: Duration::from_millis(300), ..migrated(server).await };
    let lock = server.lock(&settings.database, "vault_migration");
    let locked = "SELECT count(*) FROM pg_locks WHERE relation = 'vault_migration'::regclass AND granted
                  AND mode = 'AccessExclusiveLock'";
    eventually("it is locked", async || (server.ask(&settings.database, locked) == "1").then_some(())).await;
    let error = PostgresStore::connect(&settings).await.err().expect("it was connected to");
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
    assert_eq!(server.ask(&settings.database, locked), "1", "it is held still");
    drop(lock);
    eventually("it is unlocked", async || (server.ask(&settings.database, locked) == "0").then_some(())).await;
    PostgresStore::connect(&settings).await.unwrap();
}

#[tokio::test]
async fn a_connection_begins_with_nothing_that_a_pooler_refuses() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let settings = PostgresSettings { port: listener.local_addr().unwrap().port(), ..PostgresSettings::default() };
    let listening = async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let length = stream.read_u32().await.unwrap();
        let mut message = vec![0; usize::try_from(length).unwrap() - 4];
        stream.read_exact(&mut message).await.unwrap();
        message
    };
    let (refused, message) = tokio::join!(PostgresStore::connect(&settings), listening);
    assert!(refused.is_err());
    // Behind the version of the protocol stand names and values.
    let words: Vec<_> = message[4..].split(|byte| *byte == 0).map(|word| str::from_utf8(word).unwrap()).collect();
    let mut names: Vec<_> = words.into_iter().step_by(2).filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    assert_eq!(names, ["DateStyle", "TimeZone", "application_name", "client_encoding", "database", "user"]);
}

#[tokio::test]
async fn rights_that_are_missing_are_named_and_those_that_are_named_are_enough() {
    let server = PostgresServer::shared();
    let owner = migrated(server).await;
    let settings = PostgresSettings { username: STRANGER.to_owned(), ..owner };
    let refused = refusal(&settings).await;
    assert!(refused.contains("grant SELECT on vault_migration, SELECT on vault_record, INSERT on"), "{refused}");
    let missing = refused.split_once(": grant ").unwrap().1;
    for right in missing.split(", ") {
        server.ask(&settings.database, &format!("GRANT {right} TO {STRANGER}"));
    }
    let store = PostgresStore::connect(&settings).await.unwrap();
    let address = connection("default", "u1", "gmail");
    store.put(&address, Expected::Absent, Bytes::from_static(b"sealed").into()).await.unwrap();
    assert!(store.get(&address).await.unwrap().is_some());
}

#[tokio::test]
async fn over_tls_the_server_has_to_prove_who_it_is() {
    let server = PostgresServer::shared();
    let settings = migrated(server).await;
    let with = |host: &str, verify, ca_file| {
        let tls = Some(TlsSettings { verify, ca_file, client: None });
        PostgresSettings { host: host.to_owned(), tls, ..settings.clone() }
    };
    let known = || Some(server.ca_file());
    let store = PostgresStore::connect(&with("127.0.0.1", Verify::Full, known())).await.unwrap();
    let encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                     WHERE application_name = 'vault-engine' AND datname = current_database()";
    assert_eq!(server.ask(&settings.database, encrypted), "t");
    drop(store);
    let refused = refusal(&with("127.0.0.1", Verify::Full, None)).await;
    assert!(refused.contains("UnknownIssuer"), "{refused}");
    // The certificate is for 127.0.0.1 only.
    let refused = refusal(&with("localhost", Verify::Full, known())).await;
    assert!(refused.contains("certificate"), "{refused}");
    PostgresStore::connect(&with("localhost", Verify::Authority, known())).await.unwrap();
}

#[tokio::test]
async fn what_may_lose_writes_is_said() {
    let server = PostgresServer::shared();
    let settings = migrated(server).await;
    // The server of all tests does without.
    assert_eq!(PostgresStore::connect(&settings).await.unwrap().notes(), [Note::NoFsync]);
    let late = format!("ALTER DATABASE {} SET synchronous_commit = off", settings.database);
    server.ask(&settings.database, &late);
    let store = PostgresStore::connect(&settings).await.unwrap();
    assert_eq!(store.notes(), [Note::NoFsync, Note::LateCommit]);
}

#[tokio::test]
async fn a_standby_is_refused() {
    let mut server = PostgresServer::start(&[]);
    let settings = migrated(&server).await;
    server.kill();
    server.restart_as_standby();
    let refused = refusal(&settings).await;
    assert!(refused.contains("is a standby: give the address of the primary"), "{refused}");
}
