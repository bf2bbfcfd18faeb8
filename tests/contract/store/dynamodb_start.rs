//! Which tables the vault starts with, which it refuses, and what it says about them.

#![expect(clippy::unwrap_used, clippy::panic, reason = "an assertion fails by panicking")]

use std::error::Error;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, TimeToLiveSpecification,
};
use futures_util::future::join_all;
use tokio::time::Instant;
use vault_engine::adapters::store::dynamodb::{ConnectError, DynamoSettings, DynamoStore, Note};
use vault_engine::adapters::system::SystemClock;

use super::detour::Detour;
use super::dynamodb_server::{DynamoServer, Peer, credentials, settings_at};
use crate::canned_aws::CannedAws;

/// The key of a vault's table.
const VAULTS: [(&str, KeyType, ScalarAttributeType); 2] =
    [("pk", KeyType::Hash, ScalarAttributeType::S), ("sk", KeyType::Range, ScalarAttributeType::S)];

async fn connect(settings: &DynamoSettings) -> Result<DynamoStore, ConnectError> {
    DynamoStore::connect_as(settings, credentials(), Arc::new(SystemClock)).await
}

async fn refusal(settings: &DynamoSettings) -> ConnectError {
    match connect(settings).await {
        Ok(_) => panic!("the table was accepted"),
        Err(error) => error,
    }
}

/// The error and everything underneath, as a log shows it.
fn chain(error: &ConnectError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}

async fn make_table(server: &DynamoServer, name: &str, keys: &[(&str, KeyType, ScalarAttributeType)]) {
    let request = server.client().create_table().table_name(name).billing_mode(BillingMode::PayPerRequest);
    let request = keys.iter().fold(request, |request, (name, role, kind)| {
        let attribute = AttributeDefinition::builder().attribute_name(*name).attribute_type(kind.clone()).build();
        let key = KeySchemaElement::builder().attribute_name(*name).key_type(role.clone()).build();
        request.attribute_definitions(attribute.unwrap()).key_schema(key.unwrap())
    });
    request.send().await.unwrap();
}

#[tokio::test]
async fn a_table_is_made_once_however_often_it_is_asked_for() {
    for peer in [Peer::Local, Peer::Ministack] {
        let settings = DynamoServer::of(peer).await.settings();
        for made in join_all((0..3).map(|_| DynamoStore::create_table_as(&settings, credentials()))).await {
            made.unwrap();
        }
        DynamoStore::create_table_as(&settings, credentials()).await.unwrap();
        assert_eq!(connect(&settings).await.unwrap().notes(), [], "{peer:?}");
    }
}

#[tokio::test]
async fn a_missing_table_is_refused_and_says_what_makes_it() {
    for peer in [Peer::Local, Peer::Ministack] {
        let error = refusal(&DynamoServer::of(peer).await.settings()).await;
        assert!(matches!(error, ConnectError::Missing { .. }), "{error}");
        assert!(error.to_string().contains("`vault-engine migrate`"), "{error}");
    }
}

#[tokio::test]
async fn a_table_of_something_else_is_refused_and_left_alone() {
    use KeyType::{Hash, Range};
    use ScalarAttributeType::{N, S};
    let server = DynamoServer::of(Peer::Local).await;
    let foreign: [&[(&str, KeyType, ScalarAttributeType)]; 4] = [
        &[("id", Hash, S)],
        &[("pk", Hash, S)],
        &[("pk", Hash, S), ("sk", Range, N)],
        &[("sk", Hash, S), ("pk", Range, S)],
    ];
    for keys in foreign {
        let settings = server.settings();
        make_table(server, &settings.table, keys).await;
        let error = refusal(&settings).await;
        assert!(matches!(error, ConnectError::Foreign { .. }), "{error}");
        assert!(error.to_string().contains("store.dynamodb.table"), "{error}");
        let made = DynamoStore::create_table_as(&settings, credentials()).await;
        assert!(matches!(made, Err(ConnectError::Foreign { .. })), "{made:?}");
        let ttl = server.client().describe_time_to_live().table_name(&settings.table).send().await.unwrap();
        let attribute = ttl.time_to_live_description().and_then(|found| found.attribute_name());
        assert_eq!(attribute, None);
    }
}

