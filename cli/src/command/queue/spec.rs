//! A queue's specification as options.

use std::time::Duration;

use clap::{Args, ValueEnum, value_parser};
use roadstead_client::proto::{
    Backoff, BackoffType, DeadLetterPolicy, DeliveryGuarantee, ExpiryAction, Ordering,
    OverflowPolicy, QueueLimits, QueueSpec,
};

use super::deduplication::Deduplication;
use super::fairness::Fairness;
use super::groups::Groups;
use crate::units;

/// In which order messages are delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Order {
    /// No order is promised.
    None,
    /// Messages with the same key in order, one at a time.
    PerKey,
    /// All messages in order; needs one partition.
    Strict,
}

/// How the wait after a delivery that failed grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Growth {
    /// There is no wait.
    None,
    /// It stays.
    Fixed,
    /// By the initial wait each time.
    Linear,
    /// It doubles.
    Exponential,
}

/// What becomes of a message that has waited too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnExpiry {
    /// It is gone.
    Drop,
    /// It goes to the dead-letter queue.
    DeadLetter,
}

/// What becomes of a message beyond a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Overflow {
    /// It is refused.
    Reject,
    /// It is taken, and the oldest ready one is gone.
    DropOldest,
    /// It is taken, and the oldest ready one goes to the dead-letter queue.
    DeadLetterOldest,
}

/// What the server fills in for a queue that is made; shown below the options.
pub const DEFAULTS: &str = "Defaults: 1 partition, no order, at least once, a lease of 30s, a time \
    to live of 4d, 5 deliveries with an exponential backoff of 1s to 5m, no dead-letter queue, no \
    limit of messages, bytes and rate, messages of 256Ki, 20000 deliveries in flight, an aging of \
    60s, no \
    deduplication but by producers' numbers (where there is one: ids for 5m, 1000000 of them).";

/// A size that 0 does not mean the default of.
fn message_bytes(text: &str) -> Result<u32, String> {
    match u32::try_from(units::bytes(text)?) {
        Ok(bytes @ 1..=0x0100_0000) => Ok(bytes),
        _ => Err("it must be 1..16Mi".to_owned()),
    }
}

