//! Being told of changes: the servers push the name of every key that was written.
//!
//! A connection of its own to each primary asks for the names of all keys of the installation (`CLIENT TRACKING ... BCAST`,
//! Redis 6 and later). A server sends what it gathered at the end of each turn of its loop, *after* the answers of that
//! turn: the answer to a first question may come before the names of keys written in the same turn, but the answer to a
//! second one, asked when the first is answered, comes after them. So two answers in a row tell that everything that was
//! written before the first of them was asked for has been told.
//!
//! The first question also makes sure that this server is still the one whose word counts: a primary that was cut off goes
//! on answering while another one takes the writes.

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, PushInfo, PushKind, Value, cmd};
use tokio::time::{Instant, interval, sleep, timeout};

use super::super::listeners::Listeners;
use super::access::Access;
use super::fault::RedisFault;
use super::layout::Layout;
use super::sentinel;
use super::servers::{Proof, Servers, Source};

/// How often it is made sure that everything has been told.
const BEAT: Duration = Duration::from_millis(100);

/// How long to wait before connecting again.
const PAUSE: Duration = Duration::from_millis(250);

/// Whoever follows the changes of an installation.
pub(super) struct Follower {
    pub(super) access: Arc<Access>,
    pub(super) servers: Arc<Servers>,
    pub(super) layout: Layout,
    pub(super) listeners: Arc<Listeners>,
    /// How long an answer may be owed.
    pub(super) patience: Duration,
}

/// A source that tells.
struct Followed {
    connection: MultiplexedConnection,
    proof: Proof,
}

// === impl Follower ===

impl Follower {
    /// Follows, connecting again whenever it has to, until it is dropped.
    pub(super) async fn run(self) {
        let mut outage = false;
        loop {
            let epoch = self.servers.epoch();
            let connected = self.connect().await;
            // Said once per outage.
            let silent = outage && connected.is_err();
            outage = true;
            let Err(fault) = self.follow(epoch, connected).await;
            self.listeners.lost();
            if !silent {
                complain(&fault);
            }
            sleep(PAUSE).await;
        }
    }

    /// Whether the servers tell this user of changes at all. Only a clear no is a no.
    pub(super) async fn is_refused(&self) -> bool {
        matches!(self.connect().await, Err(RedisFault::Refused { code }) if matches!(code.as_str(), "ERR" | "NOPERM"))
    }

    async fn follow(&self, epoch: u64, connected: Result<Vec<Followed>, RedisFault>) -> Result<Infallible, RedisFault> {
        let followed = connected?;
        // What was read since the loss may have been replaced before anybody was there to tell of it.
        self.listeners.lost();
        let mut beats = interval(BEAT);
        loop {
            beats.tick().await;
            let asked_at = Instant::now().into_std();
            try_join_all(followed.iter().map(|source| self.hear_out(source))).await?;
            if self.servers.epoch() != epoch {
                return Err(RedisFault::TakenOver);
            }
            self.listeners.caught_up(asked_at);
        }
    }

    async fn connect(&self) -> Result<Vec<Followed>, RedisFault> {
        let sources = self.servers.sources().await?;
        try_join_all(sources.into_iter().map(|source| self.track(source))).await
    }

    async fn track(&self, source: Source) -> Result<Followed, RedisFault> {
        let (layout, listeners) = (self.layout.clone(), Arc::clone(&self.listeners));
        let config = self.access.config().set_push_sender(move |push: PushInfo| {
            tell(&layout, &listeners, &push);
            Ok::<_, RedisFault>(())
        });
        let Source { client, proof } = source;
        let connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        let mut tracking = cmd("CLIENT");
        tracking.arg("TRACKING").arg("ON").arg("BCAST").arg("PREFIX").arg(self.layout.beginning());
        self.ask(&connection, &tracking).await?;
        Ok(Followed { connection, proof })
    }

    /// Waits until a source has told everything that was written up to now.
    async fn hear_out(&self, source: &Followed) -> Result<(), RedisFault> {
        let Followed { connection, proof } = source;
        match proof {
            Proof::Answers => drop(self.ask(connection, &cmd("PING")).await?),
            Proof::IsPrimary => sentinel::must_be_primary(&self.ask(connection, &cmd("ROLE")).await?)?,
            Proof::Has { node, partitions } => {
                try_join_all(partitions.iter().map(async |partition| {
                    // Nothing has this name.
                    let mut look = cmd("HGET");
                    look.arg(self.layout.drawer(*partition, "#")).arg("#");
                    match self.ask(connection, &look).await {
                        Ok(_) => Ok(()),
                        // It has the slot still, and somebody else has keys of it already.
                        Err(RedisFault::Ask { to }) => {
                            self.servers.is_importing(&to, node);
                            Ok(())
                        }
                        Err(fault) => Err(fault),
                    }
                }))
                .await?;
            }
        }
        self.ask(connection, &cmd("PING")).await.map(|_| ())
    }

    async fn ask(&self, connection: &MultiplexedConnection, command: &Cmd) -> Result<Value, RedisFault> {
        let mut connection = connection.clone();
        let answer = timeout(self.patience, command.query_async(&mut connection)).await;
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
