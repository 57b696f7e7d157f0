//! Consumer groups of a queue: their names, and the ids by which its partitions know them.

use std::collections::BTreeSet;

use super::limits::MAX_RATE;
use super::names::validate_namespace;
use super::spec::{Checks, QueueSpec};
use crate::clock::YEAR_MS;
use crate::codec::{Decoded, Put, Reader};
use crate::shard::{CircuitBreaker, DEFAULT_GROUP, Delivery, GroupConfig, GroupStart, MAX_GROUPS};

/// The name of the group that every queue has.
pub const DEFAULT_GROUP_NAME: &str = "default";

/// Longest name of a group in bytes.
const MAX_GROUP_NAME: usize = 63;

/// What a queue says of one of its consumer groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerGroup {
    /// 1..=63 of a-z, 0-9 and `-`, with a letter or digit at either end.
    pub name: String,
    /// Where it begins when it is new; the default group begins with the queue.
    pub start: GroupStart,
    /// It gets no deliveries.
    pub paused: bool,
    /// Its own deliveries in flight at most: 1..=1,000,000, no more than those of the queue; 0: no
    /// limit beside that of the queue.
    pub max_in_flight: u32,
    /// When it gets no deliveries for a while, because too many fail: 1..=100 percent of at least
    /// 1..=10,000 outcomes, window and open time 1 s..=1 h; None: never.
    pub breaker: Option<CircuitBreaker>,
    /// Messages delivered per second at most: 0..=10,000,000; 0: no limit.
    pub rate_per_second: u32,
}

/// The ids of a queue's groups beside the default one. An id is never used again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GroupIds {
    /// Names and ids, in order of the ids.
    ids: Vec<(String, u32)>,
    /// The highest id that was given.
    last: u32,
}

impl GroupIds {
    /// The id of a group; None: there is no such group.
    pub fn id(&self, name: &str) -> Option<u32> {
        if name == DEFAULT_GROUP_NAME {
            return Some(DEFAULT_GROUP);
        }
        let found = self.ids.iter().find(|(known, _)| known == name);
        found.map(|(_, id)| *id)
    }

    /// All names and ids, the default group first.
    pub fn all(&self) -> impl Iterator<Item = (&str, u32)> {
        let others = self.ids.iter().map(|(name, id)| (name.as_str(), *id));
        std::iter::once((DEFAULT_GROUP_NAME, DEFAULT_GROUP)).chain(others)
    }

    /// Keeps the ids of groups that stay, and gives new ones to those that are new.
    pub(super) fn follow(&mut self, spec: &QueueSpec) {
        let names: BTreeSet<&str> = spec.groups.iter().map(|group| &*group.name).collect();
        self.ids.retain(|(name, _)| names.contains(name.as_str()));
        for group in &spec.groups {
            if self.id(&group.name).is_none() {
                self.last += 1;
                self.ids.push((group.name.clone(), self.last));
            }
        }
    }

    /// What the partitions are told, each its share of the limits.
    pub(super) fn configs(&self, spec: &QueueSpec, share: impl Fn(u64) -> u64) -> Vec<GroupConfig> {
        let config = |group: &ConsumerGroup| {
            let config = group.config();
            Some(GroupConfig {
                id: self.id(&group.name)?,
                max_in_flight: share(u64::from(config.max_in_flight)) as u32,
                rate: share(config.rate),
                ..config
            })
        };
        let mut configs: Vec<_> = spec.groups.iter().filter_map(config).collect();
        configs.sort_by_key(|config| config.id);
        configs
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put_varint(u64::from(self.last));
        out.put_varint(self.ids.len() as u64);
        for (name, id) in &self.ids {
            out.put_prefixed(name.as_bytes());
            out.put_varint(u64::from(*id));
        }
    }

    pub(crate) fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        let last = r.varint_u32("last id of a group")?;
        let count = r.count(2, "number of group ids")?;
        let read = |r: &mut Reader<'_>| {
            let name = r.text(MAX_GROUP_NAME, "name of group")?;
            Ok((name, r.varint_u32("id of group")?))
        };
        let ids = (0..count).map(|_| read(r)).collect::<Decoded<_>>()?;
        Ok(Self { ids, last })
    }
}

