//! `roadstead receive QUEUE`

mod exec;

use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use roadstead_client::proto::DeliveryGuarantee;
use roadstead_client::{Client, Consumer, Delivery, Settled};
use tokio::time::timeout;

use self::exec::Running;
use crate::connection::Connection;
use crate::exit::{Failure, Kind};
use crate::output::{Output, bytes, line, note};
use crate::stop::Stop;
use crate::{format, names, units};

/// How long a command may take to end that was sent SIGTERM; it is killed then.
const LAST: Duration = Duration::from_secs(2);
/// What is ready has this long to come, however short the wait for more is.
const READY: Duration = Duration::from_secs(2);

/// Where from, and what to do with each message.
#[derive(Debug, Args)]
pub struct Receive {
    /// Queue: name, or namespace/name
    #[arg(value_parser = names::queue)]
    queue: String,
    /// Consumer group
    #[arg(long, default_value = "default")]
    group: String,
    /// Messages to receive, without --follow
    #[arg(long, short = 'c', default_value_t = 1, conflicts_with = "follow")]
    #[arg(allow_negative_numbers = true, value_parser = units::at_least_one::<u64>)]
    count: u64,
    /// Go on until Ctrl-C; with --ack or --exec
    #[arg(long, short = 'F', requires = "done")]
    follow: bool,
    /// How long to wait for a message, without --follow; 0s takes what is ready
    #[arg(long, value_parser = units::duration, default_value = "5s", conflicts_with = "follow")]
    #[arg(allow_hyphen_values = true)]
    wait: Duration,
    /// Ack each message when it is printed; without this it goes back uncounted, which an
    /// at-most-once queue cannot do
    #[arg(long, group = "done")]
    ack: bool,
    /// Run this command by sh for each message, the body on its stdin: exit 0 acks, else it goes
    /// back. The message is described by `ROADSTEAD_MESSAGE_ID`, `_KEY`, `_DELIVERY_COUNT` and
    /// `_QUEUE`
    #[arg(long, value_name = "COMMAND", group = "done")]
    exec: Option<String>,
    /// How long the message of a command that failed waits before it is delivered again; without
    /// it, as the queue's backoff says
    #[arg(long, value_parser = units::duration, requires = "exec", allow_hyphen_values = true)]
    retry_after: Option<Duration>,
    /// How long a running command may take after SIGTERM or Ctrl-C; it is sent SIGTERM then and
    /// killed 2s later, and its message goes back. A second signal ends it at once
    #[arg(long, value_parser = units::duration, default_value = "25s", requires = "exec")]
    #[arg(allow_hyphen_values = true)]
    grace: Duration,
}

/// What the messages of a run have in common.
struct Run<'a> {
    options: &'a Receive,
    client: &'a Client,
    output: &'a Output,
    consumer: &'a Consumer,
    stop: Stop,
    /// A delivery is its own ack: nothing goes back.
    at_most_once: bool,
    /// Messages that were ready, where the wait is shorter than an answer may take.
    ready: u64,
}

impl Receive {
    pub async fn run(self, connection: &Connection, output: &Output) -> anyhow::Result<()> {
        let looks = !self.ack && self.exec.is_none();
        // What is looked at is held until the end. Were the number split over streams to several
        // leaders, a share that finds no messages would keep the rest from coming.
        let client = if looks {
            connection.connect_indirect().await?
        } else {
            connection.connect().await?
        };
        let at_most_once = is_at_most_once(&client, &self.queue).await?;
        if at_most_once && looks {
            bail!(
                "queue {} is AtMostOnce: a message that was received cannot go back; say --ack to \
                 take it, or look at it by: roadstead queue peek {}",
                self.queue,
                self.queue
            );
        }
        let ready = self.ready(&client).await?;
        let consumer = client
            .consumer(&self.queue)
            .group(&self.group)
            .max_in_flight(self.ahead(at_most_once)?);
        let consumer = consumer.start().await?;
        let run = Run {
            options: &self,
            client: &client,
            output,
            consumer: &consumer,
            stop: Stop::listen()?,
            at_most_once,
            ready,
        };
        let mut held = Vec::new();
        let result = run.receive(&mut held).await;
        consumer.stop();
        for delivery in held {
            drop(delivery.release());
        }
        // Within the 30 s that Kubernetes gives by default, after the grace.
        let patience = Duration::from_secs(if run.stop.told() { 2 } else { 5 });
        drop(run);
        if !consumer.close(patience).await {
            note("not every settlement was answered; some messages may be delivered again");
        }
        result
    }

    /// Messages that are ready; asked before any is fetched, and only where the wait is too short
    /// to find out by waiting.
    async fn ready(&self, client: &Client) -> anyhow::Result<u64> {
        if self.follow || self.wait >= READY {
            return Ok(0);
        }
        let stats = client.group_stats(&self.queue, &self.group).await?;
        Ok(stats.ready)
    }

    /// Messages to hold at once. Fetching ahead would count deliveries of messages that nobody
    /// looks at, and lose those that cannot go back.
    fn ahead(&self, at_most_once: bool) -> anyhow::Result<u32> {
        if self.exec.is_some() || at_most_once {
            return Ok(1);
        }
        if self.follow {
            return Ok(32);
        }
        Ok(u32::try_from(
            self.count.clamp(1, if self.ack { 32 } else { 10_000 }),
        )?)
    }
}

