//! A store, and instances of the vault over it.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use tokio::time::Instant;
use tonic::Code;
#[cfg(feature = "redis")]
use vault_engine::domain::ports::Partition;

use crate::caller::{Caller, reason};
use crate::installation::{Installation, Platform};
use crate::process::Running;
use crate::shape::{Kind, Shape, Trouble};
use crate::vault_log;

/// Calls that may be on the way at once when the harness prepares or counts something.
const AT_ONCE: usize = 32;

/// How often an instance is tried to be started.
const STARTS: usize = 3;

/// How long a grant may be out of reach before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(45);

/// A user whose token never has to be refreshed: what asks for it asks the store, and nobody else.
const CANARY: &str = "canary";

/// Far beyond the end of any run.
pub(crate) const FAR: i64 = 4_000_000_000;

/// A running installation.
pub(crate) struct World {
    pub(crate) installation: Installation,
    pub(crate) instances: Vec<Instance>,
    shape: Box<dyn Shape>,
    /// The platform of the user whom everybody asks for.
    platform: String,
}

/// One instance of it.
pub(crate) struct Instance {
    pub(crate) name: String,
    pub(crate) vault: Running,
    pub(crate) caller: Caller,
}

// === impl World ===

impl World {
    /// As many instances as this kind of store can have, that know these platforms.
    pub(crate) async fn begin(kind: &Kind, platforms: &[Platform], more: &str) -> Self {
        let shape = (kind.start)(kind.instances).await;
        let installation = Installation::over(&shape.section(0), shape.environment(), platforms, more).await;
        let mut world = Self { installation, instances: Vec::new(), shape, platform: platforms[0].id.clone() };
        for n in 0..kind.instances {
            let instance = world.start(n, &[]).await;
            world.instances.push(instance);
        }
        world.instances[0].caller.on(&world.platform).store(CANARY, "canary-access", "canary-refresh", FAR).await;
        world
    }

    /// Starts an instance, with this in its environment; as a supervisor does, again when it ends at once because the
    /// store has not answered in time.
    async fn start(&self, n: usize, environment: &[(&str, &str)]) -> Instance {
        let mut said = String::new();
        for _ in 0..STARTS {
            match self.start_once(n, environment).await {
                Ok(instance) => return instance,
                Err(ended) => said = ended,
            }
        }
        panic!("instance {n} does not start: {said}")
    }

    /// Starts an instance once; what it said if it ended instead of serving.
    async fn start_once(&self, n: usize, environment: &[(&str, &str)]) -> Result<Instance, String> {
        let name = format!("instance-{n}");
        let mut command = self.installation.command_over(&name, &self.shape.section(n));
        for (variable, value) in environment {
            command = command.env(variable, value);
        }
        let (vault, server) = command.serving_or_ended().await?;
        Ok(Instance { name, vault, caller: self.installation.caller(&server) })
    }

    /// Ends an instance as a power cut would; all it had written to its log.
    pub(crate) async fn kill(&mut self, n: usize) -> String {
        self.instances[n].vault.last_words().await
    }

    /// Starts an instance again that has ended, on what it left behind; with this in its environment, such as
    /// `VAULT_FAILPOINT` to have it end at a certain place.
    pub(crate) async fn restart(&mut self, n: usize, environment: &[(&str, &str)]) {
        self.instances[n] = self.start(n, environment).await;
    }

    /// The same for one that may end before it serves; whether it serves.
    #[cfg(feature = "failpoints")]
    pub(crate) async fn try_restart(&mut self, n: usize, environment: &[(&str, &str)]) -> bool {
        let started = self.start_once(n, environment).await;
        started.map(|instance| self.instances[n] = instance).is_ok()
    }

    pub(crate) fn callers(&self) -> Vec<Caller> {
        self.instances.iter().map(|instance| instance.caller.clone()).collect()
    }

    /// How often the store was asked for something so far.
    pub(crate) fn asked(&self) -> Option<usize> {
        self.shape.asked()
    }

    /// Has every instance look at the token of a user.
    pub(crate) async fn tell_of(&self, user: &str) {
        drop(join_all(self.instances.iter().map(|instance| instance.caller.get(user))).await);
    }

    /// The users of whose records an instance that is running has said that the store has lost something.
    pub(crate) fn reported_lost(&self) -> BTreeSet<String> {
        self.instances.iter().flat_map(|instance| vault_log::reported_lost(&instance.vault.stderr())).collect()
    }

    pub(crate) async fn begin_trouble(&mut self, trouble: Trouble) {
        self.shape.begin(trouble).await;
    }

    pub(crate) async fn end_trouble(&mut self, trouble: Trouble) {
        self.shape.end(trouble).await;
    }

    /// The most memory any instance has, in mebibytes; `None`: one of them has ended.
    pub(crate) fn resident_mebibytes(&self) -> Option<u64> {
        let each: Option<Vec<u64>> = self.instances.iter().map(|one| one.vault.resident_mebibytes()).collect();
        each?.into_iter().max()
    }

    /// How long it takes from now until every instance hands out what is in the store; or `bound`, if longer.
    pub(crate) async fn recovery(&self, bound: Duration) -> Duration {
        let began = Instant::now();
        let each = self.instances.iter().map(|instance| async {
            let caller = instance.caller.on(&self.platform);
            let serving = async {
                let mut looks = tokio::time::interval(Duration::from_millis(20));
                while caller.get_within(Duration::from_secs(1), CANARY).await.is_err() {
                    looks.tick().await;
                }
            };
            drop(tokio::time::timeout(bound, serving).await);
        });
        join_all(each).await;
        began.elapsed()
    }
}

/// Where in the store that user is.
#[cfg(feature = "redis")]
pub(crate) fn canary_partition() -> usize {
    usize::from(Partition::of(&"default".parse().unwrap(), &CANARY.parse().unwrap()).number())
}

/// Stores grants whose access tokens have expired long ago, one for each user.
pub(crate) async fn store_expired(caller: &Caller, grants: &[(String, String)]) {
    let stores = grants.iter().map(|(user, refresh_token)| caller.store_expired(user, refresh_token));
    stream::iter(stores).buffer_unordered(AT_ONCE).for_each(async |()| {}).await;
}

/// A grant that is dead, or out of reach.
pub(crate) struct Lost {
    pub(crate) user: String,
    /// What its caller was told last.
    told: String,
}

/// The grants that cannot be refreshed once more, with time for whoever holds a claim.
pub(crate) async fn dead(callers: &[Caller], users: &[String]) -> Vec<Lost> {
    let checks = users.iter().enumerate().map(|(n, user)| async move {
        let caller = &callers[n % callers.len()];
        let deadline = Instant::now() + PATIENCE;
        let mut looks = tokio::time::interval(Duration::from_millis(250));
        loop {
            looks.tick().await;
            match caller.get_another(user).await {
                Ok(_) => return None,
                Err(status) if status.code() == Code::FailedPrecondition || Instant::now() > deadline => {
                    let told = format!("{:?} {}: {}", status.code(), reason(&status), status.message());
                    return Some(Lost { user: user.clone(), told });
                }
                Err(_) => {}
            }
        }
    });
    stream::iter(checks).buffer_unordered(AT_ONCE).filter_map(async |dead| dead).collect().await
}

impl fmt::Debug for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.user, self.told)
    }
}
