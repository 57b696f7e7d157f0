//! `roadstead bench`: throughput and latency, end to end.

mod consume;
mod produce;
mod report;
mod stamp;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use clap::{Args, value_parser};
use roadstead_client::proto::{DeletePolicy, QueueLimits, QueueSpec};
use roadstead_client::{Client, Consumer, Producer};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use self::report::{Measured, Report};
use crate::connection::Connection;
use crate::output::{Output, note};
use crate::stop::Stop;
use crate::{names, units};

/// What load, and for how long.
#[derive(Debug, Clone, Args)]
pub struct Bench {
    /// Queue to use; without it queues are made and deleted afterwards
    #[arg(long, value_parser = names::queue)]
    queue: Option<String>,
    /// Queues that are made; producers and consumers share them out, or share them
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u32).range(1..=10_000))]
    #[arg(allow_negative_numbers = true, conflicts_with = "queue")]
    queues: u32,
    /// Partitions of each queue that is made
    #[arg(long, default_value_t = 8, value_parser = value_parser!(u32).range(1..=1024))]
    #[arg(allow_negative_numbers = true)]
    partitions: u32,
    /// Producers, each with its own streams
    #[arg(long, default_value_t = 4, value_parser = units::at_least_one::<u32>)]
    #[arg(allow_negative_numbers = true)]
    producers: u32,
    /// Consumers, each with its own streams; 0 leaves the messages there
    #[arg(long, default_value_t = 4, allow_negative_numbers = true)]
    consumers: u32,
    /// Bytes per body, 32..16777216
    #[arg(long, value_parser = size, default_value = "1Ki", allow_hyphen_values = true)]
    size: u64,
    /// Messages that each producer keeps unanswered (closed loop); 1: one at a time
    #[arg(long, default_value_t = 500, value_parser = batch, allow_negative_numbers = true)]
    batch: usize,
    /// Messages of all producers that may be on their way, from being sent to being acked (closed
    /// loop over the whole way, in place of --batch); 0: not bounded
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    #[arg(value_parser = outstanding, conflicts_with_all = ["batch", "rate"])]
    outstanding: usize,
    /// Messages per second over all producers, sent when they are due whether answers come or not;
    /// 0: as fast as answers come
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    rate: u64,
    /// How long to measure
    #[arg(long, value_parser = units::some_duration, default_value = "10s")]
    #[arg(allow_hyphen_values = true)]
    duration: Duration,
    /// How long to run before measuring
    #[arg(long, value_parser = units::duration, default_value = "2s", allow_hyphen_values = true)]
    warmup: Duration,
    /// Messages that each consumer may have in flight
    #[arg(long, default_value_t = 1_000, value_parser = units::at_least_one::<u32>)]
    #[arg(allow_negative_numbers = true)]
    max_in_flight: u32,
    /// How long a producer waits for company for a message
    #[arg(long, value_parser = units::duration, default_value = "1ms", allow_hyphen_values = true)]
    linger: Duration,
    /// Print all latencies too, as [microseconds, messages], of histograms from 1 us to 60 s with
    /// three digits; with --output json
    #[arg(long)]
    histograms: bool,
}

/// The largest body: a request holds 16 MiB.
const SIZE_MAX: u64 = 16 << 20;
/// The server's default for the largest message.
const MESSAGE_BYTES: u64 = 256 << 10;

/// A size that a stamp fits into, and that fits into a request.
fn size(text: &str) -> Result<u64, String> {
    match units::bytes(text)? {
        bytes if bytes < stamp::BYTES as u64 => Err(format!(
            "it must be at least {}: a body begins with a stamp of when it was due",
            stamp::BYTES
        )),
        bytes if bytes > SIZE_MAX => Err(format!(
            "it must be at most {SIZE_MAX}: a request holds 16Mi"
        )),
        bytes => Ok(bytes),
    }
}

/// As many messages as one request holds, at most.
fn batch(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(messages @ 1..=1_000) => Ok(messages),
        _ => Err(
            "it must be 1..1000: more would wait in the client, and only that would be \
                  measured"
                .to_owned(),
        ),
    }
}

/// So many messages on their way that each may be in a list of its own.
fn outstanding(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(messages @ 0..=1_000_000) => Ok(messages),
        _ => Err("it must be 0..1000000".to_owned()),
    }
}

/// When a run begins, is measured, and ends.
#[derive(Debug, Clone, Copy)]
struct Window {
    start: Instant,
    from: Instant,
    until: Instant,
}

impl Window {
    fn measures(&self, at: Instant) -> bool {
        at >= self.from && at < self.until
    }
}

