//! Producers and consumers of the demo, and whether they get on.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use roadstead_client::ReceiveError;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::Run;
use super::drain::is_empty;
use crate::command::load::sink::{Left, Sink};
use crate::command::load::source::{Plan, Source, Tally};
use crate::units;

/// Seconds that a demo sends for: long enough for a crash in the middle.
const SENDING: u64 = 4;
/// Far longer than an election: without a sign of life for so long it does not get on.
const STALL: Duration = Duration::from_secs(30);
/// A consumer ends when it is stopped, not when nothing comes: producers may be slow.
const NEVER: Duration = Duration::from_hours(24);

/// What sends and receives.
pub struct Traffic {
    sources: JoinSet<Tally>,
    sinks: JoinSet<Result<Left, ReceiveError>>,
    /// Dropped, they stop the consumers.
    stops: Vec<oneshot::Sender<()>>,
    /// Of the producers that have ended.
    pub tallies: Vec<Tally>,
    /// Messages sent and acked when that last changed.
    seen: (u64, u64),
    since: Instant,
}

impl Traffic {
    /// So many producers and as many consumers.
    pub async fn start(run: &Run, clients: u64) -> anyhow::Result<Self> {
        let mut traffic = Self {
            sources: JoinSet::new(),
            sinks: JoinSet::new(),
            stops: Vec::new(),
            tallies: Vec::new(),
            seen: (0, 0),
            since: Instant::now(),
        };
        for _ in 0..clients {
            traffic.consume(run).await?;
        }
        for number in 0..clients {
            let share = run.messages / clients + u64::from(number < run.messages % clients);
            traffic.produce(run, number, share).await?;
        }
        Ok(traffic)
    }

    async fn produce(&mut self, run: &Run, number: u64, messages: u64) -> anyhow::Result<()> {
        let plan = Plan {
            name: format!("producer-{}", number + 1),
            queues: vec![run.queue.clone()],
            messages: Some(messages),
            duration: None,
            rate: messages.div_ceil(SENDING),
            keys: 0,
        };
        let source = Source::start(&run.client, plan, run.journal.clone()).await?;
        let sent = run.sent.clone();
        let mut before = 0;
        self.sources.spawn(source.run(move |acknowledged| {
            sent.fetch_add(acknowledged - before, Ordering::Relaxed);
            before = acknowledged;
        }));
        Ok(())
    }

    async fn consume(&mut self, run: &Run) -> anyhow::Result<()> {
        let consumer = run.client.consumer(&run.queue).start().await?;
        let (stop, stopped) = oneshot::channel();
        self.stops.push(stop);
        let sink = Sink {
            consumer,
            journal: run.journal.clone(),
            work: Duration::ZERO,
            graveyard: false,
            acked: run.acked.clone(),
        };
        self.sinks
            .spawn(sink.run(NEVER, async move { drop(stopped.await) }));
        Ok(())
    }

    /// Waits until two of five sends were acknowledged and one message was acked: most sends are
    /// still to come, and consumers are at work.
    ///
    /// # Errors
    /// When that cannot come: a message was not accepted, a consumer failed, or nothing moves.
    pub async fn until_in_the_middle(&mut self, run: &Run) -> anyhow::Result<()> {
        while !is_in_the_middle(run.counts(), run.messages) {
            self.step(run, Duration::from_millis(5)).await?;
            if let Some(bad) = self.tallies.iter().find(|tally| tally.failed > 0) {
                let why = bad.first_error.as_ref().map(ToString::to_string);
                bail!(
                    "{} of {} messages of a producer were not sent to {}, the first: {}",
                    bad.failed,
                    bad.failed + bad.acknowledged,
                    run.queue,
                    why.unwrap_or_default()
                );
            }
            self.bail_if_stalled()?;
        }
        Ok(())
    }

    /// Waits until every producer has ended.
    ///
    /// # Errors
    /// When a consumer failed, or nothing moves.
    pub async fn until_sent(&mut self, run: &Run) -> anyhow::Result<()> {
        while !self.sources.is_empty() {
            self.step(run, Duration::from_millis(100)).await?;
            self.bail_if_stalled()?;
        }
        Ok(())
    }

    /// Waits until the queue is empty, or nothing was acked for longer than a lease: what was
    /// not acked after all would have come again meanwhile.
    ///
    /// # Errors
    /// When a consumer failed, or the queue cannot be asked.
    pub async fn until_empty(&mut self, run: &Run, lease: Duration) -> anyhow::Result<()> {
        self.since = Instant::now();
        while !is_empty(&run.client.queue_stats(&run.queue).await?)
            && self.since.elapsed() < lease + Duration::from_secs(5)
        {
            self.step(run, Duration::from_millis(100)).await?;
        }
        Ok(())
    }

    /// Stops the consumers and waits for the answers to what they acked.
    ///
    /// # Errors
    /// When a consumer failed.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.stops.clear();
        while let Some(ended) = self.sinks.join_next().await {
            ended??;
        }
        Ok(())
    }

    /// Waits a turn, and takes in what has ended meanwhile.
    async fn step(&mut self, run: &Run, turn: Duration) -> anyhow::Result<()> {
        tokio::select! {
            Some(tally) = self.sources.join_next() => {
                self.tallies.push(tally.context("a producer failed")?);
            }
            Some(ended) = self.sinks.join_next() => {
                ended?.context("a consumer failed")?;
                bail!("a consumer ended early");
            }
            () = sleep(turn) => {}
        }
        let counts = run.counts();
        if counts != self.seen {
            self.seen = counts;
            self.since = Instant::now();
        }
        Ok(())
    }

    fn bail_if_stalled(&self) -> anyhow::Result<()> {
        if self.since.elapsed() > STALL {
            let (sent, acked) = self.seen;
            bail!(
                "nothing was sent or acked for {}: {sent} sent and {acked} acked so far",
                units::show(STALL)
            );
        }
        Ok(())
    }
}

/// Whether so many sent and acked messages are enough for a crash.
fn is_in_the_middle((sent, acked): (u64, u64), messages: u64) -> bool {
    sent >= (messages.saturating_mul(2) / 5).max(1) && acked > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_one_of_sends_not_of_acks() {
        assert!(!is_in_the_middle((7_999, 7_999), 20_000));
        assert!(!is_in_the_middle((8_000, 0), 20_000));
        assert!(is_in_the_middle((8_000, 1), 20_000));
        assert!(!is_in_the_middle((0, 1), 1));
    }
}
