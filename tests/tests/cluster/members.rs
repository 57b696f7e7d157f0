//! Nodes that join and leave.

use std::sync::Arc;
use std::time::Duration;

use roadstead_tests::live::cluster::until;
use roadstead_tests::live::{LiveCluster, Load};

use super::{settle, small, with_queue};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_joins_and_another_is_drained_and_leaves() {
    let mut cluster = with_queue(LiveCluster::found(3, small()).await).await;
    let new = cluster.add_host().await.expect("a fourth node starts");
    let cluster = Arc::new(cluster);
    let load = Load::start(&cluster, 100);
    load.flows(100).await.expect("traffic flows");
    cluster.join(new).await.expect("it joins");
    cluster.until_ready().await.expect("it is ready");
    let leaver = cluster.node_id(1);
    cluster.drain(leaver).await.expect("another one is drained");
    load.flows(100).await.expect("traffic flows");
    let drained = cluster.hosts[1].node().expect("it runs");
    until("it holds no shard", || match drained.groups().all().len() {
        0 | 1 => Ok(()),
        groups => Err(format!("{groups} groups")),
    })
    .await
    .expect("its replicas are let go");
    tokio::time::timeout(Duration::from_secs(1), drained.ending())
        .await
        .expect_err("a replica that is let go ends nothing else");
    cluster.remove(leaver).await.expect("it is removed");
    let members = cluster.members().await.expect("members are listed");
    assert_eq!(members.len(), 3, "{members:?}");
    assert!(members.iter().all(|member| member.node_id != leaver));
    settle(&cluster, load).await;
}
