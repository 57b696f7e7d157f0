//! `roadstead receive QUEUE`

use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use roadstead_client::{Consumer, Delivery, terminated};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use crate::connection::Connection;
use crate::output::{Output, line, note};
use crate::{format, units};

/// Where from, and what to do with each message.
#[derive(Debug, Args)]
pub struct Receive {
    /// Queue: name, or namespace/name
    queue: String,
    /// Messages to receive, without --follow
    #[arg(long, short = 'c', default_value_t = 1, conflicts_with = "follow")]
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
        let result = tokio::select! {
            result = self.receive(&consumer, output, &mut held) => result,
            () = terminated() => Ok(()),
        };
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
        output: &Output,
        held: &mut Vec<Delivery>,
    ) -> anyhow::Result<()> {
        let mut received = 0;
        while self.follow || received < self.count {
            let next = if self.follow {
                consumer.next().await?
            } else {
                match timeout(self.wait, consumer.next()).await {
                    Ok(next) => next?,
                    Err(_) => break,
                }
            };
            let Some(delivery) = next else { break };
            received += 1;
            self.handle(delivery, output, held).await?;
        }
        if received == 0 {
            note(&format!(
                "no message in {} within {}",
                self.queue,
                units::show(self.wait)
            ));
        }
        Ok(())
    }

    async fn handle(
        &self,
        delivery: Delivery,
        output: &Output,
        held: &mut Vec<Delivery>,
    ) -> anyhow::Result<()> {
        if let Some(command) = &self.exec {
            return self.execute(command, delivery).await;
        }
        if output.is_json() {
            line(&format::message(&delivery).to_string())?;
        } else {
            line(&String::from_utf8_lossy(&delivery.body))?;
        }
        if self.ack {
            delivery.ack().await.context("printed, but not acked")?;
        } else {
            // Kept until the end, so that the next one is another one.
            held.push(delivery);
        }
        Ok(())
    }

    async fn execute(&self, command: &str, delivery: Delivery) -> anyhow::Result<()> {
        match run(command, &self.queue, &delivery).await? {
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
        Ok(())
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
