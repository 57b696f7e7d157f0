//! Random configurations.

use proptest::bool::weighted;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use roadstead_core::shard::{
    Backoff, CircuitBreaker, DeduplicateBy, Deduplication, DeduplicationScope, Delivery,
    GroupStart, Growth, OnExpiry, Ordering, Overflow, TenantWeight, key_hash,
};

/// What a group asks for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked {
    pub start: GroupStart,
    pub paused: bool,
    pub max_in_flight: u32,
    pub breaker: Option<CircuitBreaker>,
    pub rate: u64,
}

#[derive(Debug, Clone)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a setting of its own"
)]
pub struct Config {
    /// None: as it is.
    pub ordering: Option<Ordering>,
    pub delivery: Delivery,
    pub lease_ms: u64,
    pub ttl_ms: u64,
    pub on_expiry: OnExpiry,
    pub max_deliveries: u32,
    pub backoff: Option<Backoff>,
    pub dead_letter: DeadLetter,
    pub max_messages: u64,
    pub max_bytes: u64,
    pub max_message_bytes: u32,
    pub max_in_flight: u32,
    pub overflow: Overflow,
    pub deduplication: Option<Deduplication>,
    /// What the groups beside the default one ask for, one by one: those that are there go where
    /// there is none, and those that are not there come. And the default group, if it does ask.
    pub groups: Vec<Option<Asked>>,
    pub default_group: Option<Asked>,
    /// An id is given that was used before.
    pub reuse: bool,
    pub retain_ms: u64,
    pub aging_ms: u64,
    /// Of tenants by their numbers; 0: not named.
    pub weights: Vec<u32>,
    pub rate: u64,
    /// Where the queue is new and orders by key.
    pub sticky: bool,
    /// The contrary of what it should be.
    pub odd_sticky: bool,
    /// The queue gets more partitions.
    pub grows: bool,
}

#[derive(Debug, Clone, Copy)]
pub enum DeadLetter {
    None,
    /// The queue of slots 1 and 2.
    Pair,
    /// The queue of slot 3.
    Other,
    /// A queue that was deleted.
    Gone,
}

/// The hash of a tenant's name.
pub fn tenant(number: u8) -> u64 {
    key_hash(&[b't', number])
}

/// Weights of tenants by their numbers; 0: it is not named.
pub fn weights(of: &[u32]) -> Vec<TenantWeight> {
    let named = (0..).zip(of).filter(|(_, weight)| **weight != 0);
    let named = named.map(|(number, weight)| TenantWeight {
        tenant: tenant(number),
        weight: *weight,
    });
    let mut named: Vec<_> = named.collect();
    named.sort_by_key(|of| of.tenant);
    named
}

pub fn ordering() -> impl Strategy<Value = Ordering> {
    prop_oneof![
        Just(Ordering::None),
        Just(Ordering::PerKey),
        Just(Ordering::Strict)
    ]
}

fn backoff() -> impl Strategy<Value = Backoff> {
    let growth = prop_oneof![
        Just(Growth::Fixed),
        Just(Growth::Linear),
        Just(Growth::Exponential)
    ];
    let jitter = prop_oneof![Just(0_u8), Just(50)];
    (
        growth,
        prop_oneof![Just(0_u64), Just(10), Just(600)],
        jitter,
    )
        .prop_map(|(growth, initial_ms, jitter_percent)| Backoff {
            growth,
            initial_ms,
            max_ms: initial_ms + 15,
            jitter_percent,
        })
}

fn deduplication() -> impl Strategy<Value = Option<Deduplication>> {
    let by = prop_oneof![Just(DeduplicateBy::Id), Just(DeduplicateBy::Content)];
    let scope = prop_oneof![
        2 => Just(DeduplicationScope::Queue),
        1 => Just(DeduplicationScope::Key),
    ];
    let window = prop_oneof![1 => Just(1_u64), 1 => Just(30), 2 => Just(800), 3 => Just(20_000)];
    let max = prop_oneof![1 => Just(1_u64), 1 => Just(3), 8 => Just(1_000)];
    let setting =
        (by, scope, window, max).prop_map(|(by, scope, window_ms, max_ids)| Deduplication {
            by,
            scope,
            window_ms,
            max_ids,
        });
    proptest::option::weighted(0.75, setting)
}

fn overflow() -> impl Strategy<Value = Overflow> {
    prop_oneof![
        2 => Just(Overflow::Reject),
        1 => Just(Overflow::DropOldest),
        1 => Just(Overflow::DeadLetterOldest),
    ]
}

fn rate() -> impl Strategy<Value = u64> {
    prop_oneof![7 => Just(0_u64), 1 => Just(50), 1 => Just(3_000), 1 => Just(1_000_000)]
}