impl Bench {
    pub async fn run(self, connection: &Connection, output: &Output) -> anyhow::Result<()> {
        if self.outstanding > 0 && self.consumers == 0 {
            bail!("--outstanding counts until messages are acked, so it needs --consumers");
        }
        let client = connection.connect().await?;
        let stop = Stop::listen()?;
        let mut made = Vec::new();
        let measured = match self.queues(&client, &mut made).await {
            Err(error) => Err(error),
            Ok(queues) => tokio::select! {
                measured = self.measure(connection, &queues) => measured,
                () = stop.once() => Err(anyhow!("interrupted")),
            },
        };
        for name in &made {
            let deleted = client.delete_queue(name, DeletePolicy::Always).await;
            deleted.with_context(|| format!("cannot delete the queue {name} again"))?;
        }
        let measured = measured?;
        let report = Report::new(&self, &measured);
        output.print(&report.json(), || report.text())?;
        if let Some(shortfall) = report.shortfall() {
            note(&shortfall);
        }
        if measured.failed() > 0 {
            bail!("{} sends failed", measured.failed());
        }
        Ok(())
    }

    /// The queue that is there, or those that it makes and enters into `made`.
    async fn queues(&self, client: &Client, made: &mut Vec<String>) -> anyhow::Result<Vec<String>> {
        if let Some(name) = &self.queue {
            return Ok(vec![name.clone()]);
        }
        let run = rand::random::<u32>();
        let limits = QueueLimits {
            max_message_bytes: u32::try_from(self.size.max(MESSAGE_BYTES))?,
            ..QueueLimits::default()
        };
        let spec = QueueSpec {
            partitions: self.partitions,
            limits: Some(limits),
            ..QueueSpec::default()
        };
        for number in 0..self.queues {
            let name = format!("bench-{run:08x}-{number}");
            client.create_queue(&name, spec.clone()).await?;
            made.push(name);
        }
        Ok(made.clone())
    }

    async fn measure(
        &self,
        connection: &Connection,
        queues: &[String],
    ) -> anyhow::Result<Measured> {
        let slots = (self.outstanding > 0).then(|| Arc::new(Semaphore::new(self.outstanding)));
        let mut consumers = Vec::new();
        for number in 0..self.consumers {
            let client = connection.connect().await?;
            for queue in share(queues, number, self.consumers) {
                let consumer = client.consumer(queue).max_in_flight(self.max_in_flight);
                consumers.push(consumer.start().await?);
            }
        }
        let mut producers = Vec::new();
        for number in 0..self.producers {
            let client = connection.connect().await?;
            let mut lanes = Vec::new();
            for queue in share(queues, number, self.producers) {
                lanes.push(client.producer(queue).linger(self.linger).start().await?);
            }
            producers.push(lanes);
        }
        self.load(producers, consumers, slots).await
    }

    async fn load(
        &self,
        producers: Vec<Vec<Producer>>,
        consumers: Vec<Consumer>,
        slots: Option<Arc<Semaphore>>,
    ) -> anyhow::Result<Measured> {
        let start = Instant::now() + Duration::from_millis(200);
        let from = start + self.warmup;
        let window = Window {
            start,
            from,
            until: from + self.duration,
        };
        let stamps = Arc::new(stamp::Stamps::new(start));
        let mut receiving = JoinSet::new();
        for consumer in consumers {
            let run = consume::run(consumer, stamps.clone(), window, slots.clone());
            receiving.spawn(run);
        }
        let mut sending = JoinSet::new();
        for lanes in producers {
            let load = produce::Load {
                size: usize::try_from(self.size)?,
                batch: self.batch,
                interval: self.interval(),
                slots: slots.clone(),
            };
            sending.spawn(produce::run(lanes, load, stamps.clone(), window));
        }
        sleep_until(from.into()).await;
        note(&format!("measuring for {} ...", units::show(self.duration)));
        let mut measured = Measured::default();
        while let Some(one) = sending.join_next().await {
            measured.add_producer(&one?)?;
        }
        while let Some(one) = receiving.join_next().await {
            measured.add_consumer(&one??)?;
        }
        Ok(measured)
    }

    /// Between two messages of one producer, at a fixed rate.
    fn interval(&self) -> Option<Duration> {
        let producers = f64::from(self.producers.max(1));
        (self.rate > 0).then(|| Duration::from_secs_f64(producers / self.rate as f64))
    }
}

/// The queues of one of `of`: every queue has one of them, and each of them has a queue.
fn share(queues: &[String], number: u32, of: u32) -> impl Iterator<Item = &String> {
    let (number, of) = (number as usize, of as usize);
    let first = number % queues.len().max(1);
    queues.iter().skip(first).step_by(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_queue_is_served_and_nobody_is_idle() {
        let queues = ["a", "b", "c", "d", "e"].map(str::to_owned);
        let of = |queues, number, of| share(queues, number, of).cloned().collect::<String>();
        assert_eq!([0, 1].map(|n| of(&queues[..], n, 2)), ["ace", "bd"]);
        assert_eq!([0, 1, 2].map(|n| of(&queues[..2], n, 3)), ["a", "b", "a"]);
        assert_eq!([0, 1].map(|n| of(&queues[..1], n, 2)), ["a", "a"]);
    }

    #[test]
    fn a_body_holds_a_stamp_and_fits_into_a_request() {
        assert_eq!(size("32"), Ok(32));
        assert_eq!(size("16Mi"), Ok(SIZE_MAX));
        assert!(size("31").unwrap_err().contains("at least 32"));
        for large in ["16777217", "100Mi"] {
            assert!(size(large).unwrap_err().contains("at most 16777216"));
        }
    }
}
