//! Consumer groups as options.

use std::time::Duration;

use clap::Args;
use roadstead_client::proto::{
    CircuitBreaker, ConsumerGroup, GroupDelivery, GroupStart, QueueSpec,
};

use crate::units;

/// Which groups there are beside `default`. What is not named is left as it is.
#[derive(Debug, Default, PartialEq, Eq, Args)]
pub struct Groups {
    /// A consumer group beside `default`: NAME, and then any of :end (a new one begins with what
    /// comes), :paused, :N (its own deliveries in flight at most), :rate=N (its deliveries per
    /// second at most) and :breaker=PERCENT (pauses it while so many of its deliveries fail; more
    /// by :min=N, :window=1m, :open=30s). Say it for each: those that are not named go
    #[arg(long, value_name = "GROUP", value_parser = group)]
    group: Vec<ConsumerGroup>,
    /// No group but `default` any more
    #[arg(long, conflicts_with = "group")]
    no_groups: bool,
}

impl Groups {
    /// Writes what is named into `spec`.
    pub fn apply(self, spec: &mut QueueSpec) {
        if self.no_groups || !self.group.is_empty() {
            spec.groups = self.group;
        }
    }
}

/// A group as it is written: `NAME`, then any of `:end`, `:paused`, `:N`, the most deliveries in
/// flight, `:rate=N`, the most deliveries per second, and what a circuit breaker is told.
fn group(text: &str) -> Result<ConsumerGroup, String> {
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
            _ if part.starts_with("rate=") => group.rate_per_second = rate(part)?,
            _ => breaker(group.circuit_breaker.get_or_insert_default(), part)?,
        }
    }
    Ok(group)
}

fn wrong(part: &str) -> String {
    let allowed = "end, paused, the most deliveries in flight (1..1000000), rate=1..10000000, \
                   breaker=1..100, min=1..10000, window=1s..1h or open=1s..1h";
    format!("{part:?} is not one of: {allowed}")
}

/// Reads how many deliveries per second there may be.
fn rate(part: &str) -> Result<u32, String> {
    let rate = part
        .strip_prefix("rate=")
        .and_then(|rate| rate.parse().ok());
    let rate = rate.filter(|rate| (1..=10_000_000).contains(rate));
    rate.ok_or_else(|| wrong(part))
}

/// Reads one thing that a circuit breaker is told.
fn breaker(breaker: &mut CircuitBreaker, part: &str) -> Result<(), String> {
    let wrong = || wrong(part);
    let (name, value) = part.split_once('=').ok_or_else(wrong)?;
    let number = |most: u32| {
        let number = value.parse().ok();
        number.filter(|n| (1..=most).contains(n)).ok_or_else(wrong)
    };
    let span = || {
        let span = units::duration(value).ok();
        let hour = Duration::from_secs(1)..=Duration::from_hours(1);
        let span = span.filter(|span| hour.contains(span)).ok_or_else(wrong)?;
        Ok::<_, String>(prost_types::Duration::try_from(span).ok())
    };
    match name {
        "breaker" => breaker.error_percent = number(100)?,
        "min" => breaker.min_deliveries = number(10_000)?,
        "window" => breaker.window = span()?,
        "open" => breaker.open = span()?,
        _ => return Err(wrong()),
    }
    Ok(())
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
        assert_eq!((plain.circuit_breaker, full.circuit_breaker), (None, None));
        let slow = group("audit:rate=20:50").expect("a group");
        assert_eq!((slow.rate_per_second, slow.max_in_flight), (20, 50));
        for bad in ["a:rate=0", "a:rate=x", "a:rate=10000001", "a:rate"] {
            assert!(group(bad).is_err(), "{bad}");
        }
        let broken = group("audit:breaker=40:min=5:open=2m").expect("a group");
        let breaker = broken.circuit_breaker.expect("a breaker");
        assert_eq!((breaker.error_percent, breaker.min_deliveries), (40, 5));
        let seconds = breaker.open.map(|open| open.seconds);
        assert_eq!((seconds, breaker.window), (Some(120), None));
        for bad in ["a:breaker=0", "a:min=x", "a:window=0s", "a:open=2h"] {
            assert!(group(bad).is_err(), "{bad}");
        }
        for bad in ["", ":end", "a:0", "a:soon", "a:1000001"] {
            assert!(group(bad).is_err(), "{bad}");
        }
    }
}
