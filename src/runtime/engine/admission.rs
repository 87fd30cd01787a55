//! How many generations the engine takes on, and when to try again when that is too many.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::runtime::Priority;

/// Assumed until a generation has been measured.
const FIRST_GUESS: Duration = Duration::from_secs(10);
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Weight of the newest measurement in the moving average.
const NEWEST: f64 = 0.2;

/// The bound on generations in the engine, waiting and running together.
///
/// A crisis has `max_sequences` further places of its own: it is never refused because of others.
#[derive(Debug)]
pub struct Admission {
    places: Arc<Semaphore>,
    crisis_places: Arc<Semaphore>,
    max_sequences: usize,
    /// Moving average of the time from first computation to the end.
    service: Mutex<Duration>,
}

/// A place in the engine, given back on drop.
#[derive(Debug)]
pub struct Ticket {
    _place: OwnedSemaphorePermit,
}

impl Admission {
    pub fn new(max_sequences: usize, queue_capacity: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(max_sequences + queue_capacity)),
            crisis_places: Arc::new(Semaphore::new(max_sequences)),
            max_sequences,
            service: Mutex::new(FIRST_GUESS),
        }
    }

    /// A place, or how long to wait before asking again.
    pub fn enter(&self, priority: Priority) -> Result<Ticket, Duration> {
        let place = Arc::clone(&self.places).try_acquire_owned().or_else(|full| match priority {
            Priority::Crisis => Arc::clone(&self.crisis_places).try_acquire_owned(),
            Priority::Interactive | Priority::Batch => Err(full),
        });
        place.map(|place| Ticket { _place: place }).map_err(|_| self.retry_after())
    }

    /// A generation ended that long after its first computation.
    pub fn served_in(&self, duration: Duration) {
        let mut service = self.service.lock().unwrap_or_else(PoisonError::into_inner);
        *service = service.mul_f64(1.0 - NEWEST) + duration.mul_f64(NEWEST);
    }

    /// `max_sequences` generations end in the time that one takes, so a place becomes free that much sooner.
    fn retry_after(&self) -> Duration {
        let service = *self.service.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = service.div_f64(self.max_sequences as f64);
        Duration::from_secs(wait.as_secs_f64().ceil() as u64).clamp(SHORTEST_WAIT, LONGEST_WAIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_and_waiting_are_bounded_together() {
        let admission = Admission::new(2, 1);
        let tickets: Vec<Ticket> = (0..3).map(|_| admission.enter(Priority::Interactive).unwrap()).collect();
        assert!(admission.enter(Priority::Interactive).is_err());
        assert!(admission.enter(Priority::Batch).is_err());
        drop(tickets);
        assert!(admission.enter(Priority::Batch).is_ok());
    }

    #[test]
    fn a_crisis_is_not_refused_because_of_others() {
        let admission = Admission::new(1, 0);
        let _other = admission.enter(Priority::Interactive).unwrap();
        let _crisis = admission.enter(Priority::Crisis).unwrap();
        assert!(admission.enter(Priority::Crisis).is_err());
    }

    #[test]
    fn the_wait_follows_the_measured_rate() {
        let check = |max_sequences, service, expected| {
            let admission = Admission::new(max_sequences, 0);
            (0..100).for_each(|_| admission.served_in(Duration::from_secs(service)));
            let _all: Vec<Ticket> = (0..max_sequences).map(|_| admission.enter(Priority::Batch).unwrap()).collect();
            assert_eq!(admission.enter(Priority::Batch).unwrap_err(), Duration::from_secs(expected));
        };
        check(16, 0, 1);
        check(1, 20, 20);
        check(8, 39, 5);
        check(1, 10_000, 60);
    }
}
