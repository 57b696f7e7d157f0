//! Consumer groups of a Queue manifest as the node is asked for them, and as they compare.
use roadstead_crds::{DEFAULT_GROUP, DEFAULT_MAX_IN_FLIGHT, Group, GroupDelivery, GroupStart};
use roadstead_proto::v1;

/// Deliveries in flight at most of the group `default`.
pub fn max_in_flight(groups: &[Group]) -> u32 {
    let default = groups.iter().find(|group| group.name == DEFAULT_GROUP);
    count(default.map_or(DEFAULT_MAX_IN_FLIGHT, |group| group.max_in_flight))
}

/// What is said of groups beside the limit of the default one.
pub fn specification(groups: &[Group]) -> Vec<v1::ConsumerGroup> {
    let group = |group: &Group| {
        let start = match group.start {
            GroupStart::Beginning => v1::GroupStart::Beginning,
            GroupStart::End => v1::GroupStart::End,
        };
        let delivery = match group.delivery {
            GroupDelivery::Active => v1::GroupDelivery::Active,
            GroupDelivery::Paused => v1::GroupDelivery::Paused,
        };
        v1::ConsumerGroup {
            name: group.name.clone(),
            start: start.into(),
            delivery: delivery.into(),
            max_in_flight: count(group.max_in_flight),
        }
    };
    let mut groups = groups.iter().map(group).collect();
    settle(&mut groups, max_in_flight(&[]));
    groups
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
        if group.name == DEFAULT_GROUP {
            group.max_in_flight = 0;
        } else if group.max_in_flight == 0 {
            group.max_in_flight = most;
        }
    }
    groups.retain(|group| {
        group.name != DEFAULT_GROUP || group.delivery() != v1::GroupDelivery::Active
    });
    groups.sort_by(|one, other| one.name.cmp(&other.name));
}

fn count(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
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
            {"name": "search", "start": "End", "delivery": "Paused", "maxInFlight": 7},
            {"name": "default", "maxInFlight": 9},
            {"name": "billing"},
        ]));
        assert_eq!(max_in_flight(&given), 9);
        let wire = specification(&given);
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
        let paused = groups(json!([{"name": "default", "delivery": "Paused", "maxInFlight": 9}]));
        assert_eq!(specification(&paused).len(), 1);
        assert_eq!((max_in_flight(&[]), specification(&[]).len()), (20_000, 0));
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
        assert_eq!(made_by_hand, specification(&given));
    }
}
