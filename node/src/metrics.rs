//! Numbers that any part of a node may count, read by whoever shows them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds in microseconds of a latency histogram; the last bucket has none.
pub const LATENCY_BUCKETS_MICROS: [u64; 14] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 5_000_000,
];

/// How long something took, as a histogram. Clones share it; noting takes three atomic additions.
#[derive(Debug, Clone, Default)]
pub struct Latency(Arc<Cells>);

#[derive(Debug, Default)]
struct Cells {
    micros: AtomicU64,
    buckets: [AtomicU64; LATENCY_BUCKETS_MICROS.len() + 1],
}

/// A histogram at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LatencyNumbers {
    /// Sum of all times in microseconds.
    pub micros: u64,
    /// One count per bound of [`LATENCY_BUCKETS_MICROS`], then the rest.
    pub buckets: [u64; LATENCY_BUCKETS_MICROS.len() + 1],
}

impl Latency {
    /// Notes one time.
    pub fn note(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = LATENCY_BUCKETS_MICROS.partition_point(|bound| *bound < micros);
        self.0.micros.fetch_add(micros, Ordering::Relaxed);
        self.0.buckets[bucket].fetch_add(1, Ordering::Relaxed);
    }

    /// Reads it.
    pub fn read(&self) -> LatencyNumbers {
        LatencyNumbers {
            micros: self.0.micros.load(Ordering::Relaxed),
            buckets: std::array::from_fn(|n| self.0.buckets[n].load(Ordering::Relaxed)),
        }
    }
}

impl LatencyNumbers {
    /// Adds another histogram to this one.
    pub fn add(&mut self, other: &Self) {
        self.micros += other.micros;
        for (sum, count) in self.buckets.iter_mut().zip(other.buckets) {
            *sum += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_counts_in_the_bucket_whose_bound_it_does_not_pass() {
        let latency = Latency::default();
        for micros in [0, 100, 101, 5_000_000, 5_000_001] {
            latency.note(Duration::from_micros(micros));
        }
        let mut numbers = latency.clone().read();
        assert_eq!(numbers.micros, 10_000_202);
        assert_eq!((numbers.buckets[0], numbers.buckets[1]), (2, 1));
        assert_eq!((numbers.buckets[13], numbers.buckets[14]), (1, 1));
        numbers.add(&latency.read());
        assert_eq!((numbers.buckets[0], numbers.micros), (4, 20_000_404));
    }
}
