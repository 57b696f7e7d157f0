//! Consumer groups of a Queue manifest as the node is asked for them, and as they compare.
use roadstead_crds::{
    CircuitBreaker, DEFAULT_GROUP, DEFAULT_MAX_IN_FLIGHT, Group, GroupDelivery, GroupStart,
};
use roadstead_proto::v1;

use crate::queue::{duration, positive, set_default};
use crate::validate::Violation;

/// Deliveries in flight at most of the group `default`.
pub fn max_in_flight(groups: &[Group]) -> u32 {
    let default = groups.iter().find(|group| group.name == DEFAULT_GROUP);
    positive(default.map_or(DEFAULT_MAX_IN_FLIGHT, |group| group.max_in_flight))
}

/// What is said of groups beside the limit of the default one.
pub fn specification(groups: &[Group]) -> Result<Vec<v1::ConsumerGroup>, Violation> {
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
            max_in_flight: positive(group.max_in_flight),
            circuit_breaker: group.circuit_breaker.as_ref().map(breaker).transpose()?,
        })
    };
    let mut wanted = groups.iter().map(group).collect::<Result<_, _>>()?;
    settle(&mut wanted, max_in_flight(groups));
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
        if group.max_in_flight == 0 {
            group.max_in_flight = most;
        }
        if let Some(breaker) = &mut group.circuit_breaker {
            settle_breaker(breaker);
        }
    }
    groups.retain(|group| {
        let says = group.max_in_flight != most
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
    fn every_field_arrives_and_the_default_group_only_where_it_is_paused() {
        let given = groups(json!([
            {
                "name": "search", "start": "End", "delivery": "Paused", "maxInFlight": 7,
                "circuitBreaker": {"errorPercent": 60, "open": "2m"},
            },
            {"name": "default", "maxInFlight": 9},
            {"name": "billing"},
        ]));
        assert_eq!(max_in_flight(&given), 9);
        let wire = specification(&given).unwrap();
        let names: Vec<_> = wire.iter().map(|group| group.name.as_str()).collect();
        assert_eq!(names, ["billing", "search"]);
        assert_eq!(
            (wire[0].start(), wire[0].delivery(), wire[0].max_in_flight),
            (v1::GroupStart::Beginning, v1::GroupDelivery::Active, 20_000)
        );
        assert_eq!(
            (wire[1].start(), wire[1].delivery(), wire[1].max_in_flight),
            (v1::GroupStart::End, v1::GroupDelivery::Paused, 7)
        );
        let breaker = wire[1].circuit_breaker.unwrap();
        assert_eq!((breaker.error_percent, breaker.min_deliveries), (60, 20));
        let seconds = [breaker.window, breaker.open].map(|span| span.unwrap().seconds);
        assert_eq!((seconds, wire[0].circuit_breaker), ([60, 120], None));
        let paused = groups(json!([{"name": "default", "delivery": "Paused", "maxInFlight": 9}]));
        assert_eq!(specification(&paused).unwrap().len(), 1);
        assert_eq!(
            (max_in_flight(&[]), specification(&[]).unwrap().len()),
            (20_000, 0)
        );
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
        assert_eq!(made_by_hand, specification(&given).unwrap());
        let by_hand = v1::ConsumerGroup {
            circuit_breaker: Some(v1::CircuitBreaker::default()),
            ..named("default")
        };
        let mut by_hand = vec![by_hand];
        settle(&mut by_hand, 20_000);
        let broken = groups(json!([{"name": "default", "circuitBreaker": {}}]));
        assert_eq!(by_hand, specification(&broken).unwrap());
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
