//! How long to wait before an object is tried again: longer each time, never in step.
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube::{Resource, ResourceExt};

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(5);

/// How an object failed.
#[derive(Debug)]
struct Failure {
    count: u32,
    said: String,
    until: Instant,
}

/// What follows from a failure.
#[derive(Debug, PartialEq, Eq)]
pub struct Failed {
    /// It is tried again after this time.
    pub wait: Duration,
    /// It did not fail so last time.
    pub is_new: bool,
}

/// Failures in a row, by object.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: Mutex<BTreeMap<String, Failure>>,
}

impl Backoff {
    /// Counts a failure of the object, and what was said of it. `chance` is 0.0..1.0.
    pub fn failed(&self, object: &str, said: &str, (chance, now): (f64, Instant)) -> Failed {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let before = failures.get(object);
        let count = before.map_or(0, |before| before.count).saturating_add(1);
        let wait = wait(count, chance);
        let is_new = before.is_none_or(|before| before.said != said);
        let failure = Failure {
            count,
            said: said.to_owned(),
            until: now + wait,
        };
        failures.insert(object.to_owned(), failure);
        Failed { wait, is_new }
    }

    /// Whether the object failed and is not to be tried again yet.
    pub fn rests(&self, object: &str, now: Instant) -> bool {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures
            .get(object)
            .is_some_and(|failure| now < failure.until)
    }

    /// The object succeeded or is gone.
    pub fn succeeded(&self, object: &str) {
        self.failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(object);
    }

    /// Objects that failed last time.
    pub fn failing(&self) -> usize {
        self.failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }
}

/// What an object is called among the failures.
pub fn key<K: Resource<DynamicType = ()>>(object: &K) -> String {
    let namespace = object.namespace().unwrap_or_default();
    format!("{} {namespace}/{}", K::kind(&()), object.name_any())
}

/// Between half and all of a time that doubles with each failure.
fn wait(failures: u32, chance: f64) -> Duration {
    let longest = FIRST
        .saturating_mul(1 << failures.saturating_sub(1).min(20))
        .min(LONGEST);
    longest.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
}

/// This time, give or take a tenth.
pub fn jitter(time: Duration) -> Duration {
    time.mul_f64(0.9 + 0.2 * rand::random::<f64>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_a_bound_and_starts_anew() {
        let backoff = Backoff::default();
        let now = Instant::now();
        let wait = |object, chance| backoff.failed(object, "no", (chance, now)).wait;
        let waits: Vec<_> = (0..12).map(|_| wait("a", 1.0).as_secs()).collect();
        assert_eq!(waits[..5], [1, 2, 4, 8, 16]);
        assert_eq!(waits[11], 300);
        let half = Duration::from_millis(500);
        assert_eq!(wait("b", 0.0), half, "each has its own count");
        assert_eq!(backoff.failing(), 2);
        backoff.succeeded("a");
        assert_eq!(wait("a", 1.0), FIRST);
    }

    #[test]
    fn what_fails_as_before_rests_and_is_not_told_again() {
        let backoff = Backoff::default();
        let start = Instant::now();
        let fails = |said| backoff.failed("a", said, (1.0, start)).is_new;
        assert!(fails("no"));
        assert!(!fails("no"), "as before");
        assert!(fails("never"));
        let rests = |seconds| backoff.rests("a", start + Duration::from_secs(seconds));
        assert!(rests(3) && !rests(4) && !backoff.rests("b", start));
        backoff.succeeded("a");
        assert!(fails("never") && rests(0) && !rests(1));
    }
}
