//! `roadstead load consume`

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::task::JoinSet;

use super::journal::Journal;
use super::sink::{Left, Sink};
use crate::connection::Connection;
use crate::exit::{Failure, Kind};
use crate::output::{Output, note};
use crate::stop::Stop;
use crate::{names, units};

/// What to receive, and where it is written down.
#[derive(Debug, Args)]
pub struct Consume {
    /// Queues, all at once; comma-separated
    #[arg(long, value_delimiter = ',', required = true, value_parser = names::queue)]
    queue: Vec<String>,
    /// End when nothing has come for this long, or on SIGTERM. Answers to acks are waited for at
    /// most 10s more
    #[arg(long, value_parser = units::duration, allow_hyphen_values = true)]
    idle: Option<Duration>,
    /// Time to spend on each message
    #[arg(long, value_parser = units::duration, default_value = "0s", allow_hyphen_values = true)]
    work: Duration,
    /// Messages in flight at most, per queue
    #[arg(long, default_value_t = 100, allow_negative_numbers = true)]
    max_in_flight: u32,
    /// The queues hold dead letters: enter what comes as buried
    #[arg(long)]
    dead_letters: bool,
    /// File for the ledger; - is stdout
    #[arg(long, value_name = "FILE")]
    ledger: PathBuf,
}

impl Consume {
    pub async fn run(self, connection: &Connection, output: &Output) -> anyhow::Result<()> {
        let client = connection.connect().await?;
        let journal = Journal::to(&self.ledger)?;
        let acked = Arc::new(AtomicU64::new(0));
        let idle = self.idle.unwrap_or(Duration::from_hours(24 * 365));
        let mut sinks = JoinSet::new();
        let stop = Stop::listen()?;
        for queue in &self.queue {
            let consumer = client.consumer(queue).max_in_flight(self.max_in_flight);
            let consumer = consumer.start().await?;
            let sink = Sink {
                consumer,
                journal: journal.clone(),
                work: self.work,
                graveyard: self.dead_letters,
                acked: acked.clone(),
            };
            let stop = stop.clone();
            sinks.spawn(sink.run(idle, async move { stop.once().await }));
        }
        let (mut left, mut outcome) = (Left::default(), Ok(()));
        while outcome.is_ok()
            && let Some(ended) = sinks.join_next().await
        {
            outcome = ended?.map(|one| left.add(&one));
        }
        // What was received before a failure belongs into the ledger.
        journal.finish()?;
        outcome?;
        let acked = acked.load(Ordering::Relaxed);
        if self.ledger.as_os_str() == "-" {
            note(&format!("acked={acked}"));
        } else {
            output.print(&json!({ "acked": acked }), || format!("acked={acked}"))?;
        }
        unsettled(&left).map_or(Ok(()), |failure| Err(failure.into()))
    }
}

/// What the cluster did not answer for, if there is anything.
fn unsettled(left: &Left) -> Option<Failure> {
    let what = match left {
        Left { acks: 1.., .. } => format!(
            "{} messages were received and their acks not confirmed, so they may be delivered \
             again: no leader of their partitions answered in the time that each ack had; whether \
             one answers now, say: roadstead cluster status",
            left.acks
        ),
        Left { fetched: true, .. } => {
            "what was fetched ahead did not go back, as no leader of its partitions answered at \
             the end; it is delivered when its leases end"
                .to_owned()
        }
        Left { .. } => return None,
    };
    Some(Failure(Kind::Unreachable, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_answered_for_is_said() {
        let said = |acks, fetched| unsettled(&Left { acks, fetched });
        assert!(said(0, false).is_none());
        for (acks, fetched, words) in [(0, true, "fetched ahead"), (7, true, "7 messages")] {
            let failure = said(acks, fetched).unwrap();
            assert_eq!(failure.0, Kind::Unreachable);
            assert!(failure.1.contains(words), "{failure}");
            let of_now = failure.1.contains("now, say: roadstead cluster status");
            assert_eq!(of_now, acks > 0, "{failure}");
        }
    }
}
