//! Consumer groups of a Queue manifest as the node is asked for them, and as they compare.
use roadstead_crds::{CircuitBreaker, DEFAULT_GROUP, Group, GroupDelivery, GroupStart};
use roadstead_proto::v1;

use crate::queue::{duration, positive, set_default};
use crate::validate::Violation;

/// What is said of groups. `most` are the deliveries in flight of the queue.
pub fn specification(groups: &[Group], most: u32) -> Result<Vec<v1::ConsumerGroup>, Violation> {
    let group = |group: &Group| {
        let start = match group.start {
            GroupStart::Beginning => v1::GroupStart::Beginning,
            GroupStart::End => v1::GroupStart::End,
        };
        let delivery = match group.delivery {
            GroupDelivery::Active => v1::GroupDelivery::Active,
            GroupDelivery::Paused => v1::GroupDelivery::Paused,
        };
        Ok(v1::ConsumerGroup {
            name: group.name.clone(),
            start: start.into(),
            delivery: delivery.into(),
            max_in_flight: positive(group.max_in_flight.unwrap_or(0)),
            circuit_breaker: group.circuit_breaker.as_ref().map(breaker).transpose()?,
            rate_per_second: positive(group.rate_per_second.unwrap_or(0)),
        })
    };
    let mut wanted = groups.iter().map(group).collect::<Result<_, _>>()?;
    settle(&mut wanted, most);
    Ok(wanted)
}

fn breaker(spec: &CircuitBreaker) -> Result<v1::CircuitBreaker, Violation> {
    let field = "spec.groups.circuitBreaker";
    Ok(v1::CircuitBreaker {
        error_percent: positive(spec.error_percent),
        min_deliveries: positive(spec.min_deliveries),
        window: Some(duration(&spec.window, &format!("{field}.window"))?),
        open: Some(duration(&spec.open, &format!("{field}.open"))?),
    })
}

/// Sets what is left out, in one order, and leaves out what says nothing: a queue has the group
/// `default` also where nobody names it. `most` are the deliveries in flight that `limits` give.
pub fn settle(groups: &mut Vec<v1::ConsumerGroup>, most: u32) {
    for group in groups.iter_mut() {
        if group.start() == v1::GroupStart::Unspecified {
            group.set_start(v1::GroupStart::Beginning);
        }
        if group.delivery() == v1::GroupDelivery::Unspecified {
            group.set_delivery(v1::GroupDelivery::Active);
        }
        if group.max_in_flight == most {
            group.max_in_flight = 0;
        }
        if let Some(breaker) = &mut group.circuit_breaker {
            settle_breaker(breaker);
        }
    }
    groups.retain(|group| {
        let says = group.max_in_flight != 0
            || group.rate_per_second != 0
            || group.delivery() != v1::GroupDelivery::Active
            || group.circuit_breaker.is_some();
        group.name != DEFAULT_GROUP || says
    });
    groups.sort_by(|one, other| one.name.cmp(&other.name));
}

fn settle_breaker(breaker: &mut v1::CircuitBreaker) {
    let seconds = |seconds| prost_types::Duration { seconds, nanos: 0 };
    set_default(&mut breaker.error_percent, 50);
    set_default(&mut breaker.min_deliveries, 20);
    breaker.window.get_or_insert(seconds(60));
    breaker.open.get_or_insert(seconds(30));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn groups(value: serde_json::Value) -> Vec<Group> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn every_field_arrives_and_the_default_group_only_where_something_is_said_of_it() {
        let given = groups(json!([
            {
                "name": "search", "start": "End", "delivery": "Paused", "maxInFlight": 7,
                "ratePerSecond": 30, "circuitBreaker": {"errorPercent": 60, "open": "2m"},
            },
            {"name": "default", "maxInFlight": 9},
            {"name": "billing"},
        ]));
        let wire = specification(&given, 9).unwrap();
        let names: Vec<_> = wire.iter().map(|group| group.name.as_str()).collect();
        assert_eq!(names, ["billing", "search"]);
        assert_eq!(
            (wire[0].start(), wire[0].delivery(), wire[0].max_in_flight),
            (v1::GroupStart::Beginning, v1::GroupDelivery::Active, 0)
        );
        assert_eq!(
            (wire[1].start(), wire[1].delivery(), wire[1].max_in_flight),
            (v1::GroupStart::End, v1::GroupDelivery::Paused, 7)
        );
        assert_eq!((wire[0].rate_per_second, wire[1].rate_per_second), (0, 30));
        let breaker = wire[1].circuit_breaker.unwrap();
        assert_eq!((breaker.error_percent, breaker.min_deliveries), (60, 20));
        let seconds = [breaker.window, breaker.open].map(|span| span.unwrap().seconds);
        assert_eq!((seconds, wire[0].circuit_breaker), ([60, 120], None));
        for said in [
            json!({"name": "default", "delivery": "Paused"}),
            json!({"name": "default", "maxInFlight": 8}),
            json!({"name": "default", "ratePerSecond": 8}),
        ] {
            assert_eq!(specification(&groups(json!([said])), 9).unwrap().len(), 1);
        }
        assert_eq!(specification(&[], 9).unwrap().len(), 0);
    }

    #[test]
    fn groups_that_mean_the_same_compare_as_the_same() {
        let named = |name: &str| v1::ConsumerGroup {
            name: name.into(),
            ..v1::ConsumerGroup::default()
        };
        let mut made_by_hand = vec![named("search"), named("default"), named("billing")];
        settle(&mut made_by_hand, 20_000);
        let given = groups(json!([{"name": "billing"}, {"name": "search"}]));
        assert_eq!(made_by_hand, specification(&given, 20_000).unwrap());
        let by_hand = v1::ConsumerGroup {
            circuit_breaker: Some(v1::CircuitBreaker::default()),
            ..named("default")
        };
        let mut by_hand = vec![by_hand];
        settle(&mut by_hand, 20_000);
        let broken = groups(json!([{"name": "default", "circuitBreaker": {}}]));
        assert_eq!(by_hand, specification(&broken, 20_000).unwrap());
        let mut bounded = vec![v1::ConsumerGroup {
            max_in_flight: 5,
            ..named("default")
        }];
        settle(&mut bounded, 20_000);
        assert_eq!(
            bounded.len(),
            1,
            "a limit of its own is not what the object says"
        );
    }
}
