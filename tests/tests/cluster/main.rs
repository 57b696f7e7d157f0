//! Three nodes and more in one process, on real disks, through what happens to a cluster.

#![expect(clippy::print_stdout, reason = "says what ran")]

mod crashes;
mod deduplication;
mod digests;
mod leaders;
mod members;
mod promises;
mod quotas;
mod volumes;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use roadstead_node::catalog::divergence::DigestCounts;
use roadstead_node::node::Ending;
use roadstead_node::raft::types::GroupId;
use roadstead_node::store::StoreOptions;
use roadstead_proto::v1::QueueSpec;
use roadstead_tests::live::cluster::{SHARDS, until};
use roadstead_tests::live::load::{PARTITIONS, QUEUE};
use roadstead_tests::live::{LiveCluster, LiveHost, Load};

fn spec() -> QueueSpec {
    let lease = Some(prost_types::Duration {
        seconds: 3,
        nanos: 0,
    });
    let retries = Some(roadstead_proto::v1::RetryPolicy {
        max_deliveries: 1_000,
        ..Default::default()
    });
    QueueSpec {
        partitions: PARTITIONS,
        lease,
        retries,
        ..QueueSpec::default()
    }
}

/// Segments so small that they are recycled within a story.
fn small() -> StoreOptions {
    StoreOptions {
        segment_bytes: 1 << 20,
        window_bytes: 2 << 20,
        tail_bytes: 1 << 20,
        reserve_bytes: 16 << 20,
        reserve_percent: 0,
        ..StoreOptions::default()
    }
}

async fn found(hosts: usize, options: StoreOptions) -> Arc<LiveCluster> {
    Arc::new(with_queue(LiveCluster::found(hosts, options).await).await)
}

async fn with_queue(founded: anyhow::Result<LiveCluster>) -> LiveCluster {
    let cluster = founded.expect("a cluster is founded");
    cluster
        .create(QUEUE, spec())
        .await
        .expect("a queue is created");
    cluster
}

async fn settle(cluster: &Arc<LiveCluster>, load: Load) {
    compare(cluster).await;
    settle_short(cluster, load).await;
}

/// The same where a node does not run: the replicas of a shard are compared when all are there.
async fn settle_short(cluster: &Arc<LiveCluster>, load: Load) {
    let DigestCounts { agreed, mismatched } = digests(cluster);
    println!("{agreed} digests alike, {mismatched} not");
    assert_eq!(mismatched, 0, "replicas differ");
    settle_damaged(cluster, load).await;
}

/// Waits until the replicas of each shard have been compared once more, and were found alike.
async fn compare(cluster: &LiveCluster) {
    let alike = || {
        let mut alike = BTreeMap::<GroupId, u64>::new();
        for node in cluster.hosts.iter().filter_map(LiveHost::node) {
            for (shard, counts) in node.digest_counts() {
                *alike.entry(shard).or_default() += counts.agreed;
            }
        }
        alike
    };
    let before = alike();
    let compared = until("the replicas of each shard to be compared", || {
        let now = alike();
        if (1..=SHARDS).all(|shard| now.get(&shard) > before.get(&shard)) {
            Ok(())
        } else {
            Err(format!("{now:?} digests alike, {before:?} before"))
        }
    });
    compared.await.expect("they are compared all the time");
}

/// What the nodes that run have found of all shards, as far as they led the catalog.
fn digests(cluster: &LiveCluster) -> DigestCounts {
    let nodes = cluster.hosts.iter().filter_map(LiveHost::node);
    let counts = nodes.flat_map(|node| node.digest_counts().into_values());
    counts.fold(DigestCounts::default(), |sum, more| DigestCounts {
        agreed: sum.agreed + more.agreed,
        mismatched: sum.mismatched + more.mismatched,
    })
}

/// The same where a replica was damaged.
async fn settle_damaged(cluster: &Arc<LiveCluster>, load: Load) {
    let count = load.acknowledged();
    let violations = load.stop(cluster).await.expect("the load comes to an end");
    println!("{count} messages acknowledged");
    assert!(count > 0, "nothing was sent");
    assert_eq!(violations, [], "of {count} messages");
}

/// Waits until the node stops serving by itself.
async fn ending(host: &LiveHost) -> Ending {
    let node = host.node().expect("it runs");
    tokio::time::timeout(Duration::from_secs(20), node.ending())
        .await
        .expect("the node stops serving")
}
