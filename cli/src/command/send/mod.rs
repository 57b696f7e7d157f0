//! `roadstead send QUEUE [BODY]`

mod fields;

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, stderr, stdin};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::{ArgGroup, Args};
use indicatif::{ProgressBar, ProgressStyle};
use roadstead_client::{Accepted, Message, Producer, SendError, Sending};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use self::fields::Fields;
use crate::connection::Connection;
use crate::names;
use crate::output::{Output, note};
use crate::stop::Stop;

/// Messages that may be on their way at once.
const WINDOW: usize = 10_000;
/// Lines that may be read ahead.
const LINES: usize = 64;
/// How long answers are waited for after a signal.
const LAST: Duration = Duration::from_secs(2);

/// Where to, and what.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").args(["body", "file", "ndjson"]).required(true))]
pub struct Send {
    /// Queue: name, or namespace/name
    #[arg(value_parser = names::queue)]
    queue: String,
    /// Body of one message
    body: Option<String>,
    /// Body of one message from a file; - is stdin
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,
    /// One message per line of a file, whose body is the JSON in that line; - is stdin
    #[arg(long, value_name = "FILE")]
    ndjson: Option<PathBuf>,
    /// With --ndjson: all lines or none, in one step; at most 1000, of one partition
    #[arg(long, requires = "ndjson")]
    atomic: bool,
    /// With --ndjson: member of each line's object whose value is its deduplication id
    #[arg(long, value_name = "MEMBER", requires = "ndjson")]
    deduplication_member: Option<String>,
    /// Partition that all of them go to; without it their key or id decides, or nothing
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    partition: Option<u32>,
    #[command(flatten)]
    fields: Fields,
}

impl Send {
    pub async fn run(self, connection: &Connection, output: &Output) -> anyhow::Result<()> {
        self.fields.check()?;
        let client = connection.connect().await?;
        // A person who waits is served better by a late message than by an early failure.
        let mut producer = client
            .producer(&self.queue)
            .timeout(Duration::from_secs(30));
        if let Some(partition) = self.partition {
            producer = producer.partition(partition);
        }
        let producer = producer.start().await?;
        if let Some(path) = self.ndjson.as_ref().filter(|_| self.atomic) {
            return self.send_together(path, &producer, output).await;
        }
        if let Some(path) = &self.ndjson {
            return self.send_lines(path, &producer, output).await;
        }
        let mut body = self.body.clone().unwrap_or_default().into_bytes();
        if let Some(path) = &self.file {
            let read = open(path)?.read_to_end(&mut body);
            read.with_context(|| format!("cannot read {}", path.display()))?;
        }
        let accepted = producer.send(self.fields.message(body)).await?;
        let value = json!({
            "id": accepted.message_id,
            "partition": accepted.partition,
            "sequence": accepted.sequence,
            "duplicate": accepted.duplicate,
        });
        if accepted.duplicate {
            note("it is the duplicate of a message that was accepted before, and was not added");
        }
        output.print(&value, || accepted.message_id.clone())?;
        Ok(())
    }

    async fn send_lines(
        &self,
        path: &Path,
        producer: &Producer,
        output: &Output,
    ) -> anyhow::Result<()> {
        let stop = Stop::listen()?;
        let mut course = Course::new();
        let read = self.read_lines(path, async |message| {
            let sending = producer.enqueue(message).await;
            course.sending.push_back(sending);
            if course.sending.len() >= WINDOW {
                course.await_first().await;
            }
        });
        let read = tokio::select! {
            biased;
            () = stop.once() => Ok(()),
            read = read => read,
        };
        tokio::select! {
            () = course.finish() => {}
            () = stop.over(LAST) => {}
        }
        course.bar.finish_and_clear();
        let Tally {
            accepted, failed, ..
        } = course.tally;
        if stop.told() {
            let open = course.sending.len();
            bail!("interrupted: {accepted} accepted, {failed} failed, {open} without an answer");
        }
        course.tally.print(output)?;
        read
    }

