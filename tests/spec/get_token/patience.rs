//! How long callers wait, and that a refresh does not care whether they do.

use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::time::Instant;
use tonic::Code;
use vault_engine::pb::vault_v1::GetTokenRequest;

use crate::harness::{Setup, Vault, get, spec, until};
use crate::provider::Gate;

/// Waits until the refresh has been stored, as whoever asks next sees it.
async fn stored(vault: &Vault, access_token: &str) {
    let action = vault.as_engine("action").and("grpc-timeout", "100m");
    until("the stored answer", async || {
        action.call(get("rotating")).await.ok().filter(|got| got.access_token == access_token && !got.refreshed)
    })
    .await;
}

#[test]
fn a_caller_is_answered_within_its_deadline_and_the_refresh_goes_on() {
    spec(async |vault| {
        vault.connect("rotating", -60).await;
        let (new, gate) = (vault.tokens(), Gate::closed());
        vault.provider().will(new.answer().behind(&gate));
        let began = Instant::now();
        let refused = vault.as_engine("action").and("grpc-timeout", "1S").call(get("rotating")).await.unwrap_err();
        let waited = began.elapsed();
        assert_eq!(refused.told(), (Code::Unavailable, "refresh_contended", "retry"));
        assert!(refused.retry_after.is_some());
        assert!((Duration::from_millis(800)..Duration::from_secs(1)).contains(&waited), "{waited:?}");
        gate.open();
        stored(vault, &new.access).await;
        assert_eq!(vault.provider().requests().len(), 1);
    });
}

#[test]
fn a_caller_that_hangs_up_does_not_take_the_refresh_with_it() {
    spec(async |vault| {
        vault.connect("rotating", -60).await;
        let (new, gate) = (vault.tokens(), Gate::closed());
        vault.provider().will(new.answer().behind(&gate));
        let action = vault.as_engine("action");
        let (call, sent) = (Box::pin(action.call(get("rotating"))), Box::pin(vault.provider().has_seen(1)));
        let Either::Right(((), call)) = select(call, sent).await else { panic!("answered before the platform did") };
        drop(call);
        gate.open();
        stored(vault, &new.access).await;
        assert_eq!(vault.provider().requests().len(), 1);
    });
}

#[test]
fn somebody_who_hangs_up_does_not_disturb_those_who_wait() {
    spec(async |vault| {
        vault.connect("rotating", -60).await;
        let (new, gate) = (vault.tokens(), Gate::closed());
        vault.provider().will(new.answer().behind(&gate));
        let action = vault.as_engine("action");
        let hangs_up = async {
            let call = Box::pin(action.call(get("rotating")));
            drop(select(call, Box::pin(vault.provider().has_seen(1))).await);
            gate.open();
        };
        let (answer, ()) = futures_util::future::join(action.call(get("rotating")), hangs_up).await;
        assert_eq!(answer.unwrap().access_token, new.access);
        assert_eq!(vault.provider().requests().len(), 1);
    });
}

#[test]
fn only_so_many_wait_for_one_refresh() {
    Setup::default().with("REFRESH__MAX_WAITERS", "1").run(async |vault| {
        vault.connect("rotating", -60).await;
        let gate = Gate::closed();
        vault.provider().will(vault.tokens().answer().behind(&gate));
        let action = vault.as_engine("action");
        let one_more = async {
            // By now somebody waits, and there is one seat.
            vault.provider().has_seen(1).await;
            let refused = action.call(get("rotating")).await.unwrap_err();
            gate.open();
            refused
        };
        let (first, refused) = futures_util::future::join(action.call(get("rotating")), one_more).await;
        assert_eq!(refused.told(), (Code::ResourceExhausted, "too_many_waiters", "retry"));
        assert!(refused.retry_after.is_some());
        assert!(first.is_ok());
    });
}

#[test]
fn a_forced_renewal_joins_the_one_that_runs() {
    spec(async |vault| {
        vault.connect("rotating", 3_600).await;
        let (new, gate) = (vault.tokens(), Gate::closed());
        vault.provider().will(new.answer().behind(&gate));
        let action = vault.as_engine("action");
        let forced = || action.call(GetTokenRequest { force_refresh: true, ..get("rotating") });
        let opened = async {
            vault.provider().has_seen(1).await;
            gate.open();
        };
        let (first, second, ()) = futures_util::future::join3(forced(), forced(), opened).await;
        assert_eq!((first.unwrap().access_token, second.unwrap().access_token), (new.access.clone(), new.access));
        assert_eq!(vault.provider().requests().len(), 1);
    });
}
