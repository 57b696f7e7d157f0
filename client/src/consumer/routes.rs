//! Which partitions are received over a stream to which node.

use std::collections::{BTreeMap, BTreeSet};

use crate::client::Shared;

/// Partitions by address: each goes to its leader, so that nothing is forwarded. When the consumer
/// wants fewer messages than there are leaders, one stream to one node (of those in `used`, if one
/// is up) serves all: credit that is split would ask for too many.
pub(crate) fn plan(
    shared: &Shared,
    shards: &[u32],
    max_in_flight: u32,
    used: &BTreeSet<&str>,
) -> BTreeMap<String, BTreeSet<u32>> {
    let mut plan: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
    let stay = used
        .iter()
        .find(|address| !shared.channels.is_down(address));
    let anyone = stay.map_or_else(|| shared.anyone(), |address| (*address).to_owned());
    for (partition, &shard) in (0..).zip(shards) {
        let address = shared.leader(shard).unwrap_or_else(|| anyone.clone());
        plan.entry(address).or_default().insert(partition);
    }
    if (max_in_flight as usize) < plan.len() {
        let all = plan.into_values().flatten().collect();
        return BTreeMap::from([(anyone, all)]);
    }
    plan
}
