//! `roadstead demo`: three nodes, real traffic, a crash in the middle, and the ledger.

mod drain;
mod traffic;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use indicatif::HumanCount;
use roadstead_client::ledger::{Findings, check};
use roadstead_client::proto::DeliveryGuarantee;
use roadstead_client::{Client, terminated};
use tokio::time::sleep;

use self::traffic::Traffic;
use self::watch::Leader;
use super::load::check::examples;
use super::load::journal::Journal;
use super::load::source::Tally;
use crate::connection::Connection;
use crate::embedded::{Cluster, Options, manifests};
use crate::exit::{Failure, Kind};
use crate::output::{line, note, program};
use crate::units;

/// How much, and of what.
#[derive(Debug, Args)]
pub struct Demo {
    /// Messages to send
    #[arg(long, default_value_t = 20_000, value_parser = units::at_least_one::<u64>)]
    #[arg(allow_negative_numbers = true)]
    messages: u64,
    /// Queue manifests to apply; the first queue gets the messages
    #[arg(
        long,
        short,
        value_name = "PATH",
        default_value = "examples/quickstart"
    )]
    file: PathBuf,
    /// Producers and consumers
    #[arg(long, default_value_t = 4, value_parser = units::at_least_one::<u64>)]
    #[arg(allow_negative_numbers = true)]
    clients: u64,
}

/// What one run needs.
struct Run {
    client: Client,
    queue: String,
    journal: Journal,
    /// Messages to send.
    messages: u64,
    sent: Arc<AtomicU64>,
    acked: Arc<AtomicU64>,
}

impl Demo {
    pub async fn run(self, connection: &Connection) -> anyhow::Result<()> {
        let queues = manifests::read(std::slice::from_ref(&self.file), &connection.namespace)
            .context("the demo applies the quickstart: run it from the root of the repository")?
            .queues;
        let queue = stage(&queues)?;
        let started = Instant::now();
        let options = Options {
            nodes: 3,
            shards: None,
            data_dir: None,
            port: 0,
        };
        let mut stop = Box::pin(terminated());
        let mut cluster = tokio::select! {
            cluster = Cluster::start(&options) => cluster?,
            () = &mut stop => bail!("interrupted"),
        };
        line(&format!(
            "roadstead {}: three nodes at {}, ready in {}",
            env!("CARGO_PKG_VERSION"),
            cluster.endpoints().join(", "),
            units::show(started.elapsed()),
        ))?;
        let outcome = tokio::select! {
            findings = self.story(&mut cluster, queue.clone(), &queues) => findings,
            () = &mut stop => Err(anyhow::anyhow!("interrupted")),
        };
        cluster.stop().await;
        finish(&outcome?, &queue)
    }

    async fn story(
        &self,
        cluster: &mut Cluster,
        queue: String,
        queues: &[manifests::Wanted],
    ) -> anyhow::Result<Findings> {
        let client = Client::builder()
            .endpoints(cluster.endpoints())
            .connect()
            .await?;
        manifests::apply(&client, queues).await?;
        for queue in queues {
            line(&format!(
                "queue {}, {} partitions",
                queue.name, queue.spec.partitions
            ))?;
        }
        let run = Run {
            client,
            queue,
            journal: Journal::in_memory(),
            messages: self.messages,
            sent: Arc::default(),
            acked: Arc::default(),
        };
        let mut traffic = Traffic::start(&run, self.clients).await?;
        let victim = victim(&run, traffic.until_in_the_middle(&run)).await?;
        crash(&run, cluster, &victim).await?;
        traffic.until_sent(&run).await?;
        say_sent(&traffic.tallies)?;
        traffic.until_empty(&run, run.lease().await?).await?;
        traffic.stop().await?;
        let stats = run.client.queue_stats(&run.queue).await?;
        let mut findings = check(&run.journal.finish()?);
        if let Some(remark) = drain::conclude(&mut findings, &stats) {
            line(&remark)?;
        }
        Ok(findings)
    }
}

/// The queue that gets the messages: one with dead letters, else the first.
fn stage(queues: &[manifests::Wanted]) -> anyhow::Result<String> {
    let traffic = queues.iter().find(|queue| queue.spec.dead_letter.is_some());
    let Some(queue) = traffic.or(queues.first()) else {
        bail!("the manifests hold no Queue")
    };
    if queue.spec.delivery() == DeliveryGuarantee::AtMostOnce {
        let message = format!(
            "queue {} is AtMostOnce: a message that is on its way when the leader dies is lost \
             there, as promised, so the ledger of a demo cannot be clean; give a Queue with \
             delivery: AtLeastOnce",
            queue.name
        );
        return Err(Failure(Kind::Usage, message).into());
    }
    Ok(queue.name.clone())
}

