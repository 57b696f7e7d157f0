//! What became of acks whose answer was lost with the leader.

use std::time::{Duration, Instant};

use roadstead_client::ledger::Findings;

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

/// Says what became of acks without an answer. They are not counted as acked.
pub fn say_unanswered(findings: &Findings, empty: bool) -> anyhow::Result<()> {
    if findings.unanswered > 0 {
        let left = if empty {
            "the queue is empty: these messages are gone too"
        } else {
            "the queue is not empty"
        };
        line(&format!(
            "{} acks lost their answer with the leader and count as unknown; {left}",
            findings.unanswered
        ))?;
    }
    Ok(())
}
