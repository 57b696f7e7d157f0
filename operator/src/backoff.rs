//! How long to wait before an object is tried again: longer each time, never in step.
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(5);

/// Failures in a row, by object.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: Mutex<BTreeMap<String, u32>>,
}

impl Backoff {
    /// Counts a failure of the object; returns how long to wait. `chance` is 0.0..1.0.
    pub fn failed(&self, object: &str, chance: f64) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(object.to_owned()).or_insert(0);
        *count = count.saturating_add(1);
        wait(*count, chance)
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
        let waits: Vec<_> = (0..12)
            .map(|_| backoff.failed("a", 1.0).as_secs())
            .collect();
        assert_eq!(waits[..5], [1, 2, 4, 8, 16]);
        assert_eq!(waits[11], 300);
        assert_eq!(
            backoff.failed("b", 0.0),
            Duration::from_millis(500),
            "each has its own count"
        );
        assert_eq!(backoff.failing(), 2);
        backoff.succeeded("a");
        assert_eq!(backoff.failed("a", 1.0), FIRST);
    }
}