impl Run {
    /// Messages sent and acked so far.
    fn counts(&self) -> (u64, u64) {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (of(&self.sent), of(&self.acked))
    }

    /// How long a delivery of the queue is leased.
    async fn lease(&self) -> anyhow::Result<Duration> {
        let spec = self.client.queue(&self.queue).await?.spec;
        let lease = spec.and_then(|spec| spec.lease).unwrap_or_default();
        Duration::try_from(lease).context("the lease of the queue is no duration")
    }
}

/// The node that leads most of the queue's shards when the `middle` has come. It is looked up
/// before that: under load an answer takes as long as thousands of sends.
async fn victim(
    run: &Run,
    middle: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<Leader> {
    let shards = run.client.queue(&run.queue).await?.shards;
    let mut victim = watch::busiest(&run.client, &shards).await?;
    let mut middle = std::pin::pin!(middle);
    loop {
        let again = async {
            sleep(Duration::from_millis(100)).await;
            watch::busiest(&run.client, &shards).await
        };
        tokio::select! {
            biased;
            come = &mut middle => return come.map(|()| victim),
            found = again => victim = found?,
        }
    }
}

/// Kills a node, and waits for new leaders of the shards that it led.
async fn crash(run: &Run, cluster: &mut Cluster, victim: &Leader) -> anyhow::Result<()> {
    let Some(node) = cluster.nodes.iter().find(|node| node.id == victim.node) else {
        bail!("node {:x} leads, and is none of this cluster", victim.node)
    };
    let (name, client) = (node.name.clone(), node.client);
    let (sent, acked) = run.counts();
    let left = still_to_send(sent, run.messages)?;
    let (sent, acked, left) = (HumanCount(sent), HumanCount(acked), HumanCount(left));
    line(&format!(
        "sent {sent}, acked {acked}, {left} still to be sent: now a crash"
    ))?;
    let at = Instant::now();
    cluster.kill(victim.node).await;
    let led: Vec<String> = victim.shards.iter().map(ToString::to_string).collect();
    line(&format!(
        "killed {name} ({client}), leader of shards {}",
        led.join(" ")
    ))?;
    watch::until_led(&run.client, victim).await?;
    line(&format!(
        "no leader for {}: all shards are led again",
        units::show(at.elapsed())
    ))?;
    Ok(())
}

/// Messages that the crash finds unsent.
fn still_to_send(sent: u64, messages: u64) -> anyhow::Result<u64> {
    match messages.saturating_sub(sent) {
        0 => bail!(
            "all {} messages were sent before the crash, which would have shown nothing of sends: \
             they were too few for this machine; raise --messages",
            HumanCount(messages)
        ),
        left => Ok(left),
    }
}

fn say_sent(tallies: &[Tally]) -> anyhow::Result<()> {
    let sent: u64 = tallies.iter().map(|tally| tally.acknowledged).sum();
    let failed: u64 = tallies.iter().map(|tally| tally.failed).sum();
    let again: u64 = tallies
        .iter()
        .flat_map(|tally| tally.attempts.range(2..))
        .map(|(_, count)| count)
        .sum();
    let slowest = tallies
        .iter()
        .map(|tally| tally.slowest)
        .max()
        .unwrap_or_default();
    line(&format!(
        "sent {}, failed {}, {} needed more than one try, the slowest took {}",
        HumanCount(sent),
        HumanCount(failed),
        HumanCount(again),
        units::show(slowest),
    ))?;
    Ok(())
}

fn finish(findings: &Findings, queue: &str) -> anyhow::Result<()> {
    for example in examples(findings) {
        note(&example);
    }
    line(&findings.to_string())?;
    let name = queue.rsplit('/').next().unwrap_or(queue);
    let roadstead = program();
    line(&format!(
        "\nTry next:\n  {roadstead} dev --nodes 3 -f examples/quickstart\n  \
         {roadstead} send {name} 'hello'\n  {roadstead} receive {name} --ack"
    ))?;
    let settled = findings.acked + findings.unanswered;
    if !findings.is_clean() || findings.failed > 0 || settled < findings.sent {
        bail!("the ledger is not clean");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_after_the_last_send_is_none_in_the_middle() {
        assert_eq!(still_to_send(8_000, 20_000).unwrap(), 12_000);
        let said = still_to_send(20_000, 20_000).unwrap_err().to_string();
        assert!(said.contains("all 20,000 messages were sent"), "{said}");
        assert!(said.contains("raise --messages"), "{said}");
    }
}
