//! Who is the primary, as the sentinels know it.
//!
//! All of them are asked at once, and what most of them say counts: one that hangs delays nobody, and one that is cut off
//! together with a primary that was, does not lead back to it. The driver's own client asks one after the other, with
//! time limits of its own, and believes the first. Where only a minority answers, its word is taken: the server is asked
//! for its role before it is used, and a vault that refuses to work because two sentinels are down helps nobody.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use redis::{Client, ProtocolVersion, Value, cmd};
use tokio::time::interval;

use super::access::Access;
use super::fault::RedisFault;
use super::line::{Destination, Dialer, Lines};
use super::settings::{Endpoint, RedisSettings, SentinelSettings};
use super::startup::ConnectError;

/// How often the sentinels are asked without need. A primary that was cut off and comes back takes writes until somebody
/// tells it, and these writes are lost: no connection may lead to it for long.
const WATCH: Duration = Duration::from_millis(500);

/// The sentinels of one primary.
pub(super) struct Sentinels {
    asked: Vec<Lines>,
    master_name: String,
    /// To the servers they name.
    access: Arc<Access>,
    known: Mutex<Option<Endpoint>>,
    epoch: AtomicU64,
}

// === impl Sentinels ===

impl Sentinels {
    /// Connects when they are first asked.
    pub(super) async fn new(
        settings: &RedisSettings,
        sentinel: &SentinelSettings,
        access: Arc<Access>,
    ) -> Result<Self, ConnectError> {
        let to_sentinels = Arc::new(Access::to_sentinels(settings, sentinel).await?);
        let mut asked = Vec::with_capacity(sentinel.addresses.len());
        for Endpoint { host, port } in &sentinel.addresses {
            let client = to_sentinels.client(host, *port, ProtocolVersion::RESP2).map_err(ConnectError::Client)?;
            let dialer = Arc::new(Dialer {
                access: Arc::clone(&to_sentinels),
                destination: Destination::Server(Box::new(client)),
                response_timeout: settings.response_timeout,
                operation_timeout: settings.connect_timeout,
            });
            asked.push(Lines::new(&dialer, 1));
        }
        let master_name = sentinel.master_name.clone();
        Ok(Self { asked, master_name, access, known: Mutex::default(), epoch: AtomicU64::new(0) })
    }

    /// Changes whenever another server has become the primary.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// What opens connections to the primary, which has to be asked for its role still. Boxed, because it is what a line
    /// waits for, and itself waits for lines.
    pub(super) fn primary(&self, protocol: ProtocolVersion) -> BoxFuture<'_, Result<Client, RedisFault>> {
        Box::pin(async move {
            let primary = self.find().await?;
            Ok(self.access.client(&primary.host, primary.port, protocol)?)
        })
    }

    /// Keeps asking, until it is dropped.
    pub(super) async fn watch(self: Arc<Self>) {
        let mut looks = interval(WATCH);
        loop {
            looks.tick().await;
            // Without an answer everything stays as it is.
            drop(self.find().await);
        }
    }

    async fn find(&self) -> Result<Endpoint, RedisFault> {
        let mut question = cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.master_name);
        let mut answers: FuturesUnordered<_> =
            self.asked.iter().map(|lines| lines.of_this_thread().send(&question)).collect();
        let mut votes: HashMap<Endpoint, usize> = HashMap::new();
        let mut fault = RedisFault::NoPrimary;
        while let Some(answer) = answers.next().await {
            match answer.map(named) {
                Ok(Some(endpoint)) => {
                    let votes = votes.entry(endpoint.clone()).or_default();
                    *votes += 1;
                    if *votes * 2 > self.asked.len() {
                        self.learn(&endpoint);
                        return Ok(endpoint);
                    }
                }
                Ok(None) => {}
                Err(error) => fault = error,
            }
        }
        // No majority: what is known stays known, for as long as there is anything better to do than to doubt it.
        votes.into_iter().max_by_key(|(_, votes)| *votes).map(|(endpoint, _)| endpoint).ok_or(fault)
    }

    /// Remembers what most of them say.
    fn learn(&self, endpoint: &Endpoint) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref() != Some(endpoint)
            && let Some(before) = known.replace(endpoint.clone())
        {
            tracing::warn!(%before, now = %endpoint, "another redis has become the primary");
            self.epoch.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// The address in an answer; nothing if the sentinel knows no such primary.
fn named(answer: Value) -> Option<Endpoint> {
    let (host, port): (String, u16) = redis::from_redis_value(answer).ok()?;
    Some(Endpoint { host, port })
}

/// Refuses an answer to `ROLE` of what is no primary.
pub(super) fn must_be_primary(role: &Value) -> Result<(), RedisFault> {
    let name = match role {
        Value::Array(parts) => parts.first(),
        _ => None,
    };
    match name {
        Some(Value::BulkString(name)) if name == b"master" => Ok(()),
        Some(Value::BulkString(_)) => Err(RedisFault::Refused { code: "READONLY".to_owned() }),
        _ => Err(RedisFault::Unexpected),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn only_a_primary_is_one() {
        let role = |name: &str| Value::Array(vec![bytes(name), Value::Int(7), Value::Array(Vec::new())]);
        assert!(must_be_primary(&role("master")).is_ok());
        for name in ["slave", "sentinel"] {
            assert!(matches!(must_be_primary(&role(name)), Err(RedisFault::Refused { .. })), "{name}");
        }
        assert!(matches!(must_be_primary(&Value::Nil), Err(RedisFault::Unexpected)));
    }

    #[test]
    fn an_answer_names_an_address_or_nobody() {
        let named_by = |parts: &[&str]| named(Value::Array(parts.iter().map(|part| bytes(part)).collect()));
        assert_eq!(named_by(&["10.0.0.1", "6379"]).unwrap().to_string(), "10.0.0.1:6379");
        assert!(named(Value::Nil).is_none());
        assert!(named_by(&["10.0.0.1"]).is_none());
        assert!(named_by(&["10.0.0.1", "65536"]).is_none());
    }
}
