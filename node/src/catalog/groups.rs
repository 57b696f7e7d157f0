//! Consumer groups as the API has them, from and to the core's.

use roadstead_core::catalog::ConsumerGroup;
use roadstead_core::shard::{CircuitBreaker, GroupStart};
use roadstead_proto::v1;

use super::convert::milliseconds;
use crate::gateway::ApiError;
use crate::gateway::validate::known;
use crate::shard::wire::duration_ms;

/// Longest name that is looked at, in bytes; what is longer is no name.
const NAME_MAX: usize = 255;

/// The groups that a request asks for.
pub(super) fn from_wire(wire: &[v1::ConsumerGroup]) -> Result<Vec<ConsumerGroup>, ApiError> {
    let group = |wire: &v1::ConsumerGroup| {
        if wire.name.len() > NAME_MAX {
            let message = "spec.groups.name is longer than 63 bytes";
            return Err(ApiError::invalid("spec.groups.name", message));
        }
        Ok(ConsumerGroup {
            name: wire.name.clone(),
            start: match known("spec.groups.start", wire.start)? {
                v1::GroupStart::Unspecified | v1::GroupStart::Beginning => GroupStart::Beginning,
                v1::GroupStart::End => GroupStart::End,
            },
            paused: match known("spec.groups.delivery", wire.delivery)? {
                v1::GroupDelivery::Unspecified | v1::GroupDelivery::Active => false,
                v1::GroupDelivery::Paused => true,
            },
            max_in_flight: wire.max_in_flight,
            breaker: wire
                .circuit_breaker
                .as_ref()
                .map(breaker_from_wire)
                .transpose()?,
            rate_per_second: wire.rate_per_second,
        })
    };
    wire.iter().map(group).collect()
}

/// The groups as the API shows them.
pub(super) fn to_wire(groups: &[ConsumerGroup]) -> Vec<v1::ConsumerGroup> {
    let group = |group: &ConsumerGroup| v1::ConsumerGroup {
        name: group.name.clone(),
        start: match group.start {
            GroupStart::Beginning => v1::GroupStart::Beginning,
            GroupStart::End => v1::GroupStart::End,
        }
        .into(),
        delivery: if group.paused {
            v1::GroupDelivery::Paused
        } else {
            v1::GroupDelivery::Active
        }
        .into(),
        max_in_flight: group.max_in_flight,
        circuit_breaker: group.breaker.as_ref().map(breaker_to_wire),
        rate_per_second: group.rate_per_second,
    };
    groups.iter().map(group).collect()
}

fn breaker_from_wire(wire: &v1::CircuitBreaker) -> Result<CircuitBreaker, ApiError> {
    let or = |value: u32, default: u32| if value == 0 { default } else { value };
    let field = "spec.groups.circuit_breaker";
    let window = format!("{field}.window");
    let open = format!("{field}.open");
    Ok(CircuitBreaker {
        error_percent: u8::try_from(or(wire.error_percent, 50)).unwrap_or(u8::MAX),
        min_deliveries: or(wire.min_deliveries, 20),
        window_ms: milliseconds(&window, wire.window.as_ref(), 60_000)?,
        open_ms: milliseconds(&open, wire.open.as_ref(), 30_000)?,
    })
}

fn breaker_to_wire(breaker: &CircuitBreaker) -> v1::CircuitBreaker {
    v1::CircuitBreaker {
        error_percent: u32::from(breaker.error_percent),
        min_deliveries: breaker.min_deliveries,
        window: Some(duration_ms(breaker.window_ms)),
        open: Some(duration_ms(breaker.open_ms)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_come_back_and_what_an_enum_does_not_know_is_refused() {
        let groups: Vec<_> = [(GroupStart::Beginning, false), (GroupStart::End, true)]
            .into_iter()
            .map(|(start, paused)| ConsumerGroup {
                name: "billing".into(),
                start,
                paused,
                max_in_flight: 7,
                breaker: paused.then_some(CircuitBreaker {
                    error_percent: 30,
                    min_deliveries: 5,
                    window_ms: 1_000,
                    open_ms: 2_000,
                }),
                rate_per_second: if paused { 9 } else { 0 },
            })
            .collect();
        assert_eq!(from_wire(&to_wire(&groups)).expect("valid"), groups);
        let absent = breaker_from_wire(&v1::CircuitBreaker::default()).expect("valid");
        assert_eq!((absent.error_percent, absent.min_deliveries), (50, 20));
        assert_eq!((absent.window_ms, absent.open_ms), (60_000, 30_000));
        for (start, delivery, field) in
            [(3, 0, "spec.groups.start"), (0, 3, "spec.groups.delivery")]
        {
            let wire = v1::ConsumerGroup {
                start,
                delivery,
                ..v1::ConsumerGroup::default()
            };
            let error = from_wire(&[wire]).expect_err("unknown");
            assert_eq!(error.detail.field, field);
        }
        let long = v1::ConsumerGroup {
            name: "x".repeat(256),
            ..v1::ConsumerGroup::default()
        };
        let error = from_wire(&[long]).expect_err("too long");
        assert_eq!(error.detail.field, "spec.groups.name");
    }
}
