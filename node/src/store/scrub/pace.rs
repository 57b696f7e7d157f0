//! How fast a background reader reads.

use std::time::Duration;

/// A busy disk answers late: a reader rests this many times as long as it answered.
const YIELD: u32 = 3;

/// Bytes a second at most; less where the disk has other work.
#[derive(Debug, Clone, Copy)]
pub struct Pace(pub u64);

impl Pace {
    /// How long to rest after reading `bytes`, which took the disk some time.
    pub fn pause(self, bytes: u64, took: Duration) -> Duration {
        let micros = bytes.saturating_mul(1_000_000) / self.0.max(1);
        let due = Duration::from_micros(micros).saturating_sub(took);
        due.max(took.saturating_mul(YIELD))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_holds_and_a_busy_disk_is_left_alone() {
        let (pace, ms) = (Pace(1 << 20), Duration::from_millis);
        assert_eq!(pace.pause(1 << 20, ms(0)), ms(1_000));
        assert_eq!(
            pace.pause(1 << 20, ms(100)),
            ms(900),
            "the read took its time"
        );
        assert_eq!(pace.pause(1 << 20, ms(400)), ms(1_200));
        assert_eq!(Pace(u64::MAX).pause(1 << 20, ms(0)), ms(0));
    }
}
