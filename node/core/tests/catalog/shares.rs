//! What the partitions of a queue hear of its rate, its tenants and the breakers of its groups.

use roadstead_core::catalog::*;
use roadstead_core::shard::{CircuitBreaker, GroupStart, TenantWeight, key_hash};

use super::world::*;

#[test]
fn partitions_hear_of_rate_aging_weights_and_breakers() {
    let mut world = World::founded();
    let breaker = CircuitBreaker {
        error_percent: 50,
        min_deliveries: 20,
        window_ms: 10_000,
        open_ms: 30_000,
    };
    let spec = |partitions, rate_per_second| QueueSpec {
        partitions,
        rate_per_second,
        aging_ms: 500,
        weights: ["a", "b"]
            .map(|tenant| TenantShare {
                tenant: tenant.into(),
                weight: 3,
            })
            .to_vec(),
        groups: vec![ConsumerGroup {
            name: "default".into(),
            start: GroupStart::Beginning,
            paused: false,
            max_in_flight: 0,
            breaker: Some(breaker),
            rate_per_second: 100,
        }],
        ..QueueSpec::default()
    };
    let config = world.queue(create("q", spec(8, 10))).partition_config();
    assert_eq!((config.rate, config.aging_ms), (1_250, 500));
    assert_eq!(config.groups[0].breaker, Some(breaker));
    assert_eq!(config.groups[0].rate, 12_500);
    let mut tenants = [key_hash(b"a"), key_hash(b"b")];
    tenants.sort_unstable();
    let weights = tenants.map(|tenant| TenantWeight { tenant, weight: 3 });
    assert_eq!(config.weights, weights);
    let rate = |queue: Queue| queue.partition_config().rate;
    assert_eq!(rate(world.queue(update("q", spec(1_024, 1)))), 1);
    assert_eq!(rate(world.queue(update("q", spec(1_024, 0)))), 0);
    let Refusal::Invalid(violations) = world.refused(update("q", spec(8, 10_000_001))) else {
        unreachable!("not refused as invalid")
    };
    assert_eq!(violations[0].field, "limits.rate_per_second");
}
