//! What a user may ask of a queue, and what is wrong with what was asked.

use super::fairness::{DEFAULT_AGING_MS, TenantShare};
use super::groups::ConsumerGroup;
use super::names::validate_queue_name;
use crate::clock::YEAR_MS;
use crate::codec::{Decoded, Put, Reader};
use crate::shard::{Backoff, Deduplication, Delivery, Growth, OnExpiry, Ordering, Overflow};

/// Partitions of a queue at most.
pub const MAX_PARTITIONS: u32 = 1_024;
/// Longest lease: 12 h in ms.
pub const MAX_LEASE_MS: u64 = 12 * 3_600_000;
/// Shortest time to live: 1 s in ms.
pub const MIN_TTL_MS: u64 = 1_000;
/// Largest message: 16 MiB.
pub const MAX_MESSAGE_BYTES: u32 = 16 * 1_024 * 1_024;

/// How long a message waits after a delivery that failed, where the queue does not say.
pub const DEFAULT_BACKOFF: Backoff = Backoff {
    growth: Growth::Exponential,
    initial_ms: 1_000,
    max_ms: 300_000,
    jitter_percent: 10,
};

/// What a queue promises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSpec {
    /// 1..=1,024; only grows.
    pub partitions: u32,
    /// Cannot change.
    pub ordering: Ordering,
    /// At least once or at most once.
    pub delivery: Delivery,
    /// Lease of a delivery: 0..=12 h in ms.
    pub lease_ms: u64,
    /// How long a message waits at most: 1 s..=1 year in ms.
    pub ttl_ms: u64,
    /// What becomes of it then; to be dead-lettered it needs a dead-letter queue.
    pub on_expiry: OnExpiry,
    /// Deliveries without an ack before a message is dead-lettered: 1..=1,000.
    pub max_deliveries: u32,
    /// How long a message waits after a delivery that failed: initial 0..=12 h, longest at least
    /// the initial and at most 12 h, jitter 0..=100 percent; None: it does not wait.
    pub backoff: Option<Backoff>,
    /// Name of a queue of the same namespace; None: failed messages are dropped.
    pub dead_letter: Option<String>,
    /// Live messages of the queue at most; 0: no limit.
    pub max_messages: u64,
    /// Bytes of live messages of the queue at most; 0: no limit.
    pub max_bytes: u64,
    /// Largest message in bytes: 1..=16 MiB.
    pub max_message_bytes: u32,
    /// Deliveries in flight at most, of all groups together: 1..=1,000,000.
    pub max_in_flight: u32,
    /// What becomes of a message beyond `max_messages` or `max_bytes`.
    pub overflow: Overflow,
    /// How messages that are sent again are known: window 1 s..=24 h, ids of the queue at one time
    /// 1..=10,000,000; None: by their producer's numbers only.
    pub deduplication: Option<Deduplication>,
    /// What is said of consumer groups; the default one is there also when it is not among them.
    pub groups: Vec<ConsumerGroup>,
    /// How long a message can be replayed after all groups have settled it: 0..=1 year in ms.
    pub retain_ms: u64,
    /// A message is received as though it had come so much earlier for each step of its priority:
    /// 0..=24 h in ms; 0: what has a higher priority always goes first. With a Strict ordering 0 or
    /// the default.
    pub aging_ms: u64,
    /// Tenants that get more than one message in a turn: at most 100.
    pub weights: Vec<TenantShare>,
    /// Messages accepted per second at most: 0..=10,000,000; 0: no limit.
    pub rate_per_second: u32,
    /// Of one group, each key of a partition is received by one streaming consumer at a time, and
    /// stays with it. Only with ordering by key and without weights. Cannot change.
    pub sticky_keys: bool,
}

impl Default for QueueSpec {
    fn default() -> Self {
        Self {
            partitions: 1,
            ordering: Ordering::None,
            delivery: Delivery::AtLeastOnce,
            lease_ms: 30_000,
            ttl_ms: 96 * 3_600_000,
            on_expiry: OnExpiry::Drop,
            max_deliveries: 5,
            backoff: Some(DEFAULT_BACKOFF),
            dead_letter: None,
            max_messages: 0,
            max_bytes: 0,
            max_message_bytes: 256 * 1_024,
            max_in_flight: 20_000,
            overflow: Overflow::Reject,
            deduplication: None,
            groups: Vec::new(),
            retain_ms: 0,
            aging_ms: DEFAULT_AGING_MS,
            weights: Vec::new(),
            rate_per_second: 0,
            sticky_keys: false,
        }
    }
}

/// One thing that is wrong with a specification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The field, as the API names it: `limits.max_messages`.
    pub field: &'static str,
    /// What is wrong and what is allowed.
    pub message: String,
}

