//! Being told of changes: the server pushes the name of every key that was written.
//!
//! A connection of its own asks for the names of all keys of the installation (`CLIENT TRACKING ... BCAST`, Redis 6 and
//! later). The server sends what it gathered at the end of each turn of its loop, *after* the answers of that turn: the
//! answer to a PING may come before the names of keys written in the same turn, but the answer to a second PING, sent
//! when the first is answered, comes after them. So two answers in a row tell that everything that was written before the
//! first of them was asked for has been told.

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Client, PushInfo, PushKind, Value, cmd};
use tokio::time::{Instant, interval, sleep, timeout};

use super::super::listeners::Listeners;
use super::access::Access;
use super::fault::RedisFault;
use super::layout::Layout;

/// How often it is made sure that everything has been told.
const BEAT: Duration = Duration::from_millis(100);

/// How long to wait before connecting again.
const PAUSE: Duration = Duration::from_millis(250);

/// Whoever follows the changes of one server.
pub(super) struct Follower {
    pub(super) access: Arc<Access>,
    pub(super) client: Client,
    pub(super) layout: Layout,
    pub(super) listeners: Arc<Listeners>,
    /// How long an answer may be owed.
    pub(super) patience: Duration,
}

// === impl Follower ===

impl Follower {
    /// Follows, connecting again whenever it has to, until it is dropped.
    pub(super) async fn run(self) {
        let mut known = false;
        loop {
            let connection = self.connect().await;
            // Said once per outage.
            let new = connection.is_ok() || !known;
            let Err(fault) = self.follow(connection).await;
            self.listeners.lost();
            if new {
                complain(&fault);
            }
            known = true;
            sleep(PAUSE).await;
        }
    }

    /// Whether the server tells this user of changes at all. Only a clear no is a no.
    pub(super) async fn is_refused(&self) -> bool {
        matches!(self.connect().await, Err(RedisFault::Refused { .. }))
    }

    async fn follow(&self, connection: Result<MultiplexedConnection, RedisFault>) -> Result<Infallible, RedisFault> {
        let mut connection = connection?;
        let mut beats = interval(BEAT);
        loop {
            beats.tick().await;
            let asked_at = Instant::now().into_std();
            self.answer_of(&mut connection, &cmd("PING")).await?;
            self.answer_of(&mut connection, &cmd("PING")).await?;
            self.listeners.caught_up(asked_at);
        }
    }

    async fn connect(&self) -> Result<MultiplexedConnection, RedisFault> {
        let (layout, listeners) = (self.layout.clone(), Arc::clone(&self.listeners));
        let config = self.access.config().set_push_sender(move |push: PushInfo| {
            tell(&layout, &listeners, &push);
            Ok::<_, RedisFault>(())
        });
        let mut connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        let mut tracking = cmd("CLIENT");
        tracking.arg("TRACKING").arg("ON").arg("BCAST").arg("PREFIX").arg(self.layout.beginning());
        self.answer_of(&mut connection, &tracking).await?;
        Ok(connection)
    }

    async fn answer_of(
        &self,
        connection: &mut MultiplexedConnection,
        command: &redis::Cmd,
    ) -> Result<Value, RedisFault> {
        let answer = timeout(self.patience, command.query_async(connection)).await;
        answer.map_err(|_| RedisFault::Silence)?.map_err(RedisFault::from)
    }
}

fn complain(fault: &RedisFault) {
    let cause: &dyn Error = fault;
    tracing::warn!(cause, "redis does not tell of changes for now");
}

/// Passes on what was pushed. Runs where the connection is read, so what was pushed before an answer has been passed on
/// when the answer arrives.
fn tell(layout: &Layout, listeners: &Listeners, push: &PushInfo) {
    if push.kind != PushKind::Invalidate {
        return;
    }
    match push.data.as_slice() {
        [Value::Array(keys)] => {
            for key in keys {
                if let Value::BulkString(key) = key
                    && let Some((tenant, user)) = layout.user(key)
                {
                    listeners.changed(&tenant, &user);
                }
            }
        }
        // Everything was flushed, or this is nothing we know.
        _ => listeners.lost(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::domain::id::{TenantId, UserId};
    use crate::domain::ports::Listener;

    #[derive(Default)]
    struct Ear(Mutex<Vec<String>>);

    impl Listener for Ear {
        fn changed(&self, tenant: &TenantId, user: &UserId) {
            self.0.lock().unwrap().push(format!("{tenant}/{user}"));
        }

        fn caught_up(&self, _: std::time::Instant) {}

        fn lost(&self) {
            self.0.lock().unwrap().push("lost".to_owned());
        }
    }

    fn heard(kind: PushKind, data: Vec<Value>) -> Vec<String> {
        let (ear, listeners) = (Arc::new(Ear::default()), Listeners::default());
        listeners.add(Arc::clone(&ear) as Arc<dyn Listener>);
        tell(&Layout::new("vault"), &listeners, &PushInfo { kind, data });
        std::mem::take(&mut *ear.0.lock().unwrap())
    }

    #[test]
    fn users_are_told_of_and_a_flush_is_a_loss() {
        let keys = ["vault:{1}:a/u1", "vault:{1}:#due", "vault:{1}:#leases", "vault:{1}:a", "vault:{2}:b/u2"];
        let keys = keys.map(|key| Value::BulkString(key.as_bytes().to_vec())).to_vec();
        assert_eq!(heard(PushKind::Invalidate, vec![Value::Array(keys)]), ["a/u1", "b/u2"]);
        assert_eq!(heard(PushKind::Invalidate, vec![Value::Nil]), ["lost"]);
        assert!(heard(PushKind::Message, vec![Value::Nil]).is_empty());
    }
}
