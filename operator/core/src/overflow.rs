//! Whether a queue holds as much as it may.
use roadstead_proto::v1::{QueueLimits, QueueSpec, QueueStats};

use crate::conditions::Finding;

const KIND: &str = "Overflowing";
/// A queue is called full from here: messages come in sizes, and partitions fill unevenly.
const FULL_PERCENT: u128 = 95;

/// The condition `Overflowing`, from what a queue is and what it holds. Its message has no numbers
/// that move: each change would be a write.
pub fn overflowing(spec: &QueueSpec, stats: &QueueStats) -> Finding {
    let limits = spec.limits.unwrap_or_default();
    let QueueLimits {
        max_messages,
        max_bytes,
        ..
    } = limits;
    let live = [stats.ready, stats.in_flight, stats.delayed, stats.blocked];
    let messages = live.into_iter().fold(0, u64::saturating_add);
    let full = [
        ("MaxMessages", "limits.maxMessages", max_messages, messages),
        ("MaxBytes", "limits.maxBytes", max_bytes, stats.bytes),
    ];
    let partitions = u64::from(spec.partitions.max(1));
    let full = full
        .into_iter()
        .find(|(_, _, limit, count)| is_full(*limit, partitions, *count));
    if let Some((reason, field, ..)) = full {
        let message = format!(
            "{FULL_PERCENT} % of {field} or more are taken: partitions that are full refuse sends \
             with RESOURCE_EXHAUSTED until messages are settled or the limit is raised"
        );
        return Finding::new(KIND, true, reason, message);
    }
    if stats.partitions_unavailable > 0 {
        let message = "partitions have no leader that answers, and may be full";
        return Finding::unknown(KIND, "PartitionsUnavailable", message);
    }
    let message = match (max_messages, max_bytes) {
        (0, 0) => "the queue has no limits",
        _ => "there is room within spec.limits",
    };
    Finding::new(KIND, false, "WithinLimits", message)
}

/// Each partition has its share of the limit, rounded down.
fn is_full(limit: u64, partitions: u64, count: u64) -> bool {
    let room = u128::from((limit / partitions).max(1)) * u128::from(partitions);
    limit > 0 && u128::from(count) * 100 >= room * FULL_PERCENT
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(max_messages: u64, max_bytes: u64, partitions: u32) -> QueueSpec {
        QueueSpec {
            partitions,
            limits: Some(QueueLimits {
                max_messages,
                max_bytes,
                ..QueueLimits::default()
            }),
            ..QueueSpec::default()
        }
    }

    fn holds(ready: u64, bytes: u64) -> QueueStats {
        QueueStats {
            ready,
            bytes,
            ..QueueStats::default()
        }
    }

    #[test]
    fn every_live_message_counts() {
        let stats = QueueStats {
            ready: 25,
            in_flight: 25,
            delayed: 25,
            blocked: 25,
            ..QueueStats::default()
        };
        let full = overflowing(&spec(100, 0, 1), &stats);
        assert_eq!((full.holds, full.reason), (Some(true), "MaxMessages"));
        assert!(full.message.contains("limits.maxMessages"));
        assert_eq!(overflowing(&spec(200, 0, 1), &stats).holds, Some(false));
    }

    #[test]
    fn bytes_count_too_and_no_limit_is_none() {
        let full = overflowing(&spec(0, 1_000, 1), &holds(1, 950));
        assert_eq!((full.holds, full.reason), (Some(true), "MaxBytes"));
        assert_eq!(
            overflowing(&spec(0, 1_000, 1), &holds(1, 949)).holds,
            Some(false)
        );
        let boundless = overflowing(&QueueSpec::default(), &holds(u64::MAX, u64::MAX));
        assert_eq!(
            (boundless.holds, boundless.reason),
            (Some(false), "WithinLimits")
        );
    }

    /// 10 over 4 partitions are 2 each: with 8 nothing more is taken.
    #[test]
    fn shares_are_rounded_down() {
        assert_eq!(overflowing(&spec(10, 0, 4), &holds(8, 0)).holds, Some(true));
        assert_eq!(
            overflowing(&spec(10, 0, 4), &holds(7, 0)).holds,
            Some(false)
        );
    }

    #[test]
    fn what_is_missing_is_not_called_room() {
        let missing = QueueStats {
            partitions_unavailable: 1,
            ..holds(1, 0)
        };
        assert_eq!(overflowing(&spec(100, 0, 2), &missing).holds, None);
        let full = QueueStats {
            ready: 100,
            ..missing
        };
        assert_eq!(overflowing(&spec(100, 0, 2), &full).holds, Some(true));
    }
}
