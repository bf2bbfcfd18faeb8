//! At most one refresh per connection in this process; everybody else waits for that one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::domain::error::VaultError;
use crate::domain::id::ConnectionKey;
use crate::domain::ports::RenewalOutcome;

type Board = watch::Sender<Option<RenewalOutcome>>;

/// The refreshes under way.
pub(super) struct Flights {
    running: Mutex<HashMap<ConnectionKey, Arc<Board>>>,
    max_waiters: usize,
}

/// A refresh that somebody has to run. Dropping it, for whatever reason, lets the next one begin.
pub(super) struct Flight {
    key: ConnectionKey,
    board: Arc<Board>,
    flights: Arc<Flights>,
}

/// A seat in a refresh.
pub(super) struct Seat(watch::Receiver<Option<RenewalOutcome>>);

const LOOK_AGAIN: Duration = Duration::from_secs(1);

// === impl Flights ===

impl Flights {
    pub(super) fn new(max_waiters: usize) -> Arc<Self> {
        Arc::new(Self { running: Mutex::default(), max_waiters })
    }

    /// Takes a seat in the refresh of this connection. Whoever gets a flight with it has to run it.
    pub(super) fn join(self: &Arc<Self>, key: &ConnectionKey) -> Result<(Seat, Option<Flight>), VaultError> {
        let mut running = self.lock();
        if let Some(board) = running.get(key) {
            if board.receiver_count() >= self.max_waiters {
                return Err(VaultError::TooManyWaiters { retry_after: LOOK_AGAIN });
            }
            return Ok((Seat(board.subscribe()), None));
        }
        let (board, seat) = watch::channel(None);
        let board = Arc::new(board);
        running.insert(key.clone(), Arc::clone(&board));
        Ok((Seat(seat), Some(Flight { key: key.clone(), board, flights: Arc::clone(self) })))
    }

    /// Whether a refresh of this connection is under way.
    pub(super) fn is_running(&self, key: &ConnectionKey) -> bool {
        self.lock().contains_key(key)
    }

    /// What the refresh of this connection has announced so far.
    pub(super) fn announced(&self, key: &ConnectionKey) -> Option<RenewalOutcome> {
        self.lock().get(key).and_then(|board| board.borrow().clone())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ConnectionKey, Arc<Board>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Flight ===

impl Flight {
    pub(super) fn key(&self) -> &ConnectionKey {
        &self.key
    }

    /// Tells everybody who waits, and everybody who comes while the flight goes on.
    pub(super) fn announce(&self, outcome: RenewalOutcome) {
        self.board.send_replace(Some(outcome));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.flights.lock().remove(&self.key);
    }
}

// === impl Seat ===

impl Seat {
    /// Waits for the outcome.
    pub(super) async fn outcome(mut self, patience: Duration) -> RenewalOutcome {
        match tokio::time::timeout(patience, self.0.wait_for(Option::is_some)).await {
            Ok(Ok(outcome)) => {
                let lost = VaultError::Internal("an announcement was taken back");
                outcome.clone().unwrap_or(Err(lost))
            }
            Ok(Err(_)) => Err(VaultError::Internal("a refresh ended without an outcome")),
            Err(_) => Err(VaultError::Contended { retry_after: LOOK_AGAIN }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> ConnectionKey {
        ConnectionKey { tenant: "t".parse().unwrap(), user: "u".parse().unwrap(), platform: "p".parse().unwrap() }
    }

    #[tokio::test]
    async fn one_flies_and_the_others_get_its_outcome() {
        let flights = Flights::new(8);
        let (first, flight) = flights.join(&key()).unwrap();
        let flight = flight.unwrap();
        let (second, none) = flights.join(&key()).unwrap();
        assert!(none.is_none());
        flight.announce(Err(VaultError::Missing));
        drop(flight);
        for seat in [first, second] {
            assert!(matches!(seat.outcome(Duration::ZERO).await, Err(VaultError::Missing)));
        }
        assert!(flights.join(&key()).unwrap().1.is_some(), "the next flight may begin");
    }

    #[tokio::test]
    async fn waiters_are_capped() {
        let flights = Flights::new(2);
        let seats: Vec<_> = (0..2).map(|_| flights.join(&key()).unwrap()).collect();
        assert!(matches!(flights.join(&key()), Err(VaultError::TooManyWaiters { .. })));
        drop(seats);
        assert!(flights.join(&key()).is_ok());
    }

    #[tokio::test]
    async fn a_flight_that_crashes_does_not_leave_its_waiters_hanging() {
        let flights = Flights::new(8);
        let (seat, flight) = flights.join(&key()).unwrap();
        drop(flight);
        assert!(matches!(seat.outcome(Duration::from_secs(60)).await, Err(VaultError::Internal(_))));
    }
}
