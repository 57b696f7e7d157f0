//! `roadstead load produce`

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::journal::Journal;
use super::source::{Plan, Source, Tally};
use crate::connection::Connection;
use crate::output::{Output, note};
use crate::{names, units};

/// What to send, and where it is written down.
#[derive(Debug, Args)]
pub struct Produce {
    /// Queues, in turn; comma-separated
    #[arg(long, value_delimiter = ',', required = true, value_parser = names::queue)]
    queue: Vec<String>,
    /// Messages to send over all queues
    #[arg(
        long,
        required_unless_present = "duration",
        allow_negative_numbers = true
    )]
    messages: Option<u64>,
    /// How long to send
    #[arg(long, value_parser = units::duration, allow_hyphen_values = true)]
    duration: Option<Duration>,
    /// Messages per second; 0: as fast as answers come
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    rate: u64,
    /// Distinct ordering keys; 0: none
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    keys: u64,
    /// Name of this producer, unique in the run
    #[arg(long, env = "POD_NAME")]
    name: Option<String>,
    /// File for the ledger; - is stdout
    #[arg(long, value_name = "FILE")]
    ledger: PathBuf,
}

impl Produce {
    pub async fn run(self, connection: &Connection, output: &Output) -> anyhow::Result<()> {
        let client = connection.connect().await?;
        let journal = Journal::to(&self.ledger)?;
        let plan = Plan {
            name: self
                .name
                .unwrap_or_else(|| format!("p{:08x}", rand::random::<u32>())),
            queues: self.queue,
            messages: self.messages,
            duration: self.duration,
            rate: self.rate,
            keys: self.keys,
        };
        let source = Source::start(&client, plan, journal.clone()).await?;
        let tally = source.run(|_| ()).await;
        journal.finish()?;
        if self.ledger.as_os_str() == "-" {
            note(&text(&tally));
        } else {
            let value = json!({
                "acknowledged": tally.acknowledged,
                "failed": tally.failed,
                "attempts": tally.attempts,
                "slowestMs": tally.slowest.as_secs_f64() * 1_000.0,
            });
            output.print(&value, || text(&tally))?;
        }
        outcome(tally)
    }
}

/// What became of a run. The first failure may be long over.
fn outcome(tally: Tally) -> anyhow::Result<()> {
    let all = tally.acknowledged + tally.failed;
    let what = format!("{} of {all} messages were not acknowledged", tally.failed);
    let Some(error) = tally.first_error else {
        return Ok(());
    };
    let last = if tally.last_acknowledged {
        "the last one was"
    } else {
        "nor was the last one"
    };
    Err(anyhow::Error::new(error).context(format!("{what}, {last}; the first failed so")))
}

fn text(tally: &Tally) -> String {
    let attempts = tally
        .attempts
        .iter()
        .map(|(attempts, count)| format!("{attempts}:{count}"));
    format!(
        "acknowledged={} failed={} slowest={} attempts={}",
        tally.acknowledged,
        tally.failed,
        units::show(tally.slowest),
        attempts.collect::<Vec<_>>().join(" "),
    )
}

#[cfg(test)]
mod tests {
    use roadstead_client::SendError;

    use super::*;
    use crate::exit;

    #[test]
    fn a_failure_that_is_over_is_told_from_one_that_lasts() {
        let said = |last_acknowledged| {
            let tally = Tally {
                acknowledged: 5,
                failed: 2,
                last_acknowledged,
                first_error: Some(SendError::Closed),
                ..Tally::default()
            };
            exit::text(&outcome(tally).unwrap_err())
        };
        let over = said(true);
        assert!(over.starts_with("2 of 7 messages"), "{over}");
        assert!(over.contains("the last one was; "), "{over}");
        assert!(over.contains(&SendError::Closed.to_string()), "{over}");
        assert!(said(false).contains("nor was the last one"));
        assert!(outcome(Tally::default()).is_ok());
    }
}