impl ConsumerGroup {
    /// All but its name, as the partitions know it.
    fn config(&self) -> GroupConfig {
        GroupConfig {
            id: DEFAULT_GROUP,
            start: self.start,
            paused: self.paused,
            max_in_flight: self.max_in_flight,
            breaker: self.breaker,
            rate: u64::from(self.rate_per_second) * 1_000,
        }
    }

    pub(super) fn encode_all(groups: &[Self], out: &mut Vec<u8>) {
        out.put_varint(groups.len() as u64);
        for group in groups {
            out.put_prefixed(group.name.as_bytes());
            group.config().encode(out);
        }
    }

    pub(super) fn decode_all(r: &mut Reader<'_>) -> Decoded<Vec<Self>> {
        let count = r.count(3, "number of groups")?;
        (0..count).map(|_| Self::decode(r)).collect()
    }

    fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        let name = r.text(255, "name of group")?;
        let config = GroupConfig::decode(DEFAULT_GROUP, r)?;
        Ok(Self {
            name,
            start: config.start,
            paused: config.paused,
            max_in_flight: config.max_in_flight,
            breaker: config.breaker,
            rate_per_second: u32::try_from(config.rate / 1_000).unwrap_or(u32::MAX),
        })
    }
}

impl Checks {
    pub(super) fn groups(&mut self, spec: &QueueSpec) {
        self.time("retain_after_ack", spec.retain_ms, 0, YEAR_MS);
        let others = spec.groups.iter();
        let others = others.filter(|group| group.name != DEFAULT_GROUP_NAME);
        if others.count() >= MAX_GROUPS {
            let most = MAX_GROUPS - 1;
            self.add("groups", format!("at most {most} beside the default one"));
        }
        let mut names = BTreeSet::new();
        for group in &spec.groups {
            let name = &group.name;
            if let Err(violation) = validate_namespace(name) {
                self.add("groups.name", format!("{name:?} {}", violation.message));
            }
            if !names.insert(name) {
                self.add("groups.name", format!("{name:?} is there twice"));
            }
            if name == DEFAULT_GROUP_NAME && group.start == GroupStart::End {
                let why = "the default group begins with the queue: Beginning".into();
                self.add("groups.start", why);
            }
            self.in_flight(spec, group);
            let rate = u64::from(group.rate_per_second);
            self.range("groups.rate_per_second", rate, 0, u64::from(MAX_RATE));
            if let Some(breaker) = &group.breaker {
                self.breaker(spec, breaker);
            }
        }
    }

