//! AWS KMS beyond the common promises: key states over ministack, and everything no emulator does.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;
use vault_engine::domain::ports::{KeyProvider as _, WrappedDataKey};

use super::kms::{Emulator, KmsServer, free_port, provider_at, provider_with};
use super::{Answer, answer, context};
use crate::canned_aws::CannedAws;

/// What the port promises for every call.
const BOUND: Duration = Duration::from_secs(10);
const KEY_ID: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";

#[tokio::test]
async fn a_disabled_key_is_refused_until_it_is_enabled_again() {
    let server = KmsServer::shared(Emulator::Ministack).await;
    let key_id = server.create_key().await;
    let (keys, admin, place) = (server.provider(&key_id).await, server.client(), context("prod", "acme", 1));
    let (_, wrapped) = keys.generate_data_key(&place).await.unwrap();

    admin.disable_key().key_id(&key_id).send().await.unwrap();
    assert_eq!(answer(keys.decrypt(&place, &wrapped).await), Answer::Refused("disabled"));
    assert_eq!(answer(keys.generate_data_key(&place).await), Answer::Refused("disabled"));

    admin.enable_key().key_id(&key_id).send().await.unwrap();
    assert_eq!(answer(keys.decrypt(&place, &wrapped).await), Answer::Ok);
}

#[tokio::test]
async fn a_key_that_is_to_be_deleted_is_refused() {
    let server = KmsServer::shared(Emulator::Ministack).await;
    let key_id = server.create_key().await;
    let (keys, place) = (server.provider(&key_id).await, context("prod", "acme", 1));
    let (_, wrapped) = keys.generate_data_key(&place).await.unwrap();

    server.client().schedule_key_deletion().key_id(&key_id).pending_window_in_days(7).send().await.unwrap();

    assert_eq!(answer(keys.decrypt(&place, &wrapped).await), Answer::Refused("invalid_state"));
    assert_eq!(answer(keys.generate_data_key(&place).await), Answer::Refused("invalid_state"));
}

#[tokio::test]
async fn a_key_that_does_not_exist_is_refused() {
    for emulator in [Emulator::Moto, Emulator::Ministack] {
        let server = KmsServer::shared(emulator).await;
        for key_id in [KEY_ID, "alias/absent"] {
            let keys = server.provider(key_id).await;
            let got = answer(keys.generate_data_key(&context("prod", "acme", 1)).await);
            assert_eq!(got, Answer::Refused("not_found"), "`{key_id}` at {emulator:?}");
        }
    }
}

#[tokio::test]
async fn an_alias_names_a_key() {
    let server = KmsServer::shared(Emulator::Moto).await;
    let (key_id, place) = (server.create_key().await, context("prod", "acme", 1));
    let alias = format!("alias/{key_id}");
    server.client().create_alias().alias_name(&alias).target_key_id(&key_id).send().await.unwrap();

    let (key, wrapped) = server.provider(&alias).await.generate_data_key(&place).await.unwrap();

    assert_eq!(*server.provider(&key_id).await.decrypt(&place, &wrapped).await.unwrap(), *key);
}

#[tokio::test]
async fn a_key_is_replaced_while_both_open() {
    let server = KmsServer::shared(Emulator::Moto).await;
    let (old, new) = (server.create_key().await, server.create_key().await);
    let place = context("prod", "acme", 1);
    let (key, wrapped) = server.provider(&old).await.generate_data_key(&place).await.unwrap();
    let both = provider_with(server.endpoint(), &new, &[&old]).await;

    let rewrapped = both.reencrypt(&place, &wrapped).await.unwrap();

    assert_ne!(rewrapped, wrapped);
    assert_eq!(*server.provider(&new).await.decrypt(&place, &rewrapped).await.unwrap(), *key);
    assert_eq!(*both.decrypt(&place, &wrapped).await.unwrap(), *key);
    let elsewhere = answer(both.reencrypt(&context("prod", "other", 1), &wrapped).await);
    assert_eq!(elsewhere, Answer::Refused("invalid_ciphertext"));
}

/// Each error of the KMS API reference, as it comes over the wire, and what the vault takes it for. Time is paused, so
/// that the SDK's waits between its attempts cost nothing.
#[tokio::test(start_paused = true)]
async fn every_error_of_kms_has_its_side() {
    use Answer::{Refused, Unavailable};

    for (status, code, expected, calls) in [
        // A definitive no is asked once.
        (400, "DisabledException", Refused("disabled"), 1),
        (400, "AccessDeniedException", Refused("access_denied"), 1),
        (400, "KMSInvalidStateException", Refused("invalid_state"), 1),
        (400, "NotFoundException", Refused("not_found"), 1),
        (400, "InvalidCiphertextException", Refused("invalid_ciphertext"), 1),
        (400, "IncorrectKeyException", Refused("incorrect_key"), 1),
        (400, "InvalidKeyUsageException", Refused("invalid_key_usage"), 1),
        // What may pass is asked three times.
        (400, "ThrottlingException", Unavailable("throttled"), 3),
        (400, "RequestLimitExceeded", Unavailable("throttled"), 3),
        (500, "KeyUnavailableException", Unavailable("key_unavailable"), 3),
        (500, "KMSInternalException", Unavailable("internal"), 3),
        (500, "InternalFailure", Unavailable("internal"), 3),
        (503, "ServiceUnavailable", Unavailable("internal"), 3),
        (503, "DependencyTimeoutException", Unavailable("dependency_timeout"), 3),
        // What is wrong with us does not get better by asking again, and is no reason to throw keys away.
        (400, "ExpiredTokenException", Unavailable("credentials"), 1),
        (400, "UnrecognizedClientException", Unavailable("credentials"), 1),
        // What nobody foresaw.
        (400, "ValidationException", Unavailable("unknown_answer"), 1),
        (418, "SomethingNewException", Unavailable("unknown_answer"), 1),
    ] {
        let server = CannedAws::failing(status, code).await;
        let keys = provider_at(server.endpoint(), KEY_ID).await;
        let got = answer(keys.decrypt(&context("prod", "acme", 1), &WrappedDataKey(vec![1; 128])).await);
        assert_eq!((got, server.calls()), (expected, calls), "{status} `{code}`");
    }
}

