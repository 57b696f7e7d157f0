//! `roadstead load consume`

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;
use roadstead_client::terminated;
use serde_json::json;
use tokio::task::JoinSet;

use super::journal::Journal;
use super::sink::Sink;
use crate::connection::Connection;
use crate::output::{Output, note};
use crate::{names, units};

/// What to receive, and where it is written down.
#[derive(Debug, Args)]
pub struct Consume {
    /// Queues, all at once; comma-separated
    #[arg(long, value_delimiter = ',', required = true, value_parser = names::queue)]
    queue: Vec<String>,
    /// End when nothing has come for this long; without it, on SIGTERM
    #[arg(long, value_parser = units::duration)]
    idle: Option<Duration>,
    /// Time to spend on each message
    #[arg(long, value_parser = units::duration, default_value = "0s")]
    work: Duration,
    /// Messages in flight at most, per queue
    #[arg(long, default_value_t = 100)]
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
        let mut stops = Vec::new();
        for queue in &self.queue {
            let consumer = client.consumer(queue).max_in_flight(self.max_in_flight);
            let consumer = consumer.start().await?;
            stops.push(consumer.stopper());
            let sink = Sink {
                consumer,
                journal: journal.clone(),
                work: self.work,
                graveyard: self.dead_letters,
                acked: acked.clone(),
            };
            sinks.spawn(sink.run(idle));
        }
        let mut stopping = std::pin::pin!(terminated());
        let mut outcome = Ok(());
        while outcome.is_ok() {
            tokio::select! {
                () = &mut stopping, if !stops.is_empty() => {
                    stops.drain(..).for_each(|stop| stop.stop());
                }
                ended = sinks.join_next() => match ended {
                    Some(ended) => outcome = ended?,
                    None => break,
                },
            }
        }
        // What was received before a failure belongs into the ledger.
        journal.finish()?;
        outcome?;
        let acked = acked.load(Ordering::Relaxed);
        if self.ledger.as_os_str() == "-" {
            note(&format!("acked={acked}"));
            return Ok(());
        }
        output.print(&json!({ "acked": acked }), || format!("acked={acked}"))?;
        Ok(())
    }
}
