//! One message after the other: printed, or handed to a command.

use std::time::{Duration, Instant};

use anyhow::bail;
use futures_util::TryFutureExt as _;
use roadstead_client::{Delivery, Message, Output as Outgoing, SettleError};
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
        let kept = options.output_queue.is_some();
        let mut running = Running::start(command, &options.queue, &delivery, kept)?;
        let ended = tokio::select! {
            ended = running.end(&delivery.body) => Some(ended?),
            () = source.over() => None,
        };
        let Some((status, printed)) = ended else {
            return self.cut(running, delivery).await;
        };
        source.fetch_no_more(last);
        if status.success() {
            let lost = "the command succeeded, but the ack did not";
            match &options.output_queue {
                Some(queue) => {
                    let outputs = output_of(&delivery, queue, printed);
                    let id = delivery.id.clone();
                    let completed = delivery.complete(outputs).map_ok(drop);
                    let done = source.settle(completed, lost).await;
                    return self.completed(&id, done);
                }
                None => source.settle(delivery.ack(), lost).await?,
            }
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

    /// False where what a command printed cannot be sent: its message went back with the reason.
    fn completed(&self, id: &str, done: anyhow::Result<()>) -> anyhow::Result<bool> {
        let Err(error) = done else {
            return Ok(true);
        };
        match error.downcast_ref::<SettleError>() {
            Some(SettleError::Refused(fault)) if !fault.retryable => {
                note(&format!("{id}: {}; {}", fault.message, self.source.fate()));
                Ok(false)
            }
            _ => Err(error),
        }
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

/// What a command printed as a message, of the same key, priority, tenant and trace; none where it
/// printed nothing.
fn output_of(delivery: &Delivery, queue: &str, printed: Vec<u8>) -> Option<Outgoing> {
    if printed.is_empty() {
        return None;
    }
    let mut message = Message::new(printed).fairness_key(&delivery.fairness_key);
    message = message.priority(u8::try_from(delivery.priority).unwrap_or_default());
    if !delivery.ordering_key.is_empty() {
        message = message.key(&delivery.ordering_key);
    }
    if !delivery.trace_parent.is_empty() {
        message = message
            .trace_parent(&delivery.trace_parent)
            .trace_state(&delivery.trace_state);
    }
    Some(Outgoing::new(queue, message))
}