/// A variable anybody can set must not put a stranger between the vault and its keys. The environment of a running
/// process cannot be changed safely, so another test is run again in one where every proxy is a dead port.
#[tokio::test]
async fn a_proxy_in_the_environment_is_not_used() {
    let proxy = format!("http://127.0.0.1:{}", free_port());
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "keys::aws::an_error_names_the_request_and_never_the_answer"]);
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        again.env(name, &proxy);
    }
    let ended = again.env_remove("NO_PROXY").env_remove("no_proxy").output().await.unwrap();

    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success() && said.contains("1 passed"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn an_error_names_the_request_and_never_the_answer() {
    let server = CannedAws::failing(400, "AccessDeniedException").await;
    let keys = provider_at(server.endpoint(), KEY_ID).await;

    let refused = keys.generate_data_key(&context("prod", "acme", 1)).await.unwrap_err();

    let fault = std::error::Error::source(&refused).unwrap();
    let cause = fault.source().unwrap();
    assert_eq!(cause.to_string(), "kms answered `AccessDeniedException` (status 400, request `r-1`)");
    assert!(cause.source().is_none(), "nothing of the body is kept");
}

#[tokio::test(start_paused = true)]
async fn a_data_key_of_another_length_is_refused() {
    // "AAAA..." is base64 for zeros: 0, 16, 31, 33 and 64 bytes of them.
    for plaintext in [
        "",
        "AAAAAAAAAAAAAAAAAAAAAA==",
        &format!("{}==", "A".repeat(42)),
        &"A".repeat(44),
        &format!("{}==", "A".repeat(86)),
    ] {
        let body = format!(r#"{{"KeyId":"{KEY_ID}","Plaintext":"{plaintext}","CiphertextBlob":"AQID"}}"#);
        let server = CannedAws::answering(200, &body).await;
        let keys = provider_at(server.endpoint(), KEY_ID).await;
        let place = context("prod", "acme", 1);

        assert_eq!(answer(keys.generate_data_key(&place).await), Answer::Refused("wrong_length"), "{plaintext}");
        let got = answer(keys.decrypt(&place, &WrappedDataKey(vec![1; 128])).await);
        assert_eq!(got, Answer::Refused("wrong_length"), "{plaintext}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrapped_key_that_cannot_be_stored_is_refused() {
    for blob in ["", &"A".repeat(1_368)] {
        let key = format!("{}=", "A".repeat(43));
        let body = format!(r#"{{"KeyId":"{KEY_ID}","Plaintext":"{key}","CiphertextBlob":"{blob}"}}"#);
        let server = CannedAws::answering(200, &body).await;
        let keys = provider_at(server.endpoint(), KEY_ID).await;
        let got = answer(keys.generate_data_key(&context("prod", "acme", 1)).await);
        assert_eq!(got, Answer::Refused("wrapped_size"), "{} digits", blob.len());
    }
}

#[tokio::test(start_paused = true)]
async fn a_blob_no_vault_wrote_is_refused_without_asking() {
    let server = CannedAws::failing(500, "KMSInternalException").await;
    let keys = provider_at(server.endpoint(), KEY_ID).await;
    for length in [0, 1_025, 6_144] {
        let got = answer(keys.decrypt(&context("prod", "acme", 1), &WrappedDataKey(vec![1; length])).await);
        assert_eq!(got, Answer::Refused("wrapped_size"), "{length} bytes");
    }
    assert_eq!(server.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_none_is_unavailable() {
    for (body, expected) in [
        ("", Answer::Unavailable("unreadable_answer")),
        ("null", Answer::Unavailable("unreadable_answer")),
        ("<html>", Answer::Unavailable("unreadable_answer")),
        (r#"{"Plaintext":"not base64 !"}"#, Answer::Unavailable("unreadable_answer")),
    ] {
        let server = CannedAws::answering(200, body).await;
        let keys = provider_at(server.endpoint(), KEY_ID).await;
        let got = answer(keys.generate_data_key(&context("prod", "acme", 1)).await);
        assert_eq!(got, expected, "`{body}`");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_endpoint_is_unavailable_within_ten_seconds() {
    let keys = provider_at(&format!("http://127.0.0.1:{}", free_port()), KEY_ID).await;

    let got = timeout(BOUND, keys.generate_data_key(&context("prod", "acme", 1))).await.map(answer);

    assert_eq!(got, Ok(Answer::Unavailable("connection")));
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_never_answers_is_unavailable_within_ten_seconds() {
    // The system takes the connection; nobody ever reads from it.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let keys = provider_at(&format!("http://{}", silent.local_addr().unwrap()), KEY_ID).await;

    let got = timeout(BOUND, keys.generate_data_key(&context("prod", "acme", 1))).await.map(answer);

    assert_eq!(got, Ok(Answer::Unavailable("timeout")));
}
