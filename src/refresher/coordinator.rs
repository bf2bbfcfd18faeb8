//! Who refreshes: joins callers to flights, and runs each flight to its end whether or not anybody still waits.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::answers::Answers;
use super::arrears::Arrears;
use super::circuit::Circuits;
use super::departed::Departed;
use super::flight::{Flight, Flights};
use crate::domain::catalog::Catalog;
use crate::domain::connection::InstanceId;
use crate::domain::id::{ConnectionKey, RequestId};
use crate::domain::ports::{AuditSink, Clock, Random, Renewal, RenewalOutcome, Tasks, TokenEndpoint, Wanted};
use crate::service::Records;

/// The numbers of the refresh protocol.
#[derive(Debug, Clone, Copy)]
pub struct RefreshSettings {
    /// How long a claim protects its owner. Longer than `exchange` by what storing the answer may take.
    pub lease: Duration,
    /// How long the whole exchange with the platform may take.
    pub exchange: Duration,
    /// The pause after the first failure of a connection; it doubles with each one after.
    pub backoff_base: Duration,
    /// The longest pause.
    pub backoff_max: Duration,
    /// How long an answer that cannot be stored is kept in memory and tried again.
    pub commit: Duration,
    /// How long after the end of a claim its owner is given to bring an answer from its outbox, where trying the old
    /// refresh token again could cost the grant; unless the outbox has been taken over, and holds no such answer.
    pub handover: Duration,
    /// Callers that may wait for one refresh.
    pub max_waiters: usize,
    /// Refreshes of one platform that may run at once.
    pub concurrency: usize,
}

/// What refreshing needs.
pub struct RefresherParts {
    /// The connections.
    pub records: Arc<Records>,
    /// The platforms.
    pub catalog: Arc<Catalog>,
    /// The way to them.
    pub endpoint: Arc<dyn TokenEndpoint>,
    /// The audit trail.
    pub audit: Arc<dyn AuditSink>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Chance, for jitter.
    pub random: Arc<dyn Random>,
    /// Where refreshes run.
    pub tasks: Arc<dyn Tasks>,
    /// Answers on disk; `None`: they are in memory only.
    pub answers: Option<Arc<Answers>>,
}

/// Refreshes connections, each at most once at a time.
pub struct Refresher {
    pub(super) parts: RefresherParts,
    pub(super) settings: RefreshSettings,
    pub(super) instance: InstanceId,
    pub(super) circuits: Circuits,
    pub(super) departed: Departed,
    pub(super) arrears: Arrears,
    flights: Arc<Flights>,
}

// === impl RefreshSettings ===

impl Default for RefreshSettings {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(20),
            exchange: Duration::from_secs(10),
            backoff_base: Duration::from_secs(30),
            backoff_max: Duration::from_mins(15),
            commit: Duration::from_mins(10),
            handover: Duration::ZERO,
            max_waiters: 1_000,
            concurrency: 64,
        }
    }
}

// === impl Refresher ===

impl Refresher {
    /// A refresher of its own identity, which is that of its outbox: who takes over the one knows what to expect of the
    /// claims of the other.
    #[must_use]
    pub fn new(parts: RefresherParts, settings: RefreshSettings) -> Arc<Self> {
        let owner = parts.answers.as_ref().and_then(|answers| answers.outbox.owner());
        let instance = owner.unwrap_or_else(|| {
            let mut id = [0; 8];
            parts.random.fill(&mut id);
            InstanceId(u64::from_be_bytes(id))
        });
        Arc::new(Self {
            instance,
            circuits: Circuits::new(settings.concurrency),
            departed: Departed::default(),
            arrears: Arrears::default(),
            flights: Flights::new(settings.max_waiters),
            parts,
            settings,
        })
    }

    /// Takes over what dead instances left in their outboxes, and replays what waits. Connections that are being
    /// refreshed here are left alone: their refresh stores its own answer.
    pub async fn tend_outbox(&self) {
        let Some(answers) = &self.parts.answers else { return };
        self.departed.note(answers.outbox.tend().await);
        answers.replay_all(|key| self.flights.is_running(key)).await;
    }

    /// Runs a flight where no caller can abort it: a request that was sent cannot be called back.
    fn launch(self: &Arc<Self>, flight: Flight, request: RequestId, wanted: Wanted) {
        let refresher = Arc::clone(self);
        self.parts.tasks.spawn(
            "refresh",
            Box::pin(async move {
                let outcome = refresher.attempt(&flight, &request, wanted).await;
                flight.announce(outcome);
                let key = flight.key().clone();
                drop(flight);
                refresher.pay(&key).await;
            }),
        );
    }
}

/// The port is implemented for the handle, because flights outlive the call that began them.
#[async_trait]
impl Renewal for Arc<Refresher> {
    async fn renew_and_wait(
        &self,
        key: &ConnectionKey,
        request: &RequestId,
        wanted: Wanted,
        patience: Duration,
    ) -> RenewalOutcome {
        let (seat, flight) = self.flights.join(key)?;
        if let Some(flight) = flight {
            self.launch(flight, request.clone(), wanted);
        }
        seat.outcome(patience).await
    }

    fn renew_in_background(&self, key: &ConnectionKey, request: &RequestId) {
        if self.flights.is_running(key) {
            return;
        }
        if let Ok((_, Some(flight))) = self.flights.join(key) {
            self.launch(flight, request.clone(), Wanted::Lasting(Duration::ZERO));
        }
    }

    fn in_hand(&self, key: &ConnectionKey) -> Option<RenewalOutcome> {
        self.flights.announced(key)
    }
}