#[tokio::test]
async fn a_table_that_keeps_what_has_expired_is_noted_and_mended() {
    let server = DynamoServer::of(Peer::Local).await;
    let settings = server.settings();
    make_table(server, &settings.table, &VAULTS).await;
    assert_eq!(connect(&settings).await.unwrap().notes(), [Note::NoTimeToLive]);
    assert!(Note::NoTimeToLive.to_string().contains("`vault-engine migrate`"));
    DynamoStore::create_table_as(&settings, credentials()).await.unwrap();
    assert_eq!(connect(&settings).await.unwrap().notes(), []);
}

#[tokio::test]
async fn a_time_to_live_on_another_attribute_is_noted() {
    let server = DynamoServer::of(Peer::Local).await;
    let settings = server.settings();
    make_table(server, &settings.table, &VAULTS).await;
    let other = TimeToLiveSpecification::builder().attribute_name("due").enabled(true).build().unwrap();
    let request = server.client().update_time_to_live().table_name(&settings.table);
    request.time_to_live_specification(other).send().await.unwrap();
    assert_eq!(connect(&settings).await.unwrap().notes(), [Note::NoTimeToLive]);
}

#[tokio::test]
async fn rejected_credentials_are_refused_at_once_and_say_what_to_do() {
    for (code, advice) in [
        ("UnrecognizedClientException", "check the role"),
        ("ExpiredTokenException", "check the role"),
        ("InvalidSignatureException", "clock of this machine"),
        ("AccessDeniedException", "allow DescribeTable"),
    ] {
        let server = CannedAws::failing(400, code).await;
        let settings = DynamoSettings { endpoint: Some(server.endpoint().to_owned()), ..settings_at(1, "vault") };
        let error = refusal(&settings).await;
        assert!(matches!(error, ConnectError::Refused { .. }), "{error}");
        assert!(chain(&error).contains(code) && chain(&error).contains(advice), "{}", chain(&error));
        assert!(!format!("{error:?} {}", chain(&error)).contains("a text nobody should log"));
        assert_eq!(server.calls(), 1, "{code}");
    }
}

#[tokio::test]
async fn a_server_that_is_down_is_refused_within_bounds() {
    let settings = DynamoSettings { request_timeout: Duration::from_secs(1), ..settings_at(1, "vault") };
    let begun = Instant::now();
    let error = refusal(&settings).await;
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert!(matches!(error, ConnectError::Unreachable { attempts: 3, .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_refused_within_bounds() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = silent.local_addr().unwrap().port();
    let settings = DynamoSettings { request_timeout: Duration::from_millis(300), ..settings_at(port, "vault") };
    let begun = Instant::now();
    let error = refusal(&settings).await;
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert!(chain(&error).contains("did not answer in time"), "{}", chain(&error));
}

#[tokio::test]
async fn a_server_that_falls_silent_after_its_first_answer_is_not_refused_for_good() {
    let server = DynamoServer::of(Peer::Local).await;
    let table = server.table().await.table;
    let detour = Detour::to(server.port()).await;
    detour.lose_answers_after(1);
    let settings = DynamoSettings { request_timeout: Duration::from_secs(1), ..settings_at(detour.port(), &table) };
    let error = refusal(&settings).await;
    assert!(matches!(error, ConnectError::Unreachable { attempts: 1, .. }), "{error}");
}

#[tokio::test]
async fn a_name_that_is_none_is_refused_before_anything_is_asked() {
    let error = refusal(&settings_at(1, "a/table")).await;
    assert!(matches!(error, ConnectError::Settings { field: "table", .. }), "{error}");
}