/// Checks a specification by itself; tells everything that is wrong with it.
pub fn validate(spec: &QueueSpec) -> Result<(), Vec<Violation>> {
    let mut checks = Checks(Vec::new());
    let partitions = u64::from(spec.partitions);
    checks.range("partitions", partitions, 1, u64::from(MAX_PARTITIONS));
    if spec.ordering == Ordering::Strict && spec.partitions > 1 {
        checks.add(
            "partitions",
            "ordering Strict needs exactly 1 partition".into(),
        );
    }
    checks.time("lease", spec.lease_ms, 0, MAX_LEASE_MS);
    checks.time("time_to_live", spec.ttl_ms, MIN_TTL_MS, YEAR_MS);
    checks.range(
        "retries.max_deliveries",
        u64::from(spec.max_deliveries),
        1,
        1_000,
    );
    if let Some(backoff) = &spec.backoff {
        let initial = backoff.initial_ms;
        checks.time("retries.backoff.initial", initial, 0, MAX_LEASE_MS);
        let least = initial.min(MAX_LEASE_MS);
        checks.time("retries.backoff.max", backoff.max_ms, least, MAX_LEASE_MS);
        let jitter = u64::from(backoff.jitter_percent);
        checks.range("retries.backoff.jitter_percent", jitter, 0, 100);
    }
    if spec.on_expiry == OnExpiry::DeadLetter && spec.dead_letter.is_none() {
        let why = "to be dead-lettered on expiry, messages need a dead-letter queue".into();
        checks.add("expiry_action", why);
    }
    if let Some(name) = &spec.dead_letter
        && let Err(violation) = validate_queue_name(name)
    {
        checks.add("dead_letter.queue", violation.message);
    }
    checks.limits(spec);
    checks.deduplication(spec);
    checks.groups(spec);
    checks.fairness(spec);
    checks.sticky_keys(spec);
    if checks.0.is_empty() {
        Ok(())
    } else {
        Err(checks.0)
    }
}

/// A time as people write it.
fn written(ms: u64) -> String {
    let of = |unit: u64| ms > 0 && ms.is_multiple_of(unit);
    match ms {
        _ if of(3_600_000) => format!("{}h", ms / 3_600_000),
        _ if of(60_000) => format!("{}m", ms / 60_000),
        _ if ms.is_multiple_of(1_000) => format!("{}s", ms / 1_000),
        _ => format!("{ms}ms"),
    }
}

/// What was found to be wrong so far.
pub(super) struct Checks(Vec<Violation>);

impl Checks {
    pub(super) fn add(&mut self, field: &'static str, message: String) {
        self.0.push(Violation { field, message });
    }

    pub(super) fn range(&mut self, field: &'static str, value: u64, low: u64, high: u64) {
        if value < low || value > high {
            self.add(field, format!("{value} is not in {low}..{high}"));
        }
    }

    pub(super) fn time(&mut self, field: &'static str, ms: u64, low: u64, high: u64) {
        if ms < low || ms > high {
            let (ms, low, high) = (written(ms), written(low), written(high));
            self.add(field, format!("{ms} is not in {low}..{high}"));
        }
    }

    pub(super) fn share(&mut self, field: &'static str, limit: u64, partitions: u64) {
        if limit != 0 && limit < partitions {
            let why =
                format!("{limit} is less than the {partitions} partitions that share it: raise it");
            self.add(field, why);
        }
    }
}

const VERSION: u8 = 1;

