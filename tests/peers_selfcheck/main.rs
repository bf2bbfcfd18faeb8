//! Proves that the peers judge as the other suites rely on: a judge that forgives would make every test green.
//!
//! Nothing of the vault is tested here.

#[path = "../support/oidc.rs"]
#[expect(dead_code, reason = "shared with suites that need more of it")]
mod oidc;

use std::time::Duration;

use oidc::{BASIC, Fault, Oidc, OidcClient, Outcome, POST, Stats};
use serde_json::{Value, json};

/// A client without a pool, so that each fault meets a connection of its own.
fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().expect("an HTTP client")
}

/// Redeems a refresh token: the status and the body, or that no answer came.
async fn redeem(provider: &Oidc, client: OidcClient, token: &str) -> Result<(u16, Value), reqwest::Error> {
    let request = http().post(provider.token_url());
    let form = [("grant_type", "refresh_token"), ("refresh_token", token)];
    let request = if client == BASIC {
        let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        request.basic_auth(encode(client.id), Some(encode(client.secret))).form(&form)
    } else {
        let [grant_type, refresh_token] = form;
        request.form(&[grant_type, refresh_token, ("client_id", client.id), ("client_secret", client.secret)])
    };
    let response = request.send().await?;
    let status = response.status().as_u16();
    let body = response.text().await?;
    Ok((status, serde_json::from_str(&body).unwrap_or(Value::String(body))))
}

fn refresh_token(answer: &(u16, Value)) -> &str {
    assert_eq!(answer.0, 200, "{}", answer.1);
    answer.1.get("refresh_token").and_then(Value::as_str).expect("a refresh token in the answer")
}

fn assert_invalid_grant(answer: &(u16, Value)) {
    assert_eq!((answer.0, answer.1.get("error")), (400, Some(&json!("invalid_grant"))));
}

#[tokio::test]
async fn a_refresh_rotates_the_refresh_token_for_either_kind_of_client() {
    let provider = Oidc::start().await;
    for client in [BASIC, POST] {
        let grants = provider.grants(client, 1).await;
        let first = redeem(&provider, client, &grants[0].refresh_token).await.unwrap();
        let second = redeem(&provider, client, refresh_token(&first)).await.unwrap();

        let tokens = [&*grants[0].refresh_token, refresh_token(&first), refresh_token(&second)];
        assert_eq!(provider.alive(tokens).await, [false, false, true]);
    }
    assert_eq!(provider.stats().await, Stats { refreshes_ok: 4, refreshes_refused: 0, grants_revoked: 0 });
}

#[tokio::test]
async fn a_replayed_refresh_token_kills_the_grant() {
    let provider = Oidc::start().await;
    let grants = provider.grants(POST, 1).await;
    let rotated = redeem(&provider, POST, &grants[0].refresh_token).await.unwrap();

    let replay = redeem(&provider, POST, &grants[0].refresh_token).await.unwrap();
    let newest = redeem(&provider, POST, refresh_token(&rotated)).await.unwrap();

    assert_invalid_grant(&replay);
    assert_invalid_grant(&newest);
    assert_eq!(provider.stats().await, Stats { refreshes_ok: 1, refreshes_refused: 2, grants_revoked: 1 });
}

#[tokio::test]
async fn of_concurrent_refreshes_one_wins_and_the_others_kill_the_grant() {
    let provider = Oidc::start().await;
    let grants = provider.grants(POST, 1).await;

    let answers = futures_util::future::join_all((0..5).map(|_| redeem(&provider, POST, &grants[0].refresh_token)));
    let answers: Vec<_> = answers.await.into_iter().map(Result::unwrap).collect();

    let winners: Vec<_> = answers.iter().filter(|answer| answer.0 == 200).collect();
    assert_eq!(winners.len(), 1);
    assert_eq!(provider.alive([refresh_token(winners[0])]).await, [false]);
}

#[tokio::test]
async fn a_thousand_grants_live_side_by_side_and_are_refreshed_one_by_one() {
    let provider = Oidc::start().await;
    let grants = provider.grants(POST, 1200).await;
    let rotated = redeem(&provider, POST, &grants[0].refresh_token).await.unwrap();

    let alive = provider.alive(grants.iter().map(|grant| &*grant.refresh_token)).await;

    assert_eq!(alive.iter().filter(|alive| !**alive).count(), 1, "only the one that was redeemed is consumed");
    assert_eq!(provider.alive([refresh_token(&rotated)]).await, [true]);
    assert!(grants.windows(2).all(|pair| pair[0].grant != pair[1].grant));
}

#[tokio::test]
async fn another_clients_or_an_unknown_token_or_a_wrong_secret_is_refused() {
    let provider = Oidc::start().await;
    let grants = provider.grants(POST, 1).await;
    let wrong = OidcClient { id: POST.id, secret: "not the secret" };

    assert_invalid_grant(&redeem(&provider, BASIC, &grants[0].refresh_token).await.unwrap());
    assert_invalid_grant(&redeem(&provider, POST, "never-issued").await.unwrap());
    let (status, body) = redeem(&provider, wrong, &grants[0].refresh_token).await.unwrap();

    assert_eq!((status, &body["error"]), (401, &json!("invalid_client")));
    assert_eq!(provider.alive([&*grants[0].refresh_token]).await, [true]);
}

