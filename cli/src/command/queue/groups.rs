//! Consumer groups as options.

use roadstead_client::proto::{ConsumerGroup, GroupDelivery, GroupStart};

/// A group as it is written: `NAME`, then any of `:end`, `:paused` and `:N`, the most deliveries in
/// flight.
pub fn group(text: &str) -> Result<ConsumerGroup, String> {
    let mut parts = text.split(':');
    let mut group = ConsumerGroup {
        name: parts.next().unwrap_or_default().to_owned(),
        ..ConsumerGroup::default()
    };
    group.set_start(GroupStart::Beginning);
    group.set_delivery(GroupDelivery::Active);
    if group.name.is_empty() {
        return Err("a group needs a name".to_owned());
    }
    for part in parts {
        match (part, part.parse()) {
            ("end", _) => group.set_start(GroupStart::End),
            ("paused", _) => group.set_delivery(GroupDelivery::Paused),
            (_, Ok(most @ 1..=1_000_000)) => group.max_in_flight = most,
            _ => {
                let allowed = "end, paused, or the most deliveries in flight, 1..1000000";
                return Err(format!("{part:?} is not one of: {allowed}"));
            }
        }
    }
    Ok(group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_read_with_what_it_asks_for() {
        let plain = group("billing").expect("a group");
        assert_eq!(
            (plain.name.as_str(), plain.start()),
            ("billing", GroupStart::Beginning)
        );
        let full = group("audit:end:paused:50").expect("a group");
        assert_eq!(full.start(), GroupStart::End);
        assert_eq!(full.delivery(), GroupDelivery::Paused);
        assert_eq!(full.max_in_flight, 50);
        for bad in ["", ":end", "a:0", "a:soon", "a:1000001"] {
            assert!(group(bad).is_err(), "{bad}");
        }
    }
}