    async fn send_together(
        &self,
        path: &Path,
        producer: &Producer,
        output: &Output,
    ) -> anyhow::Result<()> {
        let mut messages = Vec::new();
        self.read_lines(path, async |message| messages.push(message))
            .await?;
        let mut tally = Tally::default();
        for accepted in producer.send_atomic(messages).await? {
            tally.count(Ok(accepted));
        }
        tally.print(output)
    }

    async fn read_lines(
        &self,
        path: &Path,
        mut take: impl AsyncFnMut(Message),
    ) -> anyhow::Result<()> {
        let mut lines = lines(open(path)?);
        let mut number = 0;
        while let Some(line) = lines.recv().await {
            number += 1;
            let line = line.with_context(|| format!("cannot read {}", path.display()))?;
            let body = line.trim_ascii();
            if body.is_empty() {
                continue;
            }
            let message = self.line(body).map_err(|error| {
                let wrong = anyhow!("line {number} of {}: {error}", path.display());
                wrong.context("what comes from there on was not sent")
            })?;
            take(message).await;
        }
        Ok(())
    }
}

impl Send {
    /// The message of a line.
    fn line(&self, body: &[u8]) -> anyhow::Result<Message> {
        let value: Value = serde_json::from_slice(body).context("it is no JSON")?;
        let mut message = self.fields.message(body.to_vec());
        if let Some(member) = &self.deduplication_member {
            message = message.deduplication_id(match value.get(member) {
                Some(Value::String(text)) if !text.is_empty() => text.clone(),
                Some(Value::Number(number)) => number.to_string(),
                _ => bail!("its member {member:?} is no text and no number"),
            });
        }
        Ok(message)
    }
}

/// Lines as they are read, on a thread of its own: whoever writes takes their time, and a signal
/// is not to wait for it.
fn lines(mut from: Box<dyn BufRead + std::marker::Send>) -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel(LINES);
    std::thread::spawn(move || {
        loop {
            let mut line = Vec::new();
            let read = match from.read_until(b'\n', &mut line) {
                Ok(0) => return,
                read => read.map(|_| line),
            };
            let failed = read.is_err();
            if sender.blocking_send(read).is_err() || failed {
                return;
            }
        }
    });
    receiver
}

/// How far the sending of lines is.
struct Course {
    bar: ProgressBar,
    tally: Tally,
    /// Without an answer yet.
    sending: VecDeque<Sending>,
}

impl Course {
    fn new() -> Self {
        Self {
            bar: progress(),
            tally: Tally::default(),
            sending: VecDeque::new(),
        }
    }

    /// Takes in the oldest answer that is missing. It stays where it is when this is cancelled.
    async fn await_first(&mut self) {
        if let Some(first) = self.sending.front_mut() {
            let outcome = first.await;
            self.sending.pop_front();
            self.tally.count(outcome);
            self.bar.set_position(self.tally.accepted);
        }
    }

    async fn finish(&mut self) {
        while !self.sending.is_empty() {
            self.await_first().await;
        }
    }
}

fn open(path: &Path) -> anyhow::Result<Box<dyn BufRead + std::marker::Send>> {
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
    /// Of those accepted, duplicates of messages that had been accepted before.
    duplicates: u64,
    failed: u64,
    first: Option<SendError>,
}

impl Tally {
    fn count(&mut self, outcome: Result<Accepted, SendError>) {
        match outcome {
            Ok(accepted) => {
                self.accepted += 1;
                // Of a retry of its own nobody needs to hear.
                self.duplicates += u64::from(accepted.duplicate && accepted.attempts == 1);
            }
            Err(error) => {
                self.failed += 1;
                self.first.get_or_insert(error);
            }
        }
    }

    fn print(self, output: &Output) -> anyhow::Result<()> {
        let Self {
            accepted,
            duplicates,
            failed,
            ..
        } = self;
        let value = json!({ "sent": accepted, "failed": failed, "duplicates": duplicates });
        output.print(&value, || match duplicates {
            0 => format!("sent {accepted}"),
            _ => format!("sent {accepted}, of which {duplicates} had been accepted before"),
        })?;
        match self.first {
            None => Ok(()),
            Some(error) => {
                note(&format!("{} messages were not acknowledged", self.failed));
                Err(error.into())
            }
        }
    }
}