impl QueueSpec {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        out.put_varint(u64::from(self.partitions));
        out.push(self.ordering.code());
        out.push(self.delivery.code());
        out.put_varint(self.lease_ms);
        out.put_varint(self.ttl_ms);
        out.push(self.on_expiry.code());
        out.put_varint(u64::from(self.max_deliveries));
        Backoff::encode(self.backoff.as_ref(), out);
        out.put_prefixed(self.dead_letter.as_deref().unwrap_or_default().as_bytes());
        out.put_varint(self.max_messages);
        out.put_varint(self.max_bytes);
        out.put_varint(u64::from(self.max_message_bytes));
        out.put_varint(u64::from(self.max_in_flight));
        out.push(self.overflow.code());
        Deduplication::encode(self.deduplication.as_ref(), out);
        ConsumerGroup::encode_all(&self.groups, out);
        out.put_varint(self.retain_ms);
        out.put_varint(self.aging_ms);
        TenantShare::encode_all(&self.weights, out);
        out.put_varint(u64::from(self.rate_per_second));
        out.push(u8::from(self.sticky_keys));
    }

    pub(crate) fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        r.version(VERSION, "version of queue specification")?;
        Ok(Self {
            partitions: r.varint_u32("partitions")?,
            ordering: Ordering::read(r)?,
            delivery: Delivery::read(r)?,
            lease_ms: r.varint("lease")?,
            ttl_ms: r.varint("time to live")?,
            on_expiry: OnExpiry::read(r)?,
            max_deliveries: r.varint_u32("max deliveries")?,
            backoff: Backoff::decode(r)?,
            dead_letter: Some(r.text(255, "dead-letter queue")?).filter(|name| !name.is_empty()),
            max_messages: r.varint("max messages")?,
            max_bytes: r.varint("max bytes")?,
            max_message_bytes: r.varint_u32("max message bytes")?,
            max_in_flight: r.varint_u32("max in flight")?,
            overflow: Overflow::read(r)?,
            deduplication: Deduplication::decode(r)?,
            groups: ConsumerGroup::decode_all(r)?,
            retain_ms: r.varint("time of retention")?,
            aging_ms: r.varint("time of aging")?,
            weights: TenantShare::decode_all(r)?,
            rate_per_second: r.varint_u32("messages per second")?,
            sticky_keys: match r.u8("sticky keys")? {
                0 => false,
                1 => true,
                _ => return r.fail("sticky keys"),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(spec: &QueueSpec) -> Vec<&'static str> {
        validate(spec)
            .err()
            .unwrap_or_default()
            .iter()
            .map(|v| v.field)
            .collect()
    }

    #[test]
    fn the_default_is_valid() {
        assert_eq!(validate(&QueueSpec::default()), Ok(()));
    }

    #[test]
    fn a_time_out_of_range_is_told_as_people_write_it() {
        let said = |lease_ms| {
            let spec = QueueSpec {
                lease_ms,
                ..QueueSpec::default()
            };
            validate(&spec).unwrap_err().remove(0).message
        };
        assert_eq!(said(13 * 3_600_000), "13h is not in 0s..12h");
        assert_eq!(said(MAX_LEASE_MS + 1), "43200001ms is not in 0s..12h");
        assert_eq!(said(MAX_LEASE_MS + 60_000), "721m is not in 0s..12h");
    }

    #[test]
    fn the_longest_time_is_a_year_as_for_a_message() {
        let of = |ttl_ms, retain_ms| {
            fields(&QueueSpec {
                ttl_ms,
                retain_ms,
                ..QueueSpec::default()
            })
        };
        assert_eq!(YEAR_MS, 8_760 * 3_600_000, "what the CRD says");
        assert_eq!(of(YEAR_MS, YEAR_MS), Vec::<&str>::new());
        let both = ["time_to_live", "retain_after_ack"];
        assert_eq!(of(YEAR_MS + 1, YEAR_MS + 1), both);
    }

    #[test]
    fn every_field_is_checked_and_all_violations_are_told_at_once() {
        let spec = QueueSpec {
            partitions: 0,
            lease_ms: MAX_LEASE_MS + 1,
            ttl_ms: MIN_TTL_MS - 1,
            max_deliveries: 0,
            backoff: Some(Backoff {
                growth: Growth::Fixed,
                initial_ms: 2_000,
                max_ms: 1_000,
                jitter_percent: 101,
            }),
            dead_letter: Some("no spaces".into()),
            max_message_bytes: 0,
            max_in_flight: 0,
            ..QueueSpec::default()
        };
        let expected = [
            "partitions",
            "lease",
            "time_to_live",
            "retries.max_deliveries",
            "retries.backoff.max",
            "retries.backoff.jitter_percent",
            "dead_letter.queue",
            "limits.max_message_bytes",
            "limits.max_in_flight",
        ];
        assert_eq!(fields(&spec), expected);
    }

    #[test]
    fn dead_letters_on_expiry_need_a_queue() {
        let spec = QueueSpec {
            on_expiry: OnExpiry::DeadLetter,
            ..QueueSpec::default()
        };
        assert_eq!(fields(&spec), ["expiry_action"]);
        let dead_letter = Some("dead".to_owned());
        assert!(
            fields(&QueueSpec {
                dead_letter,
                ..spec
            })
            .is_empty()
        );
    }

    #[test]
    fn limits_are_shared_by_the_partitions() {
        let spec = QueueSpec {
            partitions: 8,
            max_messages: 7,
            max_in_flight: 7,
            max_bytes: 8 * 256 * 1_024 - 1,
            ..QueueSpec::default()
        };
        let expected = [
            "limits.max_messages",
            "limits.max_in_flight",
            "limits.max_bytes",
        ];
        assert_eq!(fields(&spec), expected);
        let roomy = QueueSpec {
            max_messages: 8,
            max_in_flight: 8,
            max_bytes: 1 << 30,
            ..spec
        };
        assert_eq!(fields(&roomy), Vec::<&str>::new());
    }

    #[test]
    fn strict_order_needs_one_partition() {
        let strict = QueueSpec {
            ordering: Ordering::Strict,
            ..QueueSpec::default()
        };
        assert_eq!(fields(&strict), Vec::<&str>::new());
        assert_eq!(
            fields(&QueueSpec {
                partitions: 2,
                ..strict
            }),
            ["partitions"]
        );
    }
}
