//! `roadstead bench`: throughput and latency, end to end.

mod consume;
mod produce;
mod report;
mod stamp;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use clap::{Args, value_parser};
use roadstead_client::Client;
use roadstead_client::proto::{DeletePolicy, QueueLimits, QueueSpec};
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
    /// Queue to use; without it one is made and deleted afterwards
    #[arg(long, value_parser = names::queue)]
    queue: Option<String>,
    /// Partitions of the queue that is made
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
    /// Bytes per body, 32..16777200
    #[arg(long, value_parser = size, default_value = "1Ki", allow_hyphen_values = true)]
    size: u64,
    /// Messages that each producer keeps unanswered (closed loop); 1: one at a time
    #[arg(long, default_value_t = 500, value_parser = batch, allow_negative_numbers = true)]
    batch: usize,
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
}

/// The largest body: a request holds 16 MiB, of which 16 bytes go with each message.
const SIZE_MAX: u64 = (16 << 20) - 16;
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
            "it must be at most {SIZE_MAX}: a request holds 16Mi, and 16 bytes go with a message"
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
        let client = connection.connect().await?;
        let made = self.queue.is_none();
        let name = match &self.queue {
            Some(name) => name.clone(),
            None => self.make_queue(&client).await?,
        };
        let stop = Stop::listen()?;
        let measured = tokio::select! {
            measured = self.measure(connection, &name) => measured,
            () = stop.once() => Err(anyhow!("interrupted")),
        };
        if made {
            let deleted = client.delete_queue(&name, DeletePolicy::Always).await;
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

    async fn make_queue(&self, client: &Client) -> anyhow::Result<String> {
        let name = format!("bench-{:08x}", rand::random::<u32>());
        let limits = QueueLimits {
            max_message_bytes: u32::try_from(self.size.max(MESSAGE_BYTES))?,
            ..QueueLimits::default()
        };
        let spec = QueueSpec {
            partitions: self.partitions,
            limits: Some(limits),
            ..QueueSpec::default()
        };
        client.create_queue(&name, spec).await?;
        Ok(name)
    }

    async fn measure(&self, connection: &Connection, queue: &str) -> anyhow::Result<Measured> {
        let start = Instant::now() + Duration::from_millis(200);
        let from = start + self.warmup;
        let window = Window {
            start,
            from,
            until: from + self.duration,
        };
        let stamps = Arc::new(stamp::Stamps::new(start));
        let mut consumers = JoinSet::new();
        for _ in 0..self.consumers {
            let client = connection.connect().await?;
            let consumer = client.consumer(queue).max_in_flight(self.max_in_flight);
            let consumer = consumer.start().await?;
            consumers.spawn(consume::run(consumer, stamps.clone(), window));
        }
        let mut producers = JoinSet::new();
        for _ in 0..self.producers {
            let client = connection.connect().await?;
            let producer = client.producer(queue).linger(self.linger).start().await?;
            let load = produce::Load {
                size: usize::try_from(self.size)?,
                batch: self.batch,
                interval: self.interval(),
            };
            producers.spawn(produce::run(producer, load, stamps.clone(), window));
        }
        sleep_until(from.into()).await;
        note(&format!("measuring for {} ...", units::show(self.duration)));
        let mut measured = Measured::default();
        while let Some(one) = producers.join_next().await {
            measured.add_producer(&one?)?;
        }
        while let Some(one) = consumers.join_next().await {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_holds_a_stamp_and_fits_into_a_request() {
        assert_eq!(size("32"), Ok(32));
        assert_eq!(size("16777200"), Ok(SIZE_MAX));
        assert!(size("31").unwrap_err().contains("at least 32"));
        for large in ["16Mi", "100Mi"] {
            assert!(size(large).unwrap_err().contains("at most 16777200"));
        }
    }
}