/// What a queue promises. What is not named is left as it is, or to the default.
#[derive(Debug, Default, PartialEq, Eq, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct Spec {
    /// Partitions, 1..1024; only grows
    #[arg(long, value_parser = value_parser!(u32).range(1..=1024), allow_negative_numbers = true)]
    partitions: Option<u32>,
    /// Order of delivery; cannot change
    #[arg(long, value_enum)]
    ordering: Option<Order>,
    /// Each key stays with one streaming consumer of a group; needs --ordering per-key, cannot
    /// change
    #[arg(long)]
    sticky_keys: bool,
    /// Ack by delivery: a message may be lost with its consumer, and is never delivered twice
    #[arg(long)]
    at_most_once: bool,
    /// What is delivered is leased until it is acked; takes --at-most-once back
    #[arg(long, conflicts_with = "at_most_once")]
    at_least_once: bool,
    /// How long a delivery is leased, 0s..12h
    #[arg(long, value_parser = units::duration, allow_hyphen_values = true)]
    lease: Option<Duration>,
    /// How long a message waits at most, 1s..365d
    #[arg(long, value_parser = units::duration, allow_hyphen_values = true)]
    time_to_live: Option<Duration>,
    /// What becomes of it then; dead-letter needs a dead-letter queue
    #[arg(long, value_enum)]
    on_expiry: Option<OnExpiry>,
    /// Deliveries before a message is dead-lettered, 1..1000
    #[arg(long, value_parser = value_parser!(u32).range(1..=1000), allow_negative_numbers = true)]
    max_deliveries: Option<u32>,
    /// How the wait after a delivery that failed grows
    #[arg(long, value_enum)]
    backoff: Option<Growth>,
    /// Wait after the first failure, 0s..12h
    #[arg(long, value_parser = units::duration, allow_hyphen_values = true)]
    backoff_initial: Option<Duration>,
    /// Longest wait, up to 12h
    #[arg(long, value_parser = units::duration, allow_hyphen_values = true)]
    backoff_max: Option<Duration>,
    /// A wait is shorter by up to this percentage, 0..100
    #[arg(long, value_parser = value_parser!(u32).range(0..=100), allow_negative_numbers = true)]
    backoff_jitter: Option<u32>,
    /// Queue of the same namespace for what failed too often; without one it is dropped
    #[arg(long, value_name = "QUEUE")]
    dead_letter: Option<String>,
    /// What failed too often is dropped; takes --dead-letter back
    #[arg(long, conflicts_with = "dead_letter")]
    no_dead_letter: bool,
    /// Live messages at most; 0: no limit
    #[arg(long, allow_negative_numbers = true)]
    max_messages: Option<u64>,
    /// Bytes of live messages at most, for example 10Gi; 0: no limit
    #[arg(long, value_parser = units::bytes, allow_hyphen_values = true)]
    max_bytes: Option<u64>,
    /// Largest message, 1..16Mi
    #[arg(long, value_parser = message_bytes, allow_hyphen_values = true)]
    max_message_bytes: Option<u32>,
    /// Deliveries in flight at most, of all groups together, 1..1000000
    #[arg(long, value_parser = value_parser!(u32).range(1..=1_000_000))]
    #[arg(allow_negative_numbers = true)]
    max_in_flight: Option<u32>,
    /// Messages accepted per second at most, up to 10000000; 0: no limit
    #[arg(long, value_parser = value_parser!(u32).range(0..=10_000_000))]
    #[arg(allow_negative_numbers = true)]
    max_rate: Option<u32>,
    /// What becomes of a message beyond --max-messages or --max-bytes
    #[arg(long, value_enum)]
    overflow: Option<Overflow>,
    /// How long a message can be replayed after all groups have settled it, 0s..365d
    #[arg(long, value_parser = units::duration, allow_hyphen_values = true)]
    retain_after_ack: Option<Duration>,
    #[command(flatten)]
    groups: Groups,
    #[command(flatten)]
    deduplication: Deduplication,
    #[command(flatten)]
    fairness: Fairness,
}

impl Spec {
    /// Whether nothing is named.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The options, as they are written.
    pub fn options() -> String {
        let command = Self::augment_args(clap::Command::new("queue"));
        let options = command.get_arguments().filter_map(clap::Arg::get_long);
        let options: Vec<String> = options.map(|name| format!("--{name}")).collect();
        options.join(", ")
    }

    /// Writes what is named into `spec`.
    pub fn apply(self, spec: &mut QueueSpec) {
        if let Some(partitions) = self.partitions {
            spec.partitions = partitions;
        }
        if let Some(order) = self.ordering {
            spec.set_ordering(match order {
                Order::None => Ordering::None,
                Order::PerKey => Ordering::PerKey,
                Order::Strict => Ordering::Strict,
            });
        }
        spec.sticky_keys |= self.sticky_keys;
        if self.at_most_once {
            spec.set_delivery(DeliveryGuarantee::AtMostOnce);
        }
        if self.at_least_once {
            spec.set_delivery(DeliveryGuarantee::AtLeastOnce);
        }
        let duration = |duration: Duration| prost_types::Duration::try_from(duration).ok();
        spec.lease = self.lease.and_then(duration).or(spec.lease);
        spec.time_to_live = self.time_to_live.and_then(duration).or(spec.time_to_live);
        if let Some(action) = self.on_expiry {
            spec.set_expiry_action(match action {
                OnExpiry::Drop => ExpiryAction::Drop,
                OnExpiry::DeadLetter => ExpiryAction::DeadLetter,
            });
        }
        self.retries(spec);
        if let Some(queue) = self.dead_letter {
            spec.dead_letter = Some(DeadLetterPolicy { queue });
        }
        if self.no_dead_letter {
            spec.dead_letter = None;
        }
        self.deduplication.apply(&mut spec.deduplication);
        self.fairness.apply(spec);
        self.groups.apply(spec);
        let retained = self.retain_after_ack.and_then(duration);
        spec.retain_after_ack = retained.or(spec.retain_after_ack);
        let before = spec.limits.unwrap_or_default();
        let limits = QueueLimits {
            max_messages: self.max_messages.unwrap_or(before.max_messages),
            max_bytes: self.max_bytes.unwrap_or(before.max_bytes),
            max_message_bytes: self.max_message_bytes.unwrap_or(before.max_message_bytes),
            max_in_flight: self.max_in_flight.unwrap_or(before.max_in_flight),
            overflow: self.overflow.map_or(before.overflow, |overflow| {
                i32::from(match overflow {
                    Overflow::Reject => OverflowPolicy::Reject,
                    Overflow::DropOldest => OverflowPolicy::DropOldest,
                    Overflow::DeadLetterOldest => OverflowPolicy::DeadLetterOldest,
                })
            }),
            rate_per_second: self.max_rate.unwrap_or(before.rate_per_second),
        };
        if limits != before {
            spec.limits = Some(limits);
        }
    }

