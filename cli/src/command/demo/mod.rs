//! `roadstead demo`: three nodes, real traffic, a crash in the middle, and the ledger.

mod drain;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::{Args, value_parser};
use roadstead_client::ledger::{Findings, check};
use roadstead_client::{Client, terminated};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::load::check::examples;
use super::load::journal::Journal;
use super::load::sink::Sink;
use super::load::source::{Plan, Source, Tally};
use crate::connection::Connection;
use crate::embedded::{Cluster, Options, manifests};
use crate::output::{line, note};
use crate::units;

/// Seconds that a demo sends for: long enough for a crash in the middle.
const SENDING: u64 = 4;

/// How much, and of what.
#[derive(Debug, Args)]
pub struct Demo {
    /// Messages to send
    #[arg(long, default_value_t = 20_000, value_parser = value_parser!(u64).range(1..))]
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
    #[arg(long, default_value_t = 4, value_parser = value_parser!(u64).range(1..))]
    clients: u64,
}

/// A consumer ends when nothing came for so long: longer than an election.
const IDLE: Duration = Duration::from_secs(3);

/// What one run needs.
struct Run {
    client: Client,
    queue: String,
    journal: Journal,
    sent: Arc<AtomicU64>,
    acked: Arc<AtomicU64>,
}

impl Demo {
    pub async fn run(self, connection: &Connection) -> anyhow::Result<()> {
        let queues = manifests::read(std::slice::from_ref(&self.file), &connection.namespace)
            .context("the demo applies the quickstart: run it from the root of the repository")?
            .queues;
        let traffic = queues.iter().find(|queue| queue.spec.dead_letter.is_some());
        let Some(queue) = traffic.or(queues.first()).map(|queue| queue.name.clone()) else {
            bail!("{} holds no Queue", self.file.display())
        };
        let started = Instant::now();
        let options = Options {
            nodes: 3,
            shards: 8,
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
            sent: Arc::default(),
            acked: Arc::default(),
        };
        let mut sinks = run.consume(self.clients, IDLE).await?;
        let mut sources = run.produce(self.clients, self.messages).await?;
        while run.acked.load(Ordering::Relaxed) < self.messages * 2 / 5 {
            if sources.is_empty() && sinks.is_empty() {
                bail!("producers and consumers ended early");
            }
            sleep(Duration::from_millis(5)).await;
        }
        crash(&run, cluster).await?;
        let mut tallies = Vec::new();
        while let Some(tally) = sources.join_next().await {
            tallies.push(tally?);
        }
        say_sent(&tallies)?;
        while let Some(ended) = sinks.join_next().await {
            ended??;
        }
        let empty = run.drain(self.clients).await?;
        let findings = check(&run.journal.finish()?);
        drain::say_unanswered(&findings, empty)?;
        Ok(findings)
    }
}

impl Run {
    async fn produce(&self, producers: u64, messages: u64) -> anyhow::Result<JoinSet<Tally>> {
        let mut sources = JoinSet::new();
        for number in 0..producers {
            let share = messages / producers + u64::from(number < messages % producers);
            let plan = Plan {
                name: format!("producer-{}", number + 1),
                queues: vec![self.queue.clone()],
                messages: Some(share),
                duration: None,
                rate: share.div_ceil(SENDING),
                keys: 0,
            };
            let source = Source::start(&self.client, plan, self.journal.clone()).await?;
            let sent = self.sent.clone();
            let mut before = 0;
            sources.spawn(source.run(move |acknowledged| {
                sent.fetch_add(acknowledged - before, Ordering::Relaxed);
                before = acknowledged;
            }));
        }
        Ok(sources)
    }

    async fn consume(
        &self,
        consumers: u64,
        idle: Duration,
    ) -> anyhow::Result<JoinSet<Result<(), roadstead_client::ReceiveError>>> {
        let mut sinks = JoinSet::new();
        for _ in 0..consumers {
            let consumer = self.client.consumer(&self.queue).start().await?;
            let sink = Sink {
                consumer,
                journal: self.journal.clone(),
                work: Duration::ZERO,
                graveyard: false,
                acked: self.acked.clone(),
            };
            sinks.spawn(sink.run(idle));
        }
        Ok(sinks)
    }
}

/// Kills the node that leads most of the queue's shards, and waits for their new leaders.
async fn crash(run: &Run, cluster: &mut Cluster) -> anyhow::Result<()> {
    let shards = run.client.queue(&run.queue).await?.shards;
    let victim = watch::busiest(&run.client, &shards).await?;
    let Some(node) = cluster.nodes.iter().find(|node| node.id == victim.node) else {
        bail!("no shard of {} has a leader", run.queue)
    };
    let (name, client) = (node.name.clone(), node.client);
    let (sent, acked) = (
        run.sent.load(Ordering::Relaxed),
        run.acked.load(Ordering::Relaxed),
    );
    line(&format!("sent {sent}, acked {acked}: now a crash"))?;
    let at = Instant::now();
    cluster.kill(victim.node).await;
    let led: Vec<String> = victim.shards.iter().map(ToString::to_string).collect();
    line(&format!(
        "killed {name} ({client}), leader of shards {}",
        led.join(" ")
    ))?;
    watch::until_led(&run.client, &victim).await?;
    line(&format!(
        "no leader for {}: all shards are led again",
        units::show(at.elapsed())
    ))?;
    Ok(())
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
        "sent {sent}, failed {failed}, {again} needed more than one try, the slowest took {}",
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
    line(&format!(
        "\nTry next:\n  roadstead dev --nodes 3 -f examples/quickstart\n  \
         roadstead send {name} 'hello'\n  roadstead receive {name} --ack"
    ))?;
    let settled = findings.acked + findings.unanswered;
    if !findings.is_clean() || findings.failed > 0 || settled < findings.sent {
        bail!("the ledger is not clean");
    }
    Ok(())
}
