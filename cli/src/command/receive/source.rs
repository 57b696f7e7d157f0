//! Where the messages of a run come from, and when there are no more.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use roadstead_client::proto::DeliveryGuarantee;
use roadstead_client::{Client, Consumer, Delivery, SettleError};
use tokio::time::timeout;

use super::Receive;
use crate::exit::{Failure, Kind};
use crate::output::note;
use crate::stop::Stop;
use crate::units;

/// What is ready has this long to come, however short the wait for more is.
const READY: Duration = Duration::from_secs(2);

/// A queue that a run takes messages from.
pub struct Source<'a> {
    pub options: &'a Receive,
    pub consumer: &'a Consumer,
    pub stop: Stop,
    /// A delivery is its own ack: nothing goes back.
    pub at_most_once: bool,
    pub client: &'a Client,
    /// Messages that were ready, where the wait is shorter than an answer may take.
    pub ready: u64,
}

/// Messages that are ready; asked before any is fetched, and only where the wait is too short to
/// find out by waiting.
pub async fn ready(options: &Receive, client: &Client) -> anyhow::Result<u64> {
    if options.follow || options.wait >= READY {
        return Ok(0);
    }
    let stats = client
        .group_stats(&options.queue, &options.as_whom.group)
        .await?;
    Ok(stats.ready)
}

/// Whether nothing of the queue goes back.
pub async fn is_at_most_once(client: &Client, queue: &str) -> anyhow::Result<bool> {
    let spec = client.queue(queue).await?.spec.unwrap_or_default();
    Ok(spec.delivery() == DeliveryGuarantee::AtMostOnce)
}

impl Source<'_> {
    /// Whether more are wanted than were received.
    pub fn wants_more(&self, received: u64) -> bool {
        self.options.follow || received < self.options.count
    }

    /// The next message after so many; `None` when none has come since `since` in time, the
    /// consumer is drained, or it is time to stop.
    pub async fn next(&self, received: u64, since: Instant) -> anyhow::Result<Option<Delivery>> {
        let next = async {
            if self.options.follow {
                return self.consumer.next().await;
            }
            let wait = self.options.wait;
            let wait = if received < self.ready {
                wait.max(READY)
            } else {
                wait
            };
            let next = timeout(wait.saturating_sub(since.elapsed()), self.consumer.next()).await;
            next.unwrap_or(Ok(None))
        };
        tokio::select! {
            biased;
            () = self.stop.once() => Ok(None),
            next = next => Ok(next?),
        }
    }

    /// Resolves when it is time to stop and the grace is over.
    pub async fn over(&self) {
        self.stop.over(self.options.grace).await;
    }

    /// To be said before the last message is settled: that makes room for another one, which would
    /// be fetched and held up, or lost where nothing goes back. It may be the same one.
    pub fn fetch_no_more(&self, last: bool) {
        if last || self.stop.told() {
            self.consumer.stop();
        }
    }

    /// What becomes of a message on which the work did not succeed.
    pub fn fate(&self) -> &'static str {
        if self.at_most_once {
            "it is lost, as it was received at most once"
        } else {
            "it goes back"
        }
    }

    /// Waits for the answer to a settlement, but not longer than there is time.
    pub async fn settle(
        &self,
        settled: impl Future<Output = Result<(), SettleError>>,
        what: &'static str,
    ) -> anyhow::Result<()> {
        tokio::select! {
            answer = settled => answer.context(what),
            () = self.over() => bail!("{what} before it was time to stop"),
        }
    }

    /// Says why nothing came, unless the consumer is drained: as there is nothing, or as not
    /// everybody could be asked.
    ///
    /// # Errors
    /// When nobody could be asked.
    pub async fn explain_nothing(&self) -> anyhow::Result<()> {
        if self.consumer.is_draining() {
            return Ok(());
        }
        // What came from now on would only have to go back.
        self.consumer.stop();
        tokio::select! {
            biased;
            () = self.stop.once() => Ok(()),
            checked = self.look() => checked,
        }
    }

    async fn look(&self) -> anyhow::Result<()> {
        let queue = &self.options.queue;
        let partitions = self.client.queue(queue).await?.shards.len();
        let stats = self.client.confirmed_queue_stats(queue).await?;
        let wait = units::show(self.options.wait);
        let nothing = format!("no message in {queue} within {wait}");
        note(&explain(
            nothing,
            stats.partitions_unavailable as usize,
            partitions,
        )?);
        Ok(())
    }
}

/// What to say where nothing came and `silent` of the queue's `partitions` could not be asked; an
/// error when none could.
fn explain(nothing: String, silent: usize, partitions: usize) -> Result<String, Failure> {
    if silent == 0 {
        return Ok(nothing);
    }
    let nothing = format!(
        "{nothing}, but {silent} of its {partitions} partitions could not be asked: no majority of \
         their shards' nodes answers"
    );
    if silent < partitions {
        return Ok(nothing);
    }
    let message = format!("{nothing}; try again when the nodes run");
    Err(Failure(Kind::Unreachable, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_queue_is_told_from_one_that_nobody_could_ask() {
        let said = |silent| explain("no message".to_owned(), silent, 2);
        assert_eq!(said(0).unwrap(), "no message");
        assert!(said(1).unwrap().contains("1 of its 2 partitions"));
        assert_eq!(said(2).unwrap_err().0, Kind::Unreachable);
    }
}
