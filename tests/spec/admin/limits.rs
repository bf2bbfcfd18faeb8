//! How much an engine may do: exact on each instance.

use tonic::Code;
use vault_engine::pb::vault_v1::{GetTokenRequest, Limits};

use super::{Made, allowing, limited_engine};
use crate::harness::{Caller, Vault, get, spec, until};

fn of(user: &str) -> GetTokenRequest {
    GetTokenRequest { user_id: user.to_owned(), ..get("plain") }
}

async fn rated(vault: &Vault, rate_per_second: u32, rate_burst: u32) -> Made {
    let limits = Limits { rate_per_second, rate_burst, ..Limits::default() };
    limited_engine(vault, "default", "busy", allowing(&["get"]), limits).await
}

async fn of_users(vault: &Vault, max_distinct_users_per_hour: u32) -> Made {
    let limits = Limits { max_distinct_users_per_hour, ..Limits::default() };
    limited_engine(vault, "default", "thief", allowing(&["get", "status"]), limits).await
}

async fn code(caller: &Caller, request: GetTokenRequest) -> Code {
    caller.call(request).await.err().map_or(Code::Ok, |refused| refused.code)
}

#[test]
fn an_engine_that_calls_too_often_is_told_when_to_go_on_and_nobody_else_is() {
    spec(async |vault| {
        vault.connect("plain", 3_600).await;
        let busy = rated(vault, 1, 5).await.caller(vault);
        let began = tokio::time::Instant::now();
        let (mut passed, mut refused) = (0, None);
        while refused.is_none() {
            match busy.call(get("plain")).await {
                Ok(_) => passed += 1,
                Err(error) => refused = Some(error),
            }
        }
        let (refused, most) = (refused.unwrap(), 5 + began.elapsed().as_secs());
        assert!((5..=most).contains(&passed), "{passed} calls passed");
        assert_eq!(refused.told(), (Code::ResourceExhausted, "rate_limited", "retry"));
        let wait = refused.retry_after.unwrap();
        assert!(!wait.is_zero() && wait.as_secs() <= 1, "{wait:?}");
        assert_eq!(vault.audit_of(&refused.request_id).await["reason"], "rate_limited");
        assert_eq!(code(&vault.as_engine("local"), get("plain")).await, Code::Ok);
        until("the next call that passes", async || (code(&busy, get("plain")).await == Code::Ok).then_some(())).await;
    });
}

#[test]
fn the_tokens_of_one_user_too_many_are_refused_and_an_alarm_is_raised_once() {
    spec(async |vault| {
        for user in ["u1", "u2", "u3", "u4"] {
            vault.connect_user(user, "plain", 3_600).await;
        }
        let thief = of_users(vault, 3).await.caller(vault);
        for user in ["u1", "u2", "u1", "u3", "u2"] {
            assert_eq!(code(&thief, of(user)).await, Code::Ok, "{user}");
        }
        for _ in 0..3 {
            let refused = thief.call(of("u4")).await.unwrap_err();
            assert_eq!(refused.told(), (Code::ResourceExhausted, "user_quota_exceeded", "contact_operator"));
            assert!(refused.retry_after.unwrap().as_secs() > 3_500);
            assert_eq!(vault.audit_of(&refused.request_id).await["reason"], "user_quota_exceeded");
        }
        assert_eq!(code(&thief, of("u3")).await, Code::Ok);
        let alarms = vault.alarms();
        assert_eq!(alarms.iter().filter(|(alarm, _)| alarm == "user_quota_exceeded").count(), 1, "{alarms:?}");
    });
}

#[test]
fn a_change_of_the_engine_does_not_begin_the_count_anew() {
    spec(async |vault| {
        let made = of_users(vault, 1).await;
        assert_eq!(code(&made.caller(vault), of("u1")).await, Code::NotFound);
        super::set_policy(vault, &made, allowing(&["get"])).await;
        assert_eq!(code(&made.caller(vault), of("u2")).await, Code::ResourceExhausted);
        assert_eq!(code(&made.caller(vault), of("u1")).await, Code::NotFound);
    });
}

#[test]
fn over_several_instances_the_limits_add_up_and_no_more() {
    spec(async |vault| {
        vault.start_another().await;
        vault.start_another().await;
        let thief = of_users(vault, 2).await;
        let mut served = 0;
        for caller in thief.callers(vault) {
            let known = async || (code(&caller, of("first")).await != Code::Unauthenticated).then_some(());
            until("that every instance knows the engine", known).await;
            for user in 0..10 {
                served += usize::from(code(&caller, of(&format!("{served}-{user}"))).await == Code::NotFound);
            }
        }
        // One user everywhere, and one more at each of three instances.
        assert_eq!(served, 3);
    });
}
