//! Living grants at the provider that judges refreshes: stored with a vault, and asked after when all is over.

#![expect(clippy::print_stdout, reason = "shows its figures to whoever asks with --nocapture")]

use futures_util::future::join_all;

use crate::caller::Caller;
use crate::oidc::{Oidc, Outcome, POST};

/// Stores living grants with access tokens that have expired; the users they belong to.
pub(crate) async fn store_grants(caller: &Caller, provider: &Oidc, count: usize) -> Vec<String> {
    let grants = provider.grants(POST, count).await;
    let users: Vec<String> = (0..count).map(|n| format!("user-{n}")).collect();
    join_all(users.iter().zip(&grants).map(|(user, grant)| caller.store_expired(user, &grant.refresh_token))).await;
    users
}

/// What is stored for each of them can be refreshed once more: the vault holds the one token of the grant that is good.
pub(crate) async fn assert_alive(caller: &Caller, users: &[String], provider: &Oidc) {
    let before = provider.stats().await;
    let answers = join_all(users.iter().map(|user| caller.get_another(user))).await;
    let dead: Vec<_> =
        users.iter().zip(&answers).filter_map(|(user, answer)| Some((user, answer.as_ref().err()?))).collect();
    let after = provider.stats().await;
    println!("alive: {} of {}", users.len() - dead.len(), users.len());
    assert!(dead.is_empty(), "{dead:?}");
    assert_eq!(after.refreshes_ok - before.refreshes_ok, users.len() as u64);
    assert_eq!((after.refreshes_refused, after.grants_revoked), (0, 0));
    let refused = provider.log().await.into_iter().find(|request| request.outcome == Outcome::Refused);
    assert!(refused.is_none(), "{refused:?}");
}
