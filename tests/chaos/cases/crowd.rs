//! Every token has expired, and everybody asks for all of them at every instance: one refresh for each record, and no
//! grant is lost.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;

use super::Setting;
use crate::caller::{Caller, reason};
use crate::judge::{self, Judge};
use crate::report::Report;
use crate::world::{World, dead, store_expired};

/// Records, and callers at each instance, before the judge that is slow: it does one thing after the other, and writes to
/// a database.
const GRACIOUS_RECORDS: usize = 30;
const GRACIOUS_CALLERS: usize = 10;

pub(super) async fn before_a_strict_judge(setting: Setting) -> Report {
    let (records, callers, _) = setting.size.crowd;
    crowd(setting, judge::strict().await, records, callers / setting.kind.modesty).await
}

pub(super) async fn before_a_gracious_judge(setting: Setting) -> Report {
    crowd(setting, judge::gracious().await, GRACIOUS_RECORDS, GRACIOUS_CALLERS).await
}

async fn crowd(setting: Setting, judge: Box<dyn Judge>, records: usize, callers_each: usize) -> Report {
    let world = World::begin(setting.kind, &[judge.platform()], "").await;
    let callers = world.callers();
    let grants = judge.grants(records).await;
    store_expired(&callers[0], &grants).await;
    setting.tell(&format!("{records} records have expired"));
    let users: Vec<String> = grants.into_iter().map(|(user, _)| user).collect();
    let crowd = callers_each * callers.len();
    // Those who stand at one instance see every record among them, however few each of them visits.
    let fewest = records.div_ceil(callers_each);
    let visits = if setting.kind.modesty > 1 { fewest } else { setting.size.crowd.2.clamp(fewest, records) };

    // Who stands at different instances sets out from the same record, so that they meet there at the same time.
    let visitors = (0..crowd).map(|n| {
        let (caller, users) = (callers[n % callers.len()].clone(), users.clone());
        let start = (n / callers.len()) * records / callers_each;
        tokio::spawn(async move { visit(&caller, &users, start, visits).await })
    });
    let mut report = Report::default();
    let mut tokens: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut all_refused = Vec::new();
    for visitor in join_all(visitors).await {
        let (got, refused) = visitor.unwrap();
        report.calls += got.len() + refused.len();
        all_refused.extend(refused);
        for (user, token) in got {
            tokens.entry(user).or_default().insert(token);
        }
    }

    report.must(all_refused.is_empty(), || format!("{} calls were refused: {}", all_refused.len(), all_refused[0]));
    let seen = judge.seen().await;
    report.done = format!("{} instances x {callers_each} callers, {records} records", callers.len());
    report.refreshes = Some(seen.granted + seen.refused);
    report.must(tokens.len() == records, || format!("{} of {records} records were asked for", tokens.len()));
    let several = tokens.values().filter(|seen| seen.len() > 1).count();
    report.must(several == 0, || format!("{several} records had more than one new token"));
    let expired = tokens.values().filter(|seen| seen.contains("expired-access")).count();
    report.must(expired == 0, || format!("{expired} records were handed out expired"));
    report.must((seen.granted, seen.refused, seen.revoked) == (records, 0, 0), || format!("the judge saw {seen:?}"));
    setting.tell("is everybody alive?");
    report.none_lost(&dead(&callers, &users).await, records);
    report
}

/// Gets the tokens of some users, one after the other: what was got, and what was said where nothing was.
async fn visit(caller: &Caller, users: &[String], start: usize, visits: usize) -> (Vec<(String, String)>, Vec<String>) {
    let (mut got, mut refused) = (Vec::with_capacity(visits), Vec::new());
    for user in users.iter().cycle().skip(start).take(visits) {
        let mut answer = caller.get(user).await;
        // A busy machine writes the audit trail late, and nothing is handed out without it.
        while answer.as_ref().is_err_and(|status| reason(status) == "AUDIT_UNAVAILABLE") {
            answer = caller.get(user).await;
        }
        match answer {
            Ok(answer) => got.push((user.clone(), answer.access_token)),
            Err(status) => refused.push(format!("{user}: {status}")),
        }
    }
    (got, refused)
}
