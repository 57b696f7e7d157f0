//! Between the wire's types and milliseconds.

use prost_types::{Duration, Timestamp};

/// The wire's form of milliseconds since 1970.
pub fn timestamp(ms: u64) -> Timestamp {
    Timestamp {
        seconds: i64::try_from(ms / 1_000).unwrap_or(i64::MAX),
        nanos: (ms % 1_000) as i32 * 1_000_000,
    }
}

/// Milliseconds of a wire duration that is not negative, rounded up; `None` when it is negative or
/// out of the format's range.
pub fn millis(duration: &Duration) -> Option<u64> {
    let seconds = u64::try_from(duration.seconds).ok()?;
    let nanos = u64::try_from(duration.nanos)
        .ok()
        .filter(|nanos| *nanos < 1_000_000_000)?;
    seconds
        .checked_mul(1_000)?
        .checked_add(nanos.div_ceil(1_000_000))
}

/// Milliseconds since 1970 of the wire's form, rounded up; 0 before 1970.
pub fn since_1970(at: &Timestamp) -> u64 {
    let seconds = u64::try_from(at.seconds).unwrap_or(0);
    let nanos = u64::try_from(at.nanos).unwrap_or(0);
    let ms = seconds.saturating_mul(1_000);
    ms.saturating_add(nanos.div_ceil(1_000_000))
}

/// The wire's form of a duration in milliseconds.
pub fn duration_ms(ms: u64) -> Duration {
    Duration {
        seconds: i64::try_from(ms / 1_000).unwrap_or(i64::MAX),
        nanos: (ms % 1_000) as i32 * 1_000_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let of = |seconds, nanos| millis(&Duration { seconds, nanos });
        assert_eq!(of(1, 1), Some(1_001));
        assert_eq!(of(0, 0), Some(0));
        assert_eq!(of(-1, 0), None);
        assert_eq!(of(0, -1), None);
        assert_eq!(of(0, 1_000_000_000), None);
        assert_eq!(of(i64::MAX, 0), None);
        assert_eq!(millis(&duration_ms(1_500)), Some(1_500));
        for ms in [0, 1, 1_999] {
            assert_eq!(since_1970(&timestamp(ms)), ms);
        }
        let before = Timestamp {
            seconds: -5,
            nanos: 0,
        };
        assert_eq!(since_1970(&before), 0);
        assert_eq!(
            timestamp(1_250),
            Timestamp {
                seconds: 1,
                nanos: 250_000_000
            }
        );
    }
}