#[tokio::test]
async fn access_tokens_live_as_long_as_the_test_wants() {
    let provider = Oidc::start_with_access_token_ttl(Duration::from_secs(7)).await;
    let grants = provider.grants(POST, 1).await;

    let (_, body) = redeem(&provider, POST, &grants[0].refresh_token).await.unwrap();

    assert_eq!((grants[0].expires_in, &body["expires_in"]), (7, &json!(7)));
    assert_ne!(body["access_token"], grants[0].access_token);
    assert!(provider.token_url().starts_with(provider.issuer()));
}

#[tokio::test]
async fn a_lost_answer_consumes_the_token_and_a_lost_request_does_not() {
    let provider = Oidc::start().await;
    let grants = provider.grants(POST, 2).await;
    provider.fault(Fault { lose_before: true, ..Fault::default() }).await;
    provider.fault(Fault { lose_after: true, ..Fault::default() }).await;

    redeem(&provider, POST, &grants[0].refresh_token).await.unwrap_err();
    redeem(&provider, POST, &grants[1].refresh_token).await.unwrap_err();

    let tokens = grants.iter().map(|grant| &*grant.refresh_token);
    assert_eq!(provider.alive(tokens).await, [true, false]);
    provider.finished(2).await;
    let log = provider.log().await;
    let seen: Vec<_> = log.iter().map(|request| (request.seq, request.outcome, request.delivered)).collect();
    assert_eq!(seen, [(1, Outcome::Dropped, false), (2, Outcome::Ok, false)]);
}

#[tokio::test]
async fn a_scripted_answer_comes_as_written_for_as_many_requests_as_asked() {
    let provider = Oidc::start().await;
    let grants = provider.grants(POST, 1).await;
    let headers = [("retry-after".to_owned(), json!("2"))].into_iter().collect();
    let body = json!({ "error": "slow_down" });
    provider.fault(Fault { times: 2, status: Some(429), headers, body: body.clone(), ..Fault::default() }).await;

    let response = http().post(provider.token_url()).send().await.unwrap();
    let second = redeem(&provider, POST, &grants[0].refresh_token).await.unwrap();
    let third = redeem(&provider, POST, &grants[0].refresh_token).await.unwrap();

    assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (429, &"2".parse().unwrap()));
    assert_eq!(second, (429, body));
    assert_eq!(third.0, 200);
    let log = provider.log().await;
    assert_eq!(log[1].outcome, Outcome::Scripted);
    assert_eq!(log[1].presented, log[2].presented, "the same token has the same fingerprint");
}

#[tokio::test]
async fn an_answer_replaced_on_its_way_still_consumed_the_token() {
    let provider = Oidc::start().await;
    let grants = provider.grants(POST, 1).await;
    let body = json!("<h1>Bad gateway</h1>");
    provider.fault(Fault { status_after: Some(502), body: body.clone(), ..Fault::default() }).await;

    let answer = redeem(&provider, POST, &grants[0].refresh_token).await.unwrap();

    assert_eq!(answer, (502, body));
    assert_eq!(provider.alive([&*grants[0].refresh_token]).await, [false]);
}

#[tokio::test]
async fn who_hangs_up_before_processing_was_never_heard() {
    let provider = Oidc::start().await;
    let grants = provider.grants(POST, 1).await;
    provider.fault(Fault { delay_before_ms: 60_000, ..Fault::default() }).await;

    tokio::select! {
        answer = redeem(&provider, POST, &grants[0].refresh_token) => panic!("answered too early: {answer:?}"),
        () = provider.arrived(1) => {}
    }

    provider.finished(1).await;
    assert_eq!(provider.log().await[0].outcome, Outcome::Abandoned);
    assert_eq!(provider.alive([&*grants[0].refresh_token]).await, [true]);
}

#[tokio::test]
async fn a_delayed_answer_is_out_of_reach_but_already_rotated_until_it_is_released() {
    let provider = Oidc::start().await;
    let grants = provider.grants(POST, 1).await;
    provider.fault(Fault { delay_after_ms: 60_000, ..Fault::default() }).await;
    let observe = async {
        provider.judged(1).await;
        let alive = provider.alive([&*grants[0].refresh_token]).await;
        let seen = provider.log().await;
        provider.release().await;
        (alive, seen)
    };

    let (answer, (alive, seen)) = tokio::join!(redeem(&provider, POST, &grants[0].refresh_token), observe);

    assert_eq!((alive, seen[0].delivered), (vec![false], false));
    assert_eq!(provider.alive([refresh_token(&answer.unwrap())]).await, [true]);
}

#[tokio::test]
async fn the_log_tells_who_asked_for_what_and_why_it_was_refused() {
    let provider = Oidc::start().await;
    let grants = provider.grants(POST, 1).await;
    let rotated = redeem(&provider, POST, &grants[0].refresh_token).await.unwrap();
    redeem(&provider, POST, refresh_token(&rotated)).await.unwrap();
    redeem(&provider, POST, &grants[0].refresh_token).await.unwrap();

    let log = provider.log().await;

    assert!(log.iter().all(|request| request.client.as_deref() == Some(POST.id)));
    assert!(log.iter().all(|request| request.grant_type.as_deref() == Some("refresh_token")));
    assert_eq!(log[0].grant.as_deref(), Some(&*grants[0].grant));
    assert_eq!(log[0].issued, log[1].presented);
    assert_eq!(log[2].error.as_deref(), Some("invalid_grant"));
    assert_eq!(log[2].detail.as_deref(), Some("refresh token already used"));
}
