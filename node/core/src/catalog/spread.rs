//! How partitions are spread over shards, and the replicas of a new cluster over its founders.

use std::collections::BTreeMap;

use super::model::{NodeInfo, Placement, Queue};

/// Shards for `count` more partitions: each time the shard with the fewest, the lowest number
/// first. `shards` is at least 1.
pub(super) fn shards_for<'a>(
    queues: impl Iterator<Item = &'a Queue>,
    shards: u16,
    count: usize,
) -> Vec<u16> {
    let mut load: BTreeMap<u16, usize> = (1..=shards.max(1)).map(|shard| (shard, 0)).collect();
    for shard in queues.flat_map(|queue| &queue.shards) {
        *load.entry(*shard).or_default() += 1;
    }
    let mut chosen = Vec::with_capacity(count);
    for _ in 0..count {
        let fewest = load.iter().min_by_key(|(shard, load)| (**load, **shard));
        let shard = fewest.map_or(1, |(shard, _)| *shard);
        *load.entry(shard).or_default() += 1;
        chosen.push(shard);
    }
    chosen
}

/// Where the groups `0..=shards` of a new cluster shall be: each has `replicas` voters in as many
/// zones as there are, and voters are spread evenly.
pub(super) fn founding(
    founders: &[NodeInfo],
    shards: u16,
    replicas: usize,
) -> BTreeMap<u16, Placement> {
    let ring = by_zone(founders);
    let place = |group: u16| {
        let begin = usize::from(group) % ring.len().max(1);
        let mut voters: Vec<u64> = ring
            .iter()
            .cycle()
            .skip(begin)
            .take(replicas.min(ring.len()))
            .copied()
            .collect();
        voters.sort_unstable();
        (
            group,
            Placement {
                voters,
                learners: Vec::new(),
                founding: true,
            },
        )
    };
    (0..=shards).map(place).collect()
}

/// Founders in an order in which neighbours are of different zones, as far as there are any.
fn by_zone(founders: &[NodeInfo]) -> Vec<u64> {
    let mut zones: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for founder in founders {
        zones
            .entry(&founder.zone)
            .or_default()
            .push(founder.node_id);
    }
    for nodes in zones.values_mut() {
        nodes.sort_unstable();
    }
    let longest = zones.values().map(Vec::len).max().unwrap_or(0);
    let rounds = (0..longest).flat_map(|n| zones.values().filter_map(move |z| z.get(n).copied()));
    rounds.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn founder(node_id: u64, zone: &str) -> NodeInfo {
        NodeInfo {
            node_id,
            name: format!("node-{node_id}"),
            peer_address: String::new(),
            client_address: String::new(),
            zone: zone.into(),
            binary_version: String::new(),
            command_version: 1,
            boot: crate::catalog::Boot::default(),
        }
    }

    #[test]
    fn voters_are_spread_evenly_and_over_zones() {
        let founders: Vec<_> = [(1, "a"), (2, "a"), (3, "b"), (4, "b"), (5, "c"), (6, "c")]
            .map(|(n, z)| founder(n, z))
            .into();
        let placed = founding(&founders, 11, 3);
        assert_eq!(placed.len(), 12);
        for placement in placed.values() {
            let mut zones: Vec<_> = placement
                .voters
                .iter()
                .map(|n| &founders[*n as usize - 1].zone)
                .collect();
            zones.sort();
            zones.dedup();
            assert_eq!(zones.len(), 3, "{placement:?}");
        }
        for node in 1..=6 {
            assert_eq!(
                placed.values().filter(|p| p.voters.contains(&node)).count(),
                6
            );
        }
    }

    #[test]
    fn a_single_founder_holds_everything() {
        let placed = founding(&[founder(7, "")], 2, 1);
        assert!(placed.values().all(|p| p.voters == [7]));
        assert_eq!(placed.len(), 3);
    }

    #[test]
    fn partitions_go_to_the_emptiest_shard() {
        assert_eq!(shards_for(std::iter::empty(), 3, 5), [1, 2, 3, 1, 2]);
    }
}
