//! Who leads the shards of a queue.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::bail;
use roadstead_client::Client;
use tokio::time::sleep;

/// A node and the shards of a queue that it leads.
#[derive(Debug, PartialEq, Eq)]
pub struct Leader {
    pub node: u64,
    pub shards: Vec<u32>,
}

/// The node that leads most of `shards`; node 0 when none has a leader.
pub async fn busiest(client: &Client, shards: &[u32]) -> anyhow::Result<Leader> {
    let status = client.cluster_status().await?;
    let mut led: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    let of = |shard: u32| shards.contains(&shard);
    for shard in status
        .shards
        .iter()
        .filter(|shard| of(shard.shard) && shard.leader != 0)
    {
        led.entry(shard.leader).or_default().push(shard.shard);
    }
    let most = led.into_iter().max_by_key(|(_, shards)| shards.len());
    let (node, shards) = most.unwrap_or_default();
    Ok(Leader { node, shards })
}

/// Waits until every shard that `before` led is led by another node.
pub async fn until_led(client: &Client, before: &Leader) -> anyhow::Result<()> {
    let started = Instant::now();
    loop {
        if let Ok(status) = client.cluster_status().await {
            let again = status.shards.iter().filter(|shard| {
                before.shards.contains(&shard.shard)
                    && shard.leader != 0
                    && shard.leader != before.node
            });
            if again.count() == before.shards.len() {
                return Ok(());
            }
        }
        if started.elapsed() > Duration::from_secs(30) {
            bail!(
                "shards {:?} have no leader 30 s after the crash",
                before.shards
            );
        }
        sleep(Duration::from_millis(20)).await;
    }
}
