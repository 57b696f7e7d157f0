//! What a consumer group may ask of its circuit breaker.

use super::spec::{Checks, QueueSpec};
use crate::shard::{CircuitBreaker, Delivery};

/// Shortest window and shortest open time of a circuit breaker: 1 s in ms.
pub const MIN_BREAKER_MS: u64 = 1_000;
/// Longest window and longest open time of a circuit breaker: 1 h in ms.
pub const MAX_BREAKER_MS: u64 = 3_600_000;

impl Checks {
    pub(super) fn breaker(&mut self, spec: &QueueSpec, breaker: &CircuitBreaker) {
        if spec.delivery == Delivery::AtMostOnce {
            let why = "with delivery AtMostOnce no delivery ever fails: take it away";
            self.add("groups.circuit_breaker", why.into());
        }
        let percent = u64::from(breaker.error_percent);
        self.range("groups.circuit_breaker.error_percent", percent, 1, 100);
        let least = u64::from(breaker.min_deliveries);
        self.range("groups.circuit_breaker.min_deliveries", least, 1, 10_000);
        for (field, ms) in [
            ("groups.circuit_breaker.window", breaker.window_ms),
            ("groups.circuit_breaker.open", breaker.open_ms),
        ] {
            self.time(field, ms, MIN_BREAKER_MS, MAX_BREAKER_MS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{ConsumerGroup, validate};
    use crate::shard::GroupStart;

    fn fields(delivery: Delivery, breaker: CircuitBreaker) -> Vec<&'static str> {
        let spec = QueueSpec {
            delivery,
            groups: vec![ConsumerGroup {
                name: "g".into(),
                start: GroupStart::End,
                paused: false,
                max_in_flight: 0,
                breaker: Some(breaker),
                rate_per_second: 0,
            }],
            ..QueueSpec::default()
        };
        let violations = validate(&spec).err().unwrap_or_default();
        violations.iter().map(|v| v.field).collect()
    }

    #[test]
    fn every_field_has_bounds() {
        let of = |error_percent, min_deliveries, window_ms, open_ms| CircuitBreaker {
            error_percent,
            min_deliveries,
            window_ms,
            open_ms,
        };
        let (least, most) = (MIN_BREAKER_MS, MAX_BREAKER_MS);
        for right in [of(1, 1, least, least), of(100, 10_000, most, most)] {
            assert_eq!(fields(Delivery::AtLeastOnce, right), [""; 0]);
        }
        let all = [
            "groups.circuit_breaker.error_percent",
            "groups.circuit_breaker.min_deliveries",
            "groups.circuit_breaker.window",
            "groups.circuit_breaker.open",
        ];
        for wrong in [
            of(0, 0, least - 1, least - 1),
            of(101, 10_001, most + 1, most + 1),
        ] {
            assert_eq!(fields(Delivery::AtLeastOnce, wrong), all);
        }
        let right = of(50, 20, 10_000, 30_000);
        let only = ["groups.circuit_breaker"];
        assert_eq!(fields(Delivery::AtMostOnce, right), only);
    }
}
