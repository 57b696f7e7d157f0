//! What became of acks whose answer was lost with the leader.

use std::time::{Duration, Instant};

use roadstead_client::ledger::Record;

use super::{IDLE, Run};
use crate::output::line;

/// Longer than a lease: what was not acked after all is delivered again meanwhile.
const LEASE: Duration = Duration::from_secs(35);

impl Run {
    /// Consumes until the queue is empty; false when it is not after the longest lease.
    pub async fn drain(&self, consumers: u64) -> anyhow::Result<bool> {
        let started = Instant::now();
        while !self.is_empty().await? {
            if started.elapsed() > LEASE {
                return Ok(false);
            }
            let mut sinks = self.consume(consumers, IDLE).await?;
            while let Some(ended) = sinks.join_next().await {
                ended??;
            }
        }
        Ok(true)
    }

    /// Every message was acked: none is left, none has expired or was dead-lettered.
    async fn is_empty(&self) -> anyhow::Result<bool> {
        let stats = self.client.queue_stats(&self.queue).await?;
        let left = stats.ready + stats.in_flight + stats.delayed + stats.blocked + stats.outbox;
        let elsewhere = stats.dead_lettered_total + stats.expired_total;
        Ok(left + elsewhere == 0 && stats.partitions_unavailable == 0)
    }
}

/// Enters unanswered acks as acked, now that the queue is seen to be empty.
pub fn confirm(records: Vec<Record>) -> anyhow::Result<Vec<Record>> {
    let mut confirmed = 0;
    let records = records
        .into_iter()
        .map(|record| match record {
            Record::AckUnknown { id } => {
                confirmed += 1;
                Record::Acked { id }
            }
            other => other,
        })
        .collect();
    if confirmed > 0 {
        line(&format!(
            "{confirmed} acks lost their answer with the leader: the queue is empty, so they count"
        ))?;
    }
    Ok(records)
}
