//! Who a certificate says somebody is: one workload, of a trust domain, and that by the domain's own authorities.

use tonic::Code;
use vault_engine::access::EngineKey;
use vault_engine::adapters::system::SystemRandom;

use crate::caller::Caller;
use crate::certificates::{Identity, Wish};
use crate::house::{House, WORKLOAD, was_turned_away};
use crate::installation::ENGINE;

/// Certificates that must not be believed: what is wrong, and the certificate.
fn strangers(house: &House) -> Vec<(&'static str, Identity)> {
    let (prod, test, servers) = (&house.pki.prod, &house.pki.test, &house.pki.servers);
    let own = format!("URI:{WORKLOAD}");
    let client = |names: &str| Wish::client(names);
    let with = |more: &str| Wish::with(&format!("subjectAltName={own}\n{more}"));
    vec![
        ("two URIs", prod.sign("two", &client(&format!("{own},URI:spiffe://prod.example/ns/other")))),
        ("the same URI twice", prod.sign("twice", &client(&format!("{own},{own}")))),
        ("a second URI of another kind", prod.sign("web", &client(&format!("{own},URI:https://prod.example/")))),
        ("a URI that is no SPIFFE id", prod.sign("https", &client("URI:https://prod.example/ns/sync/sa/engine"))),
        ("a trust domain without a path", prod.sign("domain", &client("URI:spiffe://prod.example"))),
        ("a path with an empty part", prod.sign("empty", &client("URI:spiffe://prod.example//ns"))),
        ("a trust domain in capitals", prod.sign("capitals", &client("URI:spiffe://PROD.example/ns"))),
        ("only a common name", prod.sign("cn", &client(""))),
        ("only a DNS name", prod.sign("dns", &client("DNS:prod.example"))),
        ("expired", prod.sign("expired", &client(&own).made("5 days ago"))),
        ("not good yet", prod.sign("early", &client(&own).made("in 5 days"))),
        ("of a trust domain nobody knows", prod.sign("far", &client("URI:spiffe://far.example/ns/sync"))),
        ("of an authority of another trust domain", test.sign("forged", &client(&own))),
        ("of the authority of servers", servers.sign("forged", &client(&own))),
        ("for servers", prod.sign("server", &with("extendedKeyUsage=serverAuth\n"))),
        ("an authority itself", prod.sign("authority", &with("basicConstraints=critical,CA:TRUE\n"))),
        ("allowed to sign", prod.sign("signer", &with("keyUsage=digitalSignature,keyCertSign\n"))),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workload_is_let_in_by_its_certificate_and_its_key_and_written_down() {
    let house = House::bound("required").await;
    let caller = house.caller(Some(&house.pki.workload(WORKLOAD)));

    let answer = caller.get("ada").await.unwrap_err();

    assert_eq!(answer.code(), Code::NotFound, "{answer}");
    let calls = house.calls(1).await;
    assert_eq!((&calls[0]["engine"], &calls[0]["spiffe_id"]), (&ENGINE.into(), &WORKLOAD.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_stranger_s_certificate_gets_as_far_as_a_call() {
    for client_certificates in ["required", "optional"] {
        let house = House::bound(client_certificates).await;
        for (what, identity) in strangers(&house) {
            let refused = house.caller(Some(&identity)).get("ada").await.unwrap_err();
            assert!(was_turned_away(&refused), "{what}: {refused:?}");
        }
        assert_eq!(house.calls(0).await.len(), 0);
        // And it still serves.
        let known = house.caller(Some(&house.pki.workload(WORKLOAD)));
        assert_eq!(known.get("ada").await.unwrap_err().code(), Code::NotFound);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_a_certificate_is_required_nobody_calls_without() {
    let house = House::bound("required").await;

    let refused = house.caller(None).get("ada").await.unwrap_err();

    assert!(was_turned_away(&refused), "{refused:?}");
    assert_eq!(house.calls(0).await.len(), 0);
    let said = crate::eventually::eventually("the log says why", async || {
        house.vault.logged("a connection was turned away, because TLS could not be agreed on")
    });
    assert!(said.await["error"].as_str().unwrap().contains("certificate"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_right_key_with_the_wrong_workload_or_none_is_nobody() {
    let house = House::bound("optional").await;
    let own = house.pki.workload(WORKLOAD);
    let other = house.pki.workload("spiffe://prod.example/ns/sync/sa/engine2");
    let stranger = EngineKey::make(&SystemRandom).expose();
    let wrong_key = Caller::over(&house.endpoint(Some(&own)), ENGINE, &stranger);

    let mut answers = Vec::new();
    for caller in [wrong_key, house.caller(None), house.caller(Some(&other))] {
        let refused = caller.get("ada").await.unwrap_err();
        answers.push((refused.code(), refused.message().to_owned(), refused.details().to_vec()));
    }

    assert_eq!(answers[0].0, Code::Unauthenticated);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    let mut calls = house.calls(3).await;
    calls.sort_by_key(|call| call["reason"].to_string());
    let told: Vec<_> = calls.iter().map(|call| (call["reason"].clone(), call["spiffe_id"].clone())).collect();
    let expected = [
        ("no_spiffe_id", serde_json::Value::Null),
        ("wrong_key", WORKLOAD.into()),
        ("wrong_spiffe_id", "spiffe://prod.example/ns/sync/sa/engine2".into()),
    ];
    assert_eq!(told, expected.map(|(reason, id)| (reason.into(), id)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_proxy_says_of_a_certificate_is_not_believed() {
    use tonic::metadata::MetadataValue;
    use vault_engine::pb::vault_v1::GetTokenRequest;
    use vault_engine::pb::vault_v1::token_vault_client::TokenVaultClient;

    let house = House::bound("optional").await;
    let mut vault = TokenVaultClient::new(house.endpoint(None).connect_lazy());
    let message = GetTokenRequest { user_id: "ada".into(), platform: "gmail".into(), ..GetTokenRequest::default() };
    let mut request = tonic::Request::new(message);
    let headers = request.metadata_mut();
    headers.insert("x-engine-id", ENGINE.parse().unwrap());
    headers.insert("x-engine-key", house.installation.key().parse().unwrap());
    let forwarded: MetadataValue<_> = format!("By=spiffe://prod.example/proxy;URI={WORKLOAD}").parse().unwrap();
    headers.insert("x-forwarded-client-cert", forwarded);

    let refused = vault.get_token(request).await.unwrap_err();

    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(house.calls(1).await[0]["spiffe_id"].is_null());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_is_bound_to_none_needs_only_what_the_connection_needs() {
    let pki = crate::house::Pki::new();
    let more = format!("  client_ca_file: {}\n", pki.test.certificate().display());
    let house = House::with(pki, &more, &[]).await;
    let plain = house.pki.test.sign("plain", &Wish::client("DNS:engine.internal"));
    let named = house.pki.test.sign("named", &Wish::client("URI:spiffe://test.example/ns/a"));

    assert_eq!(house.caller(Some(&plain)).get("ada").await.unwrap_err().code(), Code::NotFound);
    assert!(was_turned_away(&house.caller(None).get("ada").await.unwrap_err()));
    let refused = house.caller(Some(&named)).get("ada").await.unwrap_err();
    assert!(was_turned_away(&refused), "of no trust domain: {refused:?}");
}
