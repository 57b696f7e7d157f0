//! `roadstead dlq redrive QUEUE`

use std::io::{IsTerminal, stderr};

use anyhow::bail;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use roadstead_client::Client;
use roadstead_client::proto::{RedriveMessagesResponse, RefusedMessage};
use serde_json::{Value, json};

use super::one::One;
use crate::command::filter::{Filter, Since};
use crate::exit::{Failure, Kind};
use crate::output::{Output, note};
use crate::stop::Stop;
use crate::{names, units};

/// Refused messages that are told one by one.
const REFUSALS_SHOWN: usize = 10;

/// Which messages, and where to.
#[derive(Debug, Args)]
pub struct Redrive {
    /// Queue that holds them: name, or namespace/name
    #[arg(value_parser = names::queue)]
    queue: String,
    /// Queue of the same namespace that all of them go to; without it, each goes to the queue that
    /// it was dead-lettered from
    #[arg(long, value_name = "QUEUE", value_parser = names::queue)]
    to: Option<String>,
    /// Consumer group as whose messages they are found: what it has settled stays
    #[arg(long, default_value = "default")]
    group: String,
    /// Messages per second at most
    #[arg(long, value_name = "N", value_parser = units::at_least_one::<u32>)]
    #[arg(allow_negative_numbers = true)]
    rate: Option<u32>,
    /// Move nothing, and say what would be moved
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    one: One,
}

impl Redrive {
    /// What is wrong with the arguments as a whole.
    pub fn check(&self) -> Result<(), Failure> {
        self.one.check()
    }

    pub async fn run(self, client: &Client, output: &Output) -> anyhow::Result<()> {
        let to = self.target(client)?;
        if let Some(location) = &self.one.message {
            return self
                .one
                .run(client, output, (&self.queue, &self.group), (location, to))
                .await;
        }
        let filter = self.filter.build(client, Since::DeadLettered);
        let mut redrive = client.redrive(&self.queue).filter(filter).to(&to);
        redrive = redrive.group(&self.group);
        if let Some(rate) = self.rate {
            redrive = redrive.rate(rate);
        }
        if self.dry_run {
            redrive = redrive.dry_run();
        }
        let stop = Stop::listen()?;
        let bar = progress();
        let mut tally = Tally::default();
        let walked = loop {
            tokio::select! {
                biased;
                () = stop.once() => break Ok(()),
                () = redrive.turn() => {}
            }
            // A piece that has begun is waited for: it is small, and then it is known what moved.
            match redrive.next().await {
                Ok(Some(piece)) => tally.add(piece),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
            bar.set_position(tally.moved);
        };
        bar.finish_and_clear();
        if stop.told() && walked.is_ok() {
            bail!("interrupted: {}", tally.text(self.dry_run));
        }
        tally.print(output, &self.queue, self.dry_run)?;
        walked?;
        tally.verdict()
    }

    /// The name of the queue that is to take them, within the namespace of the other one.
    fn target(&self, client: &Client) -> Result<String, Failure> {
        let Some(to) = &self.to else {
            return Ok(String::new());
        };
        let (from, to) = (client.queue_ref(&self.queue), client.queue_ref(to));
        if from.namespace != to.namespace {
            let message = format!(
                "{}/{} is of another namespace than {}/{}: messages stay in theirs",
                to.namespace, to.name, from.namespace, from.name
            );
            return Err(Failure(Kind::Usage, message));
        }
        Ok(to.name)
    }
}

fn progress() -> ProgressBar {
    if !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {human_pos} moved, {per_sec}") {
        bar.set_style(style);
    }
    bar
}

#[derive(Debug, Default)]
struct Tally {
    moved: u64,
    leased: u64,
    refused: u64,
    refusals: Vec<RefusedMessage>,
}

impl Tally {
    fn add(&mut self, piece: RedriveMessagesResponse) {
        self.moved += piece.moved;
        self.leased += piece.leased;
        self.refused += piece.refused;
        let room = REFUSALS_SHOWN.saturating_sub(self.refusals.len());
        self.refusals.extend(piece.refusals.into_iter().take(room));
    }

    fn text(&self, dry_run: bool) -> String {
        let moved = if dry_run { "would be moved" } else { "moved" };
        let mut text = format!("{} {moved}", self.moved);
        for (count, what) in [
            (self.leased, "left, as they are leased to consumers"),
            (self.refused, "refused"),
        ] {
            if count > 0 {
                text.push_str(", ");
                text.push_str(&count.to_string());
                text.push(' ');
                text.push_str(what);
            }
        }
        text
    }

    fn print(&self, output: &Output, queue: &str, dry_run: bool) -> std::io::Result<()> {
        let refusal = |one: &RefusedMessage| {
            json!({
                "id": one.message_id,
                "location": one.location,
                "message": one.message,
            })
        };
        let refusals: Vec<Value> = self.refusals.iter().map(refusal).collect();
        let value = json!({
            "queue": queue,
            "dryRun": dry_run,
            "moved": self.moved,
            "leased": self.leased,
            "refused": self.refused,
            "refusals": refusals,
        });
        if !output.is_json() {
            for one in &self.refusals {
                note(&format!("{}: {}", one.message_id, one.message));
            }
        }
        output.print(&value, || self.text(dry_run))
    }

    /// It failed where something was refused.
    fn verdict(&self) -> anyhow::Result<()> {
        let Some(first) = self.refusals.first() else {
            return Ok(());
        };
        let message = format!(
            "{} messages were refused, the first of them, {}, because: {}",
            self.refused, first.message_id, first.message
        );
        Err(Failure(Kind::Refused, message).into())
    }
}
