//! A provider that does what it is told, and remembers whose token came when. Every token says whose it is:
//! `refresh-USER-N` gives `access-USER-N+1` and `refresh-USER-N+1`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::json;

use crate::installation::Platform;
use crate::provider::{Answer, Provider, Seen};

/// A running one.
pub(crate) struct Scripted {
    provider: Provider,
    book: Arc<Mutex<Book>>,
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    pub(crate) platform: String,
    pub(crate) user: String,
    pub(crate) at: Instant,
    /// Whether it brought the token that was issued last.
    pub(crate) current: bool,
}

/// What is answered instead, if anything; it is told whether the user has asked before.
type Fault = dyn Fn(&Arrival, usize) -> Option<Answer> + Send + Sync;

#[derive(Default)]
struct Book {
    /// The number of the token that was issued last, by platform and user.
    issued: BTreeMap<(String, String), u64>,
    arrivals: Vec<Arrival>,
    /// By platform.
    faults: BTreeMap<String, Arc<Fault>>,
}

// === impl Scripted ===

impl Scripted {
    pub(crate) async fn start() -> Self {
        let (provider, book) = (Provider::start().await, Arc::new(Mutex::new(Book::default())));
        let kept = Arc::clone(&book);
        provider.otherwise(move |seen| kept.lock().unwrap().answer(seen));
        Self { provider, book }
    }

    /// A platform of its own at this provider, with this in its profile.
    pub(crate) fn platform(&self, id: &str, profile: &str) -> Platform {
        Platform {
            id: id.to_owned(),
            origin: self.provider.url(""),
            token_path: format!("/{id}"),
            client_id: "vault".to_owned(),
            client_secret: "a-secret-nobody-checks".to_owned(),
            profile: profile.to_owned(),
        }
    }

    /// From now on, this platform answers so.
    pub(crate) fn fails(
        &self,
        platform: &str,
        fault: impl Fn(&Arrival, usize) -> Option<Answer> + Send + Sync + 'static,
    ) {
        self.book.lock().unwrap().faults.insert(platform.to_owned(), Arc::new(fault));
    }

    /// All is well again.
    pub(crate) fn recovers(&self) {
        self.book.lock().unwrap().faults.clear();
    }

    /// The requests so far.
    pub(crate) fn arrivals(&self) -> Vec<Arrival> {
        self.book.lock().unwrap().arrivals.clone()
    }

    /// Waits until a platform was asked for each of these users.
    pub(crate) async fn has_seen(&self, platform: &str, users: &[impl AsRef<str>]) {
        let came = |user: &str| {
            let book = self.book.lock().unwrap();
            book.arrivals.iter().any(|one| one.platform == platform && one.user == user)
        };
        let all = async || users.iter().all(|user| came(user.as_ref())).then_some(());
        crate::eventually::eventually("requests arrive", all).await;
    }
}

// === impl Book ===

impl Book {
    fn answer(&mut self, seen: &Seen) -> Answer {
        let platform = seen.target.trim_start_matches('/').to_owned();
        let presented = seen.form().remove("refresh_token").unwrap_or_default();
        let Some((user, number)) = parse(&presented) else { return Answer::json(400, &json!({"error": "bad_token"})) };
        let issued = self.issued.entry((platform.clone(), user.clone())).or_default();
        let arrival = Arrival { platform, user, at: Instant::now(), current: *issued == number };
        let before =
            self.arrivals.iter().filter(|one| (&one.platform, &one.user) == (&arrival.platform, &arrival.user));
        let before = before.count();
        let instead = self.faults.get(&arrival.platform).and_then(|fault| fault(&arrival, before));
        let answer = instead.unwrap_or_else(|| {
            *issued += 1;
            granted(&arrival.user, *issued)
        });
        self.arrivals.push(arrival);
        answer
    }
}

/// What renews the token of a user for the first time.
pub(crate) fn first_refresh_token(user: &str) -> String {
    format!("refresh-{user}-0")
}

/// Whose access token this is, and which.
pub(crate) fn owner(access_token: &str) -> Option<(String, u64)> {
    parse(access_token)
}

/// The next tokens of a user.
pub(crate) fn granted(user: &str, number: u64) -> Answer {
    let body = json!({
        "access_token": format!("access-{user}-{number}"),
        "refresh_token": format!("refresh-{user}-{number}"),
        "token_type": "Bearer",
        "expires_in": 3600,
    });
    Answer::json(200, &body)
}

/// `KIND-USER-NUMBER`, where the user has no dash.
fn parse(token: &str) -> Option<(String, u64)> {
    let mut parts = token.split('-').skip(1);
    let (user, number) = (parts.next()?, parts.next()?);
    Some((user.to_owned(), number.parse().ok()?))
}