    fn retries(&self, spec: &mut QueueSpec) {
        let before = spec.retries.unwrap_or_default();
        let mut retries = before;
        retries.max_deliveries = self.max_deliveries.unwrap_or(before.max_deliveries);
        let duration = |duration: Duration| prost_types::Duration::try_from(duration).ok();
        let mut backoff = before.backoff.unwrap_or_default();
        if let Some(growth) = self.backoff {
            backoff.set_type(match growth {
                Growth::None => BackoffType::None,
                Growth::Fixed => BackoffType::Fixed,
                Growth::Linear => BackoffType::Linear,
                Growth::Exponential => BackoffType::Exponential,
            });
        }
        backoff.initial = self.backoff_initial.and_then(duration).or(backoff.initial);
        backoff.max = self.backoff_max.and_then(duration).or(backoff.max);
        backoff.jitter_percent = self.backoff_jitter.or(backoff.jitter_percent);
        if backoff != Backoff::default() {
            retries.backoff = Some(backoff);
        }
        if retries != before {
            spec.retries = Some(retries);
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use roadstead_client::proto::ConsumerGroup;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        spec: Spec,
    }

    #[test]
    fn what_is_not_named_stays() {
        let mut spec = QueueSpec {
            partitions: 4,
            ..QueueSpec::default()
        };
        let line = [
            "x",
            "--lease",
            "1m",
            "--max-bytes",
            "1Gi",
            "--ordering",
            "per-key",
        ];
        Line::parse_from(line).spec.apply(&mut spec);
        assert_eq!(spec.partitions, 4);
        assert_eq!(spec.ordering(), Ordering::PerKey);
        assert_eq!(spec.lease.map(|lease| lease.seconds), Some(60));
        assert_eq!(spec.limits.map(|limits| limits.max_bytes), Some(1 << 30));
        assert_eq!(spec.retries, None);

        for nothing in [
            "--partitions=0",
            "--max-deliveries=0",
            "--max-message-bytes=0",
        ] {
            let error = Line::try_parse_from(["x", nothing])
                .unwrap_err()
                .to_string();
            assert!(error.contains("1..") || error.contains("1..="), "{error}");
        }

        let mut back = QueueSpec {
            dead_letter: Some(DeadLetterPolicy::default()),
            delivery: DeliveryGuarantee::AtMostOnce.into(),
            groups: vec![ConsumerGroup::default()],
            ..spec.clone()
        };
        let line = ["x", "--no-dead-letter", "--at-least-once", "--no-groups"];
        Line::parse_from(line).spec.apply(&mut back);
        assert_eq!((back.dead_letter, back.groups), (None, Vec::new()));
        assert_eq!(back.delivery, DeliveryGuarantee::AtLeastOnce as i32);

        let mut untouched = spec.clone();
        let nothing = Line::parse_from(["x"]).spec;
        assert!(nothing.is_empty() && !Line::parse_from(["x", "--max-bytes=0"]).spec.is_empty());
        nothing.apply(&mut untouched);
        assert_eq!(untouched, spec);
    }
}
