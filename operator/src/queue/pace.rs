//! At most so many writes of samples per second, over all queues.
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

const PER_SECOND: u32 = 20;

/// Counts the writes of the running second.
#[derive(Debug, Default)]
pub struct Pace {
    second: Mutex<(i64, u32)>,
}

impl Pace {
    /// Whether one more write fits in.
    pub fn may(&self, now: Timestamp) -> bool {
        let mut second = self.second.lock().unwrap_or_else(PoisonError::into_inner);
        if second.0 != now.as_second() {
            *second = (now.as_second(), 0);
        }
        second.1 += 1;
        second.1 <= PER_SECOND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_in_a_second() {
        let (pace, now) = (Pace::default(), Timestamp::UNIX_EPOCH);
        let allowed = (0..100).filter(|_| pace.may(now)).count();
        assert_eq!(allowed, 20);
        assert!(pace.may(now + jiff::SignedDuration::from_secs(1)));
    }
}
