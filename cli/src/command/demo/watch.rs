//! Who leads the shards of a queue.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::bail;
use roadstead_client::Client;
use tokio::time::sleep;

/// Leaders are waited for at most for so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A node and the shards of a queue that it leads.
#[derive(Debug, PartialEq, Eq)]
pub struct Leader {
    pub node: u64,
    pub shards: Vec<u32>,
}

/// The node that leads most of `shards`; waits until one leads any.
pub async fn busiest(client: &Client, shards: &[u32]) -> anyhow::Result<Leader> {
    let started = Instant::now();
    loop {
        let leader = busiest_now(client, shards).await?;
        if !leader.shards.is_empty() {
            return Ok(leader);
        }
        if started.elapsed() > PATIENCE {
            bail!("shards {shards:?} have no leader for {PATIENCE:?}");
        }
        sleep(Duration::from_millis(20)).await;
    }
}

async fn busiest_now(client: &Client, shards: &[u32]) -> anyhow::Result<Leader> {
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
        if started.elapsed() > PATIENCE {
            bail!(
                "shards {:?} have no leader {PATIENCE:?} after the crash",
                before.shards
            );
        }
        sleep(Duration::from_millis(20)).await;
    }
}
