//! When `status.sample` of a Queue is worth a write.
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use roadstead_crds::QueueSample;
use roadstead_proto::v1::QueueStats;

/// A sample is written at most this often, in seconds.
pub const INTERVAL_SECONDS: i64 = 30;

/// The sample that these counts make.
pub fn sample(stats: &QueueStats, now: Timestamp) -> QueueSample {
    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let oldest = stats
        .oldest_enqueued_at
        .as_ref()
        .and_then(|at| Timestamp::from_second(at.seconds).ok())
        .map(Time);
    QueueSample {
        at: Time(now),
        ready: number(stats.ready),
        in_flight: number(stats.in_flight),
        delayed: number(stats.delayed),
        dead: number(stats.dead_lettered_total),
        oldest_enqueued_at: oldest,
    }
}

/// Whether `new` shall replace `old`: a count moved by more than a tenth, and `old` is old enough.
pub fn worth_writing(old: Option<&QueueSample>, new: &QueueSample) -> bool {
    let Some(old) = old else { return true };
    if new.at.0.as_second() - old.at.0.as_second() < INTERVAL_SECONDS {
        return false;
    }
    let counts = [
        (old.ready, new.ready),
        (old.in_flight, new.in_flight),
        (old.delayed, new.delayed),
        (old.dead, new.dead),
    ];
    counts.iter().any(|&(old, new)| moved(old, new))
}

fn moved(old: i64, new: i64) -> bool {
    old.abs_diff(new).saturating_mul(10) > old.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(ready: u64, second: i64) -> QueueSample {
        let stats = QueueStats {
            ready,
            ..QueueStats::default()
        };
        sample(&stats, Timestamp::from_second(second).unwrap())
    }

    #[test]
    fn a_tenth_and_thirty_seconds() {
        assert!(worth_writing(None, &taken(0, 0)));
        let old = taken(100, 0);
        assert!(!worth_writing(Some(&old), &taken(200, 29)), "too early");
        assert!(
            !worth_writing(Some(&old), &taken(110, 30)),
            "a tenth is not more than a tenth"
        );
        assert!(worth_writing(Some(&old), &taken(111, 30)));
        assert!(worth_writing(Some(&old), &taken(0, 30)));
        assert!(
            worth_writing(Some(&taken(0, 0)), &taken(1, 30)),
            "the first message shows"
        );
        assert!(
            !worth_writing(Some(&taken(0, 0)), &taken(0, 3_000)),
            "nothing moved"
        );
    }
}
