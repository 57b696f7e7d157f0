//! What is wrong with the limits of a queue.

use super::spec::{Checks, MAX_MESSAGE_BYTES, QueueSpec};
use crate::shard::Overflow;

/// Messages accepted per second at most that a queue may ask for.
pub const MAX_RATE: u32 = 10_000_000;

impl Checks {
    pub(super) fn limits(&mut self, spec: &QueueSpec) {
        let partitions = u64::from(spec.partitions);
        let largest = u64::from(spec.max_message_bytes);
        let in_flight = u64::from(spec.max_in_flight);
        self.range(
            "limits.max_message_bytes",
            largest,
            1,
            u64::from(MAX_MESSAGE_BYTES),
        );
        self.range("limits.max_in_flight", in_flight, 1, 1_000_000);
        self.share("limits.max_messages", spec.max_messages, partitions);
        self.share("limits.max_in_flight", in_flight, partitions);
        if spec.max_bytes != 0 && spec.max_bytes / partitions.max(1) < largest {
            let least = largest.saturating_mul(partitions);
            let why = format!(
                "{} is less than a largest message per partition: at least {least}, 0: no limit",
                spec.max_bytes
            );
            self.add("limits.max_bytes", why);
        }
        let rate = u64::from(spec.rate_per_second);
        self.range("limits.rate_per_second", rate, 0, u64::from(MAX_RATE));
        self.overflow(spec);
    }

    fn overflow(&mut self, spec: &QueueSpec) {
        let field = "limits.overflow";
        if spec.overflow != Overflow::Reject && spec.max_messages == 0 && spec.max_bytes == 0 {
            let why = "without max_messages and max_bytes a queue never overflows: set one of them";
            self.add(field, why.into());
        }
        if spec.overflow == Overflow::DeadLetterOldest && spec.dead_letter.is_none() {
            let why = "to be dead-lettered, messages need a dead-letter queue";
            self.add(field, why.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::validate;

    #[test]
    fn an_overflow_policy_needs_a_limit_and_a_place_for_dead_letters() {
        let said = |spec: &QueueSpec| match validate(spec) {
            Ok(()) => Vec::new(),
            Err(found) => found.iter().map(|it| it.field).collect(),
        };
        let spec = QueueSpec {
            overflow: Overflow::DeadLetterOldest,
            ..QueueSpec::default()
        };
        assert_eq!(said(&spec), ["limits.overflow", "limits.overflow"]);
        let limited = QueueSpec {
            max_messages: 1,
            dead_letter: Some("dead".into()),
            ..spec
        };
        assert_eq!(said(&limited), Vec::<&str>::new());
        let ring = QueueSpec {
            max_bytes: 1 << 20,
            overflow: Overflow::DropOldest,
            ..QueueSpec::default()
        };
        assert_eq!(said(&ring), Vec::<&str>::new());
    }
}