    fn in_flight(&mut self, spec: &QueueSpec, group: &ConsumerGroup) {
        let field = "groups.max_in_flight";
        let (most, all) = (group.max_in_flight, spec.max_in_flight);
        if spec.delivery == Delivery::AtMostOnce && most > 0 {
            let why = "with delivery AtMostOnce nothing is in flight: take it away";
            self.add(field, why.into());
        }
        self.range(field, u64::from(most), 0, 1_000_000);
        self.share(field, u64::from(most), u64::from(spec.partitions));
        if most > all && most <= 1_000_000 {
            let why = format!(
                "{most} is more than limits.max_in_flight, {all}, which all groups share: lower \
                 it, or raise that"
            );
            self.add(field, why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::spec::validate;

    fn group(name: &str) -> ConsumerGroup {
        ConsumerGroup {
            name: name.into(),
            start: GroupStart::Beginning,
            paused: false,
            max_in_flight: 0,
            breaker: None,
            rate_per_second: 0,
        }
    }

    fn spec(names: &[&str]) -> QueueSpec {
        QueueSpec {
            groups: names.iter().map(|name| group(name)).collect(),
            ..QueueSpec::default()
        }
    }

    #[test]
    fn an_id_stays_with_its_name_and_is_never_given_again() {
        let mut ids = GroupIds::default();
        ids.follow(&spec(&["b", "a"]));
        assert_eq!(
            (ids.id("default"), ids.id("b"), ids.id("a")),
            (Some(0), Some(1), Some(2))
        );
        ids.follow(&spec(&["default", "a", "c"]));
        assert_eq!(
            (ids.id("a"), ids.id("b"), ids.id("c")),
            (Some(2), None, Some(3))
        );
        ids.follow(&spec(&["b"]));
        let all: Vec<_> = ids.all().collect();
        assert_eq!(all, [("default", 0), ("b", 4)]);
        let mut out = Vec::new();
        ids.encode(&mut out);
        assert_eq!(out, [4, 1, 1, b'b', 4]);
        assert_eq!(GroupIds::decode(&mut Reader::new(&out)), Ok(ids));
    }

    #[test]
    fn partitions_hear_of_groups_in_order_of_their_ids_with_their_share() {
        let mut ids = GroupIds::default();
        ids.follow(&spec(&["b"]));
        let mut both = spec(&["a", "default", "b"]);
        both.groups[0].max_in_flight = 10;
        both.groups[1].paused = true;
        both.groups[1].rate_per_second = 3;
        ids.follow(&both);
        let configs = ids.configs(&both, |limit| limit / 2);
        let seen: Vec<_> = configs
            .iter()
            .map(|c| (c.id, c.paused, c.max_in_flight, c.rate))
            .collect();
        let expected = [(0, true, 0, 1_500), (1, false, 0, 0), (2, false, 5, 0)];
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_group_may_have_no_more_in_flight_than_its_queue() {
        let mut greedy = spec(&["a"]);
        greedy.max_in_flight = 100;
        greedy.groups[0].max_in_flight = 100;
        assert_eq!(validate(&greedy), Ok(()));
        greedy.groups[0].max_in_flight = 101;
        let violations = validate(&greedy).expect_err("more than the queue");
        assert_eq!(violations.len(), 1);
        let said = (violations[0].field, violations[0].message.as_str());
        let why = "101 is more than limits.max_in_flight, 100, which all groups share: lower it, \
                   or raise that";
        assert_eq!(said, ("groups.max_in_flight", why));
    }

    #[test]
    fn names_and_limits_are_checked() {
        let fields = |spec: &QueueSpec| {
            let violations = validate(spec).err().unwrap_or_default();
            violations.iter().map(|v| v.field).collect::<Vec<_>>()
        };
        assert_eq!(fields(&spec(&["default", "a-1"])), [""; 0]);
        let long = "x".repeat(64);
        for bad in ["", "A", "a b", "-a", &long] {
            assert_eq!(fields(&spec(&[bad])), ["groups.name"]);
        }
        assert_eq!(fields(&spec(&["a", "a"])), ["groups.name"]);
        let mut odd = spec(&["default"]);
        odd.groups[0].start = GroupStart::End;
        odd.groups[0].max_in_flight = 1_000_001;
        odd.retain_ms = YEAR_MS + 1;
        let expected = ["retain_after_ack", "groups.start", "groups.max_in_flight"];
        assert_eq!(fields(&odd), expected);
        let mut unleased = spec(&["default"]);
        unleased.delivery = Delivery::AtMostOnce;
        assert_eq!(fields(&unleased), [""; 0]);
        unleased.groups[0].max_in_flight = 5;
        assert_eq!(fields(&unleased), ["groups.max_in_flight"]);
        let few = QueueSpec {
            partitions: 8,
            groups: vec![ConsumerGroup {
                max_in_flight: 7,
                ..group("a")
            }],
            ..QueueSpec::default()
        };
        assert_eq!(fields(&few), ["groups.max_in_flight"]);
        let mut fast = spec(&["default"]);
        fast.groups[0].rate_per_second = MAX_RATE + 1;
        assert_eq!(fields(&fast), ["groups.rate_per_second"]);
        let names: Vec<_> = (0..MAX_GROUPS).map(|n| format!("g{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(fields(&spec(&names)), ["groups"]);
        assert_eq!(fields(&spec(&names[1..])), [""; 0]);
    }
}
