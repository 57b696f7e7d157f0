//! A cluster made over volumes that were retained is what they hold, whatever its object says.
use roadstead_crds::QueueClusterSpec;

use crate::observed::{ClusterView, Observed};

/// What cannot change and differs from what the nodes found on their volumes. A `replicationFactor`
/// that is higher than theirs is not seen here: it looks like copies that are still being made.
pub fn difference(spec: &QueueClusterSpec, observed: &Observed) -> Option<String> {
    let view = observed.served()?;
    let shards = view.shards.iter().filter(|shard| shard.shard > 0).count();
    // A group may have a voter too many while one is replaced, but not all of them at once.
    let copies = view.shards.iter().map(ClusterView::voters).min()?;
    let wanted = |number: i32| usize::try_from(number).unwrap_or(0);
    let mut differs = Vec::new();
    if shards != wanted(spec.shards) {
        differs.push(format!("shards is {shards}, not {}", spec.shards));
    }
    if copies > wanted(spec.replication_factor) {
        let specified = spec.replication_factor;
        differs.push(format!("replicationFactor is {copies}, not {specified}"));
    }
    (!differs.is_empty()).then(|| {
        format!(
            "the cluster on the retained volumes stays as it was founded: {}; make the \
             QueueCluster anew with what it has, or delete the volumes as well",
            differs.join(" and ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::fixtures::cluster;
    use crate::observed::fixtures::healthy;

    #[test]
    fn what_the_nodes_have_counts() {
        let spec = |shards, replication_factor| QueueClusterSpec {
            shards,
            replication_factor,
            ..cluster().spec
        };
        let mut growing = healthy(3);
        for shard in &mut growing.cluster.as_mut().unwrap().shards {
            shard.replicas.truncate(1);
        }
        let mut replacing = healthy(3);
        let shard = &mut replacing.cluster.as_mut().unwrap().shards[4];
        shard.replicas.push(shard.replicas[0]);
        let cases = [
            ("as specified", healthy(3), spec(8, 3), None),
            (
                "other shards",
                healthy(3),
                spec(16, 3),
                Some("shards is 8, not 16"),
            ),
            (
                "fewer copies",
                healthy(3),
                spec(8, 1),
                Some("replicationFactor is 3, not 1"),
            ),
            (
                "both",
                healthy(3),
                spec(9, 1),
                Some("not 9 and replicationFactor"),
            ),
            ("copies are being made", growing, spec(8, 3), None),
            ("one is replaced", replacing, spec(8, 3), None),
            ("nobody answers", Observed::default(), spec(16, 3), None),
        ];
        for (what, observed, spec, words) in cases {
            let found = difference(&spec, &observed);
            let right = match words {
                Some(words) => found.as_ref().is_some_and(|found| found.contains(words)),
                None => found.is_none(),
            };
            assert!(right, "{what}: {found:?}");
        }
    }
}
