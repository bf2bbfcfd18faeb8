//! The certified OpenID provider: a refresh token that comes twice ends the grant, unless it is told not to rotate.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;

use super::{Judge, Seen};
use crate::installation::{PLATFORM, Platform};
use crate::oidc::{Oidc, Outcome, POST};

struct Strict {
    /// What the vault calls it.
    id: &'static str,
    provider: Oidc,
    /// Whose each grant is.
    users: Mutex<BTreeMap<String, String>>,
}

pub(super) async fn start() -> Box<dyn Judge> {
    Box::new(Strict { id: PLATFORM, provider: Oidc::start().await, users: Mutex::default() })
}

#[cfg(feature = "failpoints")]
pub(super) async fn start_lenient() -> Box<dyn Judge> {
    let provider = Oidc::start_without_rotation().await;
    Box::new(Strict { id: "lenient", provider, users: Mutex::default() })
}

#[async_trait]
impl Judge for Strict {
    fn platform(&self) -> Platform {
        Platform { id: self.id.to_owned(), ..Platform::judged_by(&self.provider) }
    }

    async fn grants(&self, count: usize) -> Vec<(String, String)> {
        let issued = self.provider.grants(POST, count).await;
        let mut users = self.users.lock().unwrap();
        let first = users.len();
        let mut named = Vec::with_capacity(count);
        for (n, grant) in issued.into_iter().enumerate() {
            let user = format!("user-{}", first + n);
            users.insert(grant.grant, user.clone());
            named.push((user, grant.refresh_token));
        }
        named
    }

    async fn seen(&self) -> Seen {
        let stats = self.provider.stats().await;
        let log = self.provider.log().await;
        let users = self.users.lock().unwrap();
        let granted = log.iter().filter(|request| request.outcome == Outcome::Ok);
        let mut granted_to = BTreeMap::new();
        for user in granted.filter_map(|request| users.get(request.grant.as_ref()?)) {
            *granted_to.entry(user.clone()).or_default() += 1;
        }
        let count = |number: u64| usize::try_from(number).unwrap();
        Seen {
            granted: count(stats.refreshes_ok),
            refused: count(stats.refreshes_refused),
            revoked: count(stats.grants_revoked),
            granted_to,
        }
    }
}
