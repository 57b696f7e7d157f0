//! One message after the other: printed, or handed to a command.

use std::time::{Duration, Instant};

use anyhow::bail;
use roadstead_client::Delivery;
use tokio::time::timeout;

use super::exec::Running;
use super::source::Source;
use crate::format;
use crate::output::{Output, bytes, line, note};

/// How long a command may take to end that was sent SIGTERM; it is killed then.
const LAST: Duration = Duration::from_secs(2);

/// What the messages of a run have in common.
pub struct Each<'a> {
    pub source: &'a Source<'a>,
    pub output: &'a Output,
}

impl Each<'_> {
    /// Takes messages until there are enough; those that are only looked at go into `held`.
    pub async fn receive(&self, held: &mut Vec<Delivery>) -> anyhow::Result<()> {
        let (source, options) = (self.source, self.source.options);
        let (mut received, mut failed) = (0, 0);
        while source.wants_more(received) {
            let Some(delivery) = source.next(received, Instant::now()).await? else {
                break;
            };
            received += 1;
            let last = !source.wants_more(received);
            failed += u64::from(!self.handle(delivery, last, held).await?);
        }
        if failed > 0 && !options.follow {
            bail!("{failed} of {received} commands failed");
        }
        if received > 0 {
            return Ok(());
        }
        source.explain_nothing().await
    }

    /// Does with a message what was asked; false when the command failed.
    async fn handle(
        &self,
        delivery: Delivery,
        last: bool,
        held: &mut Vec<Delivery>,
    ) -> anyhow::Result<bool> {
        let source = self.source;
        if let Some(command) = &source.options.exec {
            return self.execute(command, delivery, last).await;
        }
        if self.output.is_json() {
            line(&format::message(&delivery).to_string())?;
        } else {
            bytes(&delivery.body)?;
        }
        if source.options.ack {
            source.fetch_no_more(last);
            source
                .settle(delivery.ack(), "printed, but not acked")
                .await?;
        } else {
            // Kept until the end, so that the next one is another one.
            held.push(delivery);
        }
        Ok(true)
    }

    async fn execute(&self, command: &str, delivery: Delivery, last: bool) -> anyhow::Result<bool> {
        let (source, options) = (self.source, self.source.options);
        let mut running = Running::start(command, &options.queue, &delivery)?;
        let ended = tokio::select! {
            ended = running.end(&delivery.body) => Some(ended?),
            () = source.over() => None,
        };
        let Some(status) = ended else {
            return self.cut(running, delivery).await;
        };
        source.fetch_no_more(last);
        if status.success() {
            let lost = "the command succeeded, but the ack did not";
            source.settle(delivery.ack(), lost).await?;
            return Ok(true);
        }
        let reason = format!("the command ended with {status}");
        note(&format!("{}: {reason}; {}", delivery.id, source.fate()));
        let settled = delivery.nack(options.retry_after, reason);
        source
            .settle(settled, "the command failed, and so did the nack")
            .await?;
        Ok(false)
    }

    /// Ends a command whose time is over. However it ends, nobody knows how far it got.
    async fn cut(&self, mut running: Running, delivery: Delivery) -> anyhow::Result<bool> {
        let source = self.source;
        tokio::select! {
            ended = timeout(LAST, running.terminate()) => drop(ended),
            () = source.stop.twice() => {}
        }
        drop(running);
        source.fetch_no_more(true);
        let id = delivery.id.clone();
        // The consumer is closed next, which waits for the answer.
        drop(delivery.release());
        bail!(
            "{id}: the command had not ended when it was time to stop; {}",
            source.fate()
        )
    }
}
