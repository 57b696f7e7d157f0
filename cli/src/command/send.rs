//! `roadstead send QUEUE [BODY]`

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, IsTerminal, Read, stderr, stdin};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use roadstead_client::{Accepted, Message, Producer, SendError, Sending};
use serde_json::{Value, json};

use crate::connection::Connection;
use crate::output::{Output, note};
use crate::{names, units};

/// Messages that may be on their way at once.
const WINDOW: usize = 10_000;

/// Where to, and what.
#[derive(Debug, Args)]
pub struct Send {
    /// Queue: name, or namespace/name
    #[arg(value_parser = names::queue)]
    queue: String,
    /// Body of one message
    #[arg(conflicts_with_all = ["file", "ndjson"])]
    body: Option<String>,
    /// Body of one message from a file; - is stdin
    #[arg(long, short, value_name = "FILE", conflicts_with = "ndjson")]
    file: Option<PathBuf>,
    /// One message per line of a file, whose body is the JSON in that line; - is stdin
    #[arg(long, value_name = "FILE")]
    ndjson: Option<PathBuf>,
    /// Ordering key
    #[arg(long, short)]
    key: Option<String>,
    /// Attribute as name=value; may be repeated
    #[arg(long, short, value_name = "NAME=VALUE", value_parser = pair)]
    attribute: Vec<(String, String)>,
    /// Media type of the bodies
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// Not receivable before this has passed
    #[arg(long, value_parser = units::duration)]
    delay: Option<Duration>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err(format!("{text:?} is not name=value")),
    }
}

impl Send {
    pub async fn run(self, connection: &Connection, output: &Output) -> anyhow::Result<()> {
        let client = connection.connect().await?;
        // A person who waits is served better by a late message than by an early failure.
        let producer = client
            .producer(&self.queue)
            .timeout(Duration::from_secs(30));
        let producer = producer.start().await?;
        if let Some(path) = &self.ndjson {
            return self.send_lines(path, &producer, output).await;
        }
        let body = match (&self.body, &self.file) {
            (Some(body), _) => body.clone().into_bytes(),
            (None, Some(path)) => {
                let mut body = Vec::new();
                open(path)?.read_to_end(&mut body)?;
                body
            }
            (None, None) => bail!(
                "nothing to send: give a body, --file FILE for one from a file, or --ndjson FILE \
                 for one per line"
            ),
        };
        let accepted = producer.send(self.message(body)).await?;
        let value = json!({
            "id": accepted.message_id,
            "partition": accepted.partition,
            "sequence": accepted.sequence,
        });
        output.print(&value, || accepted.message_id.clone())?;
        Ok(())
    }

    fn message(&self, body: Vec<u8>) -> Message {
        let mut message = Message::new(body);
        if let Some(key) = &self.key {
            message = message.key(key);
        }
        if let Some(content_type) = &self.content_type {
            message = message.content_type(content_type);
        }
        if let Some(delay) = self.delay {
            message = message.delay(delay);
        }
        for (name, value) in &self.attribute {
            message = message.attribute(name, value);
        }
        message
    }

    async fn send_lines(
        &self,
        path: &Path,
        producer: &Producer,
        output: &Output,
    ) -> anyhow::Result<()> {
        let bar = progress();
        let mut lines = open(path)?;
        let mut tally = Tally::default();
        let mut sending: VecDeque<Sending> = VecDeque::new();
        let (mut line, mut number) = (Vec::new(), 0);
        let mut wrong = None;
        loop {
            line.clear();
            number += 1;
            // Blocks while whoever writes takes their time; nothing else waits on this thread.
            let read = tokio::task::block_in_place(|| lines.read_until(b'\n', &mut line));
            if read.with_context(|| format!("cannot read {}", path.display()))? == 0 {
                break;
            }
            let body = line.trim_ascii();
            if body.is_empty() {
                continue;
            }
            if let Err(error) = serde_json::from_slice::<Value>(body) {
                wrong = Some(anyhow!("line {number} of {}: {error}", path.display()));
                break;
            }
            sending.push_back(producer.enqueue(self.message(body.to_vec())).await);
            if sending.len() >= WINDOW
                && let Some(first) = sending.pop_front()
            {
                tally.count(first.await);
                bar.set_position(tally.accepted);
            }
        }
        for one in sending {
            tally.count(one.await);
            bar.set_position(tally.accepted);
        }
        bar.finish_and_clear();
        tally.print(output)?;
        wrong.map_or(Ok(()), |wrong| {
            Err(wrong.context("what comes from there on was not sent: it is no JSON"))
        })
    }
}

fn open(path: &Path) -> anyhow::Result<Box<dyn BufRead>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(BufReader::new(stdin())));
    }
    let file = std::fs::File::open(path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    Ok(Box::new(BufReader::new(file)))
}

fn progress() -> ProgressBar {
    if !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {human_pos} sent, {per_sec}") {
        bar.set_style(style);
    }
    bar
}

#[derive(Debug, Default)]
struct Tally {
    accepted: u64,
    failed: u64,
    first: Option<SendError>,
}

impl Tally {
    fn count(&mut self, outcome: Result<Accepted, SendError>) {
        match outcome {
            Ok(_) => self.accepted += 1,
            Err(error) => {
                self.failed += 1;
                self.first.get_or_insert(error);
            }
        }
    }

    fn print(self, output: &Output) -> anyhow::Result<()> {
        let value = json!({ "sent": self.accepted, "failed": self.failed });
        output.print(&value, || format!("sent {}", self.accepted))?;
        match self.first {
            None => Ok(()),
            Some(error) => {
                note(&format!("{} messages were not acknowledged", self.failed));
                Err(error.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_pairs() {
        assert_eq!(pair("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(pair("a").is_err() && pair("=b").is_err());
    }
}
