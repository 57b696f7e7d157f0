//! The commands, one file each.

mod bench;
mod cluster;
mod completions;
mod consumer;
mod demo;
mod dev;
mod dlq;
mod filter;
mod load;
mod message;
mod queue;
mod receive;
mod send;

use clap::Subcommand;

use crate::connection::Connection;
use crate::output::Output;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a cluster on this machine, for development
    Dev(dev::Dev),
    /// Show what happens when a leader dies under load, on a cluster of its own
    Demo(demo::Demo),
    /// Create, change, list and look into queues
    #[command(subcommand)]
    Queue(queue::Queue),
    /// Look into dead letters, and move them back
    #[command(subcommand)]
    Dlq(dlq::Dlq),
    /// Show who receives, and let consumers finish
    #[command(subcommand)]
    Consumer(consumer::Consumer),
    /// Send messages: one argument, a file, or many lines
    Send(send::Send),
    /// Receive messages, and ack them
    Receive(receive::Receive),
    /// Show the cluster, and move leaders
    #[command(subcommand)]
    Cluster(cluster::Cluster),
    /// Measure throughput and latency
    Bench(bench::Bench),
    /// Load with a ledger, and the check that nothing was lost
    #[command(subcommand)]
    Load(load::Load),
    /// Print a completion script for a shell
    Completions(completions::Completions),
}

impl Command {
    /// Does it.
    pub async fn run(self, connection: &Connection, output: &Output) -> anyhow::Result<()> {
        match self {
            Self::Dev(command) => command.run(connection, output).await,
            Self::Demo(command) => command.run(connection).await,
            Self::Queue(command) => command.run(connection, output).await,
            Self::Dlq(command) => command.run(connection, output).await,
            Self::Consumer(command) => command.run(connection, output).await,
            Self::Send(command) => command.run(connection, output).await,
            Self::Receive(command) => command.run(connection, output).await,
            Self::Cluster(command) => command.run(connection, output).await,
            Self::Bench(command) => command.run(connection, output).await,
            Self::Load(command) => command.run(connection, output).await,
            Self::Completions(command) => command.run(),
        }
    }
}
