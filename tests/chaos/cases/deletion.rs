//! A connection is deleted at one instance while another one refreshes it: the token does not come back.

use futures_util::future::join_all;
use tonic::Code;

use super::Setting;
use crate::judge::Scripted;
use crate::judge::scripted::{first_refresh_token, granted};
use crate::provider::Gate;
use crate::report::Report;
use crate::world::World;

const PLATFORM: &str = "forgotten";

/// How many refreshes are on their way at the same time: one instance has no more than 64 at one platform.
const TOGETHER: usize = 48;

pub(super) async fn run(setting: Setting) -> Report {
    let judge = Scripted::start().await;
    let world = World::begin(setting.kind, &[judge.platform(PLATFORM, "refresh: { rotates: yes }\n")], "").await;
    let callers: Vec<_> = world.callers().iter().map(|caller| caller.on(PLATFORM)).collect();
    let users: Vec<String> = (0..setting.size.grants).map(|n| format!("user{n}")).collect();
    let at = |n: usize| &callers[n % callers.len()];
    join_all(users.iter().map(|user| async { at(0).store_expired(user, &first_refresh_token(user)).await })).await;
    let mut report = Report { calls: users.len() * (2 + callers.len()), ..Report::default() };
    for some in users.chunks(TOGETHER) {
        let gate = Gate::closed();
        let held = gate.clone();
        judge.fails(PLATFORM, move |arrival, _| Some(granted(&arrival.user, 1).behind(&held)));
        let calls: Vec<_> = some
            .iter()
            .enumerate()
            .map(|(n, user)| {
                let (caller, user) = (at(n).clone(), user.clone());
                tokio::spawn(async move { caller.get(&user).await })
            })
            .collect();
        judge.has_seen(PLATFORM, some).await;
        let deleted = join_all(some.iter().enumerate().map(|(n, user)| at(n + 1).delete(user))).await;
        gate.open();
        report.must(deleted.iter().all(|deleted| matches!(deleted, Ok(true))), || format!("not deleted: {deleted:?}"));
        for (user, call) in some.iter().zip(calls) {
            let told = call.await.unwrap();
            let missing = told.as_ref().is_err_and(|status| status.code() == Code::NotFound);
            report.must(missing, || format!("{user}: whoever waited was told {told:?}"));
        }
    }
    report.done = format!("{} deleted while being refreshed elsewhere", users.len());
    report.refreshes = Some(judge.arrivals().len());
    for (n, caller) in callers.iter().enumerate() {
        for (user, told) in users.iter().zip(join_all(users.iter().map(|user| caller.get(user))).await) {
            let missing = told.as_ref().is_err_and(|status| status.code() == Code::NotFound);
            report.must(missing, || format!("{user} is back at instance {n}: {told:?}"));
        }
    }
    report
}
