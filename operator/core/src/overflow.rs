//! Whether a queue holds as much as it may.
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use roadstead_proto::v1::{QueueLimits, QueueSpec, QueueStats};

use crate::conditions::Finding;

const KIND: &str = "Overflowing";
/// A queue is called full from here: messages come in sizes, and partitions fill unevenly.
const FULL_PERCENT: u128 = 95;
/// And no more from below here: at its limit it would else change with every look.
const ROOM_PERCENT: u128 = 85;

/// A limit, and how much of it is taken.
struct Fill {
    reason: &'static str,
    field: &'static str,
    percent: u128,
}

/// The condition `Overflowing`, from what a queue is, what it holds, and the conditions so far. Its
/// message has no numbers that move: each change would be a write.
pub fn overflowing(spec: &QueueSpec, stats: &QueueStats, before: &[Condition]) -> Finding {
    let fills = fills(spec, stats);
    let last = before
        .iter()
        .find(|condition| condition.type_ == KIND && condition.status == "True")
        .map(|condition| condition.reason.as_str());
    let missing = stats.partitions_unavailable > 0;
    if let Some(full) = full(&fills, last, missing) {
        let field = full.field;
        let message = format!(
            "{FULL_PERCENT} % of {field} or more were taken, and not less than {ROOM_PERCENT} % \
             since: partitions that are full refuse sends with RESOURCE_EXHAUSTED until messages \
             are settled or the limit is raised"
        );
        return Finding::new(KIND, true, full.reason, message);
    }
    if missing {
        let message = "partitions have no leader that answers, and may be full";
        return Finding::unknown(KIND, "PartitionsUnavailable", message);
    }
    let message = if fills.is_empty() {
        "the queue has no limits"
    } else {
        "there is room within spec.limits"
    };
    Finding::new(KIND, false, "WithinLimits", message)
}

/// The limit that is reached. Of a queue that was full for the reason `last`, that one if it can,
/// and what is missing is not called room.
fn full<'a>(fills: &'a [Fill], last: Option<&str>, missing: bool) -> Option<&'a Fill> {
    let from = last.map_or(FULL_PERCENT, |_| ROOM_PERCENT);
    let over = |fill: &&Fill| fill.percent >= from;
    let named = fills.iter().find(|fill| Some(fill.reason) == last);
    named
        .filter(over)
        .or_else(|| fills.iter().filter(over).max_by_key(|fill| fill.percent))
        .or_else(|| named.filter(|_| missing))
}

fn fills(spec: &QueueSpec, stats: &QueueStats) -> Vec<Fill> {
    let QueueLimits {
        max_messages,
        max_bytes,
        ..
    } = spec.limits.unwrap_or_default();
    let limits = [
        (
            "MaxMessages",
            "limits.maxMessages",
            max_messages,
            stats.messages,
        ),
        ("MaxBytes", "limits.maxBytes", max_bytes, stats.bytes),
    ];
    let partitions = u64::from(spec.partitions.max(1));
    limits
        .into_iter()
        .filter(|(_, _, limit, _)| *limit > 0)
        .map(|(reason, field, limit, count)| Fill {
            reason,
            field,
            percent: percent(limit, partitions, count),
        })
        .collect()
}

/// Each partition has its share of the limit, rounded down.
fn percent(limit: u64, partitions: u64, count: u64) -> u128 {
    let room = u128::from((limit / partitions).max(1)) * u128::from(partitions);
    u128::from(count) * 100 / room
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::conditions::merge;

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

    fn holds(messages: u64, bytes: u64) -> QueueStats {
        QueueStats {
            messages,
            bytes,
            ..QueueStats::default()
        }
    }

    fn first(spec: &QueueSpec, stats: &QueueStats) -> (Option<bool>, &'static str) {
        let found = overflowing(spec, stats, &[]);
        (found.holds, found.reason)
    }

    const NONE: (Option<bool>, &str) = (Some(false), "WithinLimits");
    const MESSAGES: (Option<bool>, &str) = (Some(true), "MaxMessages");
    const BYTES: (Option<bool>, &str) = (Some(true), "MaxBytes");
    const UNKNOWN: (Option<bool>, &str) = (None, "PartitionsUnavailable");

    #[test]
    fn what_any_group_has_to_settle_counts() {
        let stats = QueueStats {
            ready: 25,
            messages: 100,
            ..QueueStats::default()
        };
        assert_eq!(first(&spec(100, 0, 1), &stats), MESSAGES);
        assert_eq!(first(&spec(200, 0, 1), &stats), NONE);
    }

    /// 10 over 4 partitions are 2 each: with 8 nothing more is taken.
    #[test]
    fn limits_are_of_messages_or_bytes_and_shares_are_rounded_down() {
        let table = [
            (spec(0, 1_000, 1), holds(1, 950), BYTES),
            (spec(0, 1_000, 1), holds(1, 949), NONE),
            (spec(10, 0, 4), holds(8, 0), MESSAGES),
            (spec(10, 0, 4), holds(7, 0), NONE),
            (spec(1, 0, 4), holds(3, 0), NONE),
            (spec(1, 0, 4), holds(4, 0), MESSAGES),
            (QueueSpec::default(), holds(u64::MAX, u64::MAX), NONE),
        ];
        for (spec, stats, wanted) in table {
            assert_eq!(first(&spec, &stats), wanted, "{spec:?} {stats:?}");
        }
    }

    /// Looks at one queue with limits of 100 messages and 1,000 bytes, one after another.
    #[test]
    fn once_full_it_stays_so_until_there_is_room_again() {
        let looks = [
            (holds(94, 0), 0, NONE),
            (holds(95, 0), 0, MESSAGES),
            (holds(94, 0), 0, MESSAGES),
            (holds(85, 990), 0, MESSAGES),
            (holds(84, 850), 0, BYTES),
            (holds(99, 849), 0, MESSAGES),
            (holds(84, 849), 0, NONE),
            (holds(94, 940), 0, NONE),
            (holds(0, 940), 1, UNKNOWN),
            (holds(100, 0), 1, MESSAGES),
            (holds(10, 0), 1, MESSAGES),
            (holds(10, 0), 0, NONE),
        ];
        let mut conditions = Vec::new();
        for (number, (stats, partitions_unavailable, wanted)) in looks.into_iter().enumerate() {
            let stats = QueueStats {
                partitions_unavailable,
                ..stats
            };
            let found = overflowing(&spec(100, 1_000, 1), &stats, &conditions);
            assert_eq!(
                (found.holds, found.reason),
                wanted,
                "look {number}: {stats:?}"
            );
            conditions = merge(&conditions, &[found], None, Timestamp::UNIX_EPOCH);
        }
    }

    #[test]
    fn the_message_names_the_limit_and_how_full_it_is_and_does_not_move() {
        let full = overflowing(&spec(100, 0, 1), &holds(97, 0), &[]);
        let words = "95 % of limits.maxMessages or more were taken, and not less than 85 % since";
        assert!(full.message.starts_with(words), "{}", full.message);
        let before = merge(
            &[],
            std::slice::from_ref(&full),
            None,
            Timestamp::UNIX_EPOCH,
        );
        let later = overflowing(&spec(100, 0, 1), &holds(86, 0), &before);
        assert_eq!(later, full, "nothing is written");
        let raised = overflowing(&spec(0, 0, 1), &holds(97, 0), &before);
        assert_eq!(
            (raised.holds, raised.message.as_str()),
            (Some(false), "the queue has no limits")
        );
    }
}
