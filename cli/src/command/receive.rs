//! `roadstead receive QUEUE`

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, value_parser};
use roadstead_client::{Consumer, Delivery, terminated};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::connection::Connection;
use crate::output::{Output, bytes, line, note};
use crate::{format, names, units};

/// How long a running command may take once it was asked to stop.
const GRACE: Duration = Duration::from_secs(30);

/// Where from, and what to do with each message.
#[derive(Debug, Args)]
pub struct Receive {
    /// Queue: name, or namespace/name
    #[arg(value_parser = names::queue)]
    queue: String,
    /// Messages to receive, without --follow
    #[arg(long, short = 'c', default_value_t = 1, conflicts_with = "follow")]
    #[arg(value_parser = value_parser!(u64).range(1..))]
    count: u64,
    /// Go on until Ctrl-C
    #[arg(long, short = 'F', requires = "done")]
    follow: bool,
    /// How long to wait for a message, without --follow
    #[arg(long, value_parser = units::duration, default_value = "5s", conflicts_with = "follow")]
    wait: Duration,
    /// Ack each message when it is printed; without this it goes back uncounted
    #[arg(long, group = "done")]
    ack: bool,
    /// Run this command by sh for each message, the body on its stdin: exit 0 acks, else it goes
    /// back. The message is described by `ROADSTEAD_MESSAGE_ID`, `_KEY`, `_DELIVERY_COUNT` and
    /// `_QUEUE`
    #[arg(long, value_name = "COMMAND", group = "done")]
    exec: Option<String>,
    /// How long a command that failed waits before its message is delivered again
    #[arg(long, value_parser = units::duration, default_value = "1s", requires = "exec")]
    retry_after: Duration,
}

impl Receive {
    pub async fn run(self, connection: &Connection, output: &Output) -> anyhow::Result<()> {
        let client = connection.connect().await?;
        // Fetching ahead would count deliveries of messages that nobody looks at.
        let ahead = if self.follow {
            32
        } else {
            self.count.clamp(1, if self.ack { 32 } else { 10_000 })
        };
        let ahead = if self.exec.is_some() { 1 } else { ahead };
        let consumer = client
            .consumer(&self.queue)
            .max_in_flight(u32::try_from(ahead)?);
        let consumer = consumer.start().await?;
        let mut held = Vec::new();
        let (told, stop) = watch::channel(false);
        tokio::spawn(async move {
            terminated().await;
            told.send_replace(true);
        });
        let result = self.receive(&consumer, (output, stop), &mut held).await;
        consumer.stop();
        for delivery in held {
            drop(delivery.release());
        }
        if !consumer.close(Duration::from_secs(5)).await {
            note("not every settlement was answered; some messages may be delivered again");
        }
        result
    }

    async fn receive(
        &self,
        consumer: &Consumer,
        (output, mut stop): (&Output, watch::Receiver<bool>),
        held: &mut Vec<Delivery>,
    ) -> anyhow::Result<()> {
        let (mut received, mut failed) = (0, 0);
        while self.follow || received < self.count {
            let next = async {
                if self.follow {
                    return consumer.next().await;
                }
                let next = timeout(self.wait, consumer.next()).await;
                next.unwrap_or(Ok(None))
            };
            let next = tokio::select! {
                biased;
                _ = stop.wait_for(|told| *told) => None,
                next = next => next?,
            };
            let Some(delivery) = next else { break };
            received += 1;
            let late = async {
                // Whoever is told to stop finishes what was begun, within the grace.
                let _ = stop.wait_for(|told| *told).await;
                sleep(GRACE).await;
            };
            let done = tokio::select! {
                done = self.handle(delivery, output, held) => done?,
                () = late => bail!("the command did not end within {GRACE:?} and was killed"),
            };
            failed += u64::from(!done);
        }
        if failed > 0 && !self.follow {
            bail!("{failed} of {received} commands failed");
        }
        if received == 0 && !*stop.borrow() {
            note(&format!(
                "no message in {} within {}",
                self.queue,
                units::show(self.wait)
            ));
        }
        Ok(())
    }

    /// Does with a message what was asked; false when the command failed.
    async fn handle(
        &self,
        delivery: Delivery,
        output: &Output,
        held: &mut Vec<Delivery>,
    ) -> anyhow::Result<bool> {
        if let Some(command) = &self.exec {
            return self.execute(command, delivery).await;
        }
        if output.is_json() {
            line(&format::message(&delivery).to_string())?;
        } else {
            bytes(&delivery.body)?;
        }
        if self.ack {
            delivery.ack().await.context("printed, but not acked")?;
        } else {
            // Kept until the end, so that the next one is another one.
            held.push(delivery);
        }
        Ok(true)
    }

    async fn execute(&self, command: &str, delivery: Delivery) -> anyhow::Result<bool> {
        let failure = run(command, &self.queue, &delivery).await?;
        let done = failure.is_none();
        match failure {
            None => delivery
                .ack()
                .await
                .context("the command succeeded, but the ack did not")?,
            Some(reason) => {
                note(&format!("{}: {reason}; it goes back", delivery.id));
                let settled = delivery.nack(self.retry_after, reason);
                settled
                    .await
                    .context("the command failed, and so did the nack")?;
            }
        }
        Ok(done)
    }
}

/// Runs the command; `None` on exit 0, else why not.
async fn run(command: &str, queue: &str, delivery: &Delivery) -> anyhow::Result<Option<String>> {
    let mut child = Command::new("sh")
        .args(["-c", command])
        .env("ROADSTEAD_MESSAGE_ID", &delivery.id)
        .env("ROADSTEAD_KEY", &delivery.ordering_key)
        .env(
            "ROADSTEAD_DELIVERY_COUNT",
            delivery.delivery_count.to_string(),
        )
        .env("ROADSTEAD_QUEUE", queue)
        .stdin(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("cannot run sh")?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that does not read its input is fine.
        let _ = stdin.write_all(&delivery.body).await;
    }
    let status = child.wait().await.context("cannot wait for the command")?;
    Ok((!status.success()).then(|| format!("the command ended with {status}")))
}