fn asked() -> impl Strategy<Value = Asked> {
    let start = prop_oneof![2 => Just(GroupStart::Beginning), 1 => Just(GroupStart::End)];
    let max_in_flight = prop_oneof![4 => Just(0_u32), 1 => Just(1)];
    let of = (
        start,
        weighted(0.1),
        max_in_flight,
        proptest::option::weighted(0.4, breaker()),
        prop_oneof![2 => Just(0_u64), 1 => rate()],
    );
    of.prop_map(|(start, paused, max_in_flight, breaker, rate)| Asked {
        start,
        paused,
        max_in_flight,
        breaker,
        rate,
    })
}

fn breaker() -> impl Strategy<Value = CircuitBreaker> {
    let percent = prop_oneof![Just(1_u8), Just(50), Just(67), Just(100)];
    let window = prop_oneof![Just(10_u64), Just(1_000), Just(50_000)];
    let open = prop_oneof![Just(5_u64), Just(60), Just(2_000)];
    let any = (percent, 1_u32..4, window, open).prop_map(
        |(error_percent, min_deliveries, window_ms, open_ms)| CircuitBreaker {
            error_percent,
            min_deliveries,
            window_ms,
            open_ms,
        },
    );
    // Mostly the same one, so that it stays through other changes.
    let same = CircuitBreaker {
        error_percent: 50,
        min_deliveries: 1,
        window_ms: 1_000,
        open_ms: 300,
    };
    prop_oneof![2 => Just(same), 1 => any]
}

fn groups() -> impl Strategy<Value = Vec<Option<Asked>>> {
    // Half of the queues have only the default group.
    let some = vec(proptest::option::weighted(0.8, asked()), 1..4);
    prop_oneof![1 => Just(Vec::new()), 1 => some]
}

fn weight_of_tenants() -> impl Strategy<Value = Vec<u32>> {
    let weight = prop_oneof![20 => Just(0_u32), 20 => 1_u32..4, 1 => Just(1_001)];
    prop_oneof![1 => Just(Vec::new()), 1 => vec(weight, 3)]
}

pub fn config() -> impl Strategy<Value = Config> {
    let delivery = prop_oneof![6 => Just(Delivery::AtLeastOnce), 1 => Just(Delivery::AtMostOnce)];
    let dead_letter = prop_oneof![
        2 => Just(DeadLetter::None),
        4 => Just(DeadLetter::Pair),
        2 => Just(DeadLetter::Other),
        1 => Just(DeadLetter::Gone),
    ];
    let times = (
        prop_oneof![1 => Just(0_u64), 2 => Just(10), 4 => Just(1_000)],
        prop_oneof![3 => Just(0_u64), 2 => Just(50), 1 => Just(400), 2 => Just(5_000)],
    );
    let on_expiry = prop_oneof![Just(OnExpiry::Drop), Just(OnExpiry::DeadLetter)];
    let failing = (1_u32..4, of(backoff()), on_expiry);
    let limits = (
        prop_oneof![4 => Just(0_u64), 1 => Just(4)],
        prop_oneof![4 => Just(0_u64), 1 => Just(60)],
        prop_oneof![4 => Just(0_u32), 1 => Just(12)],
        prop_oneof![4 => Just(0_u32), 1 => 1_u32..4],
        (overflow(), deduplication(), rate()),
    );
    let groups = (
        groups(),
        proptest::option::weighted(0.4, asked()),
        weighted(0.05),
        prop_oneof![3 => Just(0_u64), 1 => Just(30), 2 => Just(900), 1 => Just(50_000)],
        (
            prop_oneof![2 => Just(0_u64), 1 => Just(1), 2 => Just(10), 2 => Just(500)],
            weight_of_tenants(),
            (any::<bool>(), weighted(0.03), weighted(0.4)),
        ),
    );
    (
        proptest::option::weighted(0.2, ordering()),
        delivery,
        times,
        failing,
        dead_letter,
        limits,
        groups,
    )
        .prop_map(
            |(ordering, delivery, times, failing, dead_letter, limits, groups)| Config {
                ordering,
                delivery,
                lease_ms: times.0,
                ttl_ms: times.1,
                on_expiry: failing.2,
                max_deliveries: failing.0,
                backoff: failing.1,
                dead_letter,
                max_messages: limits.0,
                max_bytes: limits.1,
                max_message_bytes: limits.2,
                max_in_flight: limits.3,
                overflow: limits.4.0,
                deduplication: limits.4.1,
                groups: groups.0,
                default_group: groups.1,
                reuse: groups.2,
                retain_ms: groups.3,
                aging_ms: groups.4.0,
                weights: groups.4.1,
                rate: limits.4.2,
                sticky: groups.4.2.0,
                odd_sticky: groups.4.2.1,
                grows: groups.4.2.2,
            },
        )
}
