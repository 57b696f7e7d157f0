//! Waiting longer after each failure, never all at once.

use std::time::Duration;

/// Exponential back-off with jitter: the wait before try `n` is drawn from the upper half of
/// `first * 2^n`, at most `max`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    pub first: Duration,
    pub max: Duration,
}

impl Backoff {
    /// For messages that a server refused for now.
    pub const SEND: Self = Self {
        first: Duration::from_millis(40),
        max: Duration::from_secs(1),
    };
    /// For streams and connections that broke.
    pub const CONNECT: Self = Self {
        first: Duration::from_millis(20),
        max: Duration::from_secs(1),
    };

    /// The wait after `failures` failures in a row (1 after the first).
    pub fn wait(self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(16);
        let most = self.first.saturating_mul(1 << doublings).min(self.max);
        most.mul_f64(rand::random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_within_its_bounds() {
        for (failures, most_ms) in [(0, 40), (1, 40), (2, 80), (5, 640), (6, 1000), (90, 1000)] {
            for _ in 0..100 {
                let wait = Backoff::SEND.wait(failures);
                assert!(
                    wait <= Duration::from_millis(most_ms),
                    "{failures}: {wait:?}"
                );
                assert!(
                    wait >= Duration::from_millis(most_ms / 2),
                    "{failures}: {wait:?}"
                );
            }
        }
    }
}