async fn is_at_most_once(client: &Client, queue: &str) -> anyhow::Result<bool> {
    let spec = client.queue(queue).await?.spec.unwrap_or_default();
    Ok(spec.delivery() == DeliveryGuarantee::AtMostOnce)
}

impl Run<'_> {
    async fn receive(&self, held: &mut Vec<Delivery>) -> anyhow::Result<()> {
        let options = self.options;
        let (mut received, mut failed) = (0, 0);
        while options.follow || received < options.count {
            let Some(delivery) = self.next(received).await? else {
                break;
            };
            received += 1;
            let last = !options.follow && received == options.count;
            failed += u64::from(!self.handle(delivery, last, held).await?);
        }
        if failed > 0 && !options.follow {
            bail!("{failed} of {received} commands failed");
        }
        if received > 0 {
            return Ok(());
        }
        // What came from now on would only have to go back.
        self.consumer.stop();
        tokio::select! {
            biased;
            () = self.stop.once() => Ok(()),
            checked = self.explain_nothing() => checked,
        }
    }

    /// Nothing came: as there is nothing, or as not everybody could be asked.
    async fn explain_nothing(&self) -> anyhow::Result<()> {
        let options = self.options;
        let partitions = self.client.queue(&options.queue).await?.shards.len();
        let stats = self.client.confirmed_queue_stats(&options.queue).await?;
        let wait = units::show(options.wait);
        let nothing = format!("no message in {} within {wait}", options.queue);
        note(&explain(
            nothing,
            stats.partitions_unavailable as usize,
            partitions,
        )?);
        Ok(())
    }

    /// The next message after so many; `None` when there is none in time, or it is time to stop.
    async fn next(&self, received: u64) -> anyhow::Result<Option<Delivery>> {
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
            let next = timeout(wait, self.consumer.next()).await;
            next.unwrap_or(Ok(None))
        };
        tokio::select! {
            biased;
            () = self.stop.once() => Ok(None),
            next = next => Ok(next?),
        }
    }

    /// Does with a message what was asked; false when the command failed.
    async fn handle(
        &self,
        delivery: Delivery,
        last: bool,
        held: &mut Vec<Delivery>,
    ) -> anyhow::Result<bool> {
        if let Some(command) = &self.options.exec {
            return self.execute(command, delivery, last).await;
        }
        if self.output.is_json() {
            line(&format::message(&delivery).to_string())?;
        } else {
            bytes(&delivery.body)?;
        }
        if self.options.ack {
            self.fetch_no_more(last);
            self.settle(delivery.ack(), "printed, but not acked")
                .await?;
        } else {
            // Kept until the end, so that the next one is another one.
            held.push(delivery);
        }
        Ok(true)
    }

    async fn execute(&self, command: &str, delivery: Delivery, last: bool) -> anyhow::Result<bool> {
        let mut running = Running::start(command, &self.options.queue, &delivery)?;
        let ended = tokio::select! {
            ended = running.end(&delivery.body) => Some(ended?),
            () = self.stop.over(self.options.grace) => None,
        };
        let Some(status) = ended else {
            return self.cut(running, delivery).await;
        };
        self.fetch_no_more(last);
        if status.success() {
            let lost = "the command succeeded, but the ack did not";
            self.settle(delivery.ack(), lost).await?;
            return Ok(true);
        }
        let reason = format!("the command ended with {status}");
        note(&format!("{}: {reason}; {}", delivery.id, self.fate()));
        let settled = delivery.nack(self.options.retry_after, reason);
        self.settle(settled, "the command failed, and so did the nack")
            .await?;
        Ok(false)
    }

    /// Ends a command whose time is over. However it ends, nobody knows how far it got.
    async fn cut(&self, mut running: Running, delivery: Delivery) -> anyhow::Result<bool> {
        tokio::select! {
            ended = timeout(LAST, running.terminate()) => drop(ended),
            () = self.stop.twice() => {}
        }
        drop(running);
        self.fetch_no_more(true);
        let id = delivery.id.clone();
        // The consumer is closed next, which waits for the answer.
        drop(delivery.release());
        bail!(
            "{id}: the command had not ended when it was time to stop; {}",
            self.fate()
        )
    }

    /// To be said before the last message is settled: that makes room for another one, which would
    /// be fetched and held up, or lost where nothing goes back. It may be the same one.
    fn fetch_no_more(&self, last: bool) {
        if last || self.stop.told() {
            self.consumer.stop();
        }
    }

    /// What becomes of a message whose command did not succeed.
    fn fate(&self) -> &'static str {
        if self.at_most_once {
            "it is lost, as its queue is AtMostOnce"
        } else {
            "it goes back"
        }
    }

    /// Waits for the answer to a settlement, but not longer than there is time.
    async fn settle(&self, settled: Settled, what: &'static str) -> anyhow::Result<()> {
        tokio::select! {
            answer = settled => answer.context(what),
            () = self.stop.over(self.options.grace) => bail!("{what} before it was time to stop"),
        }
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
