//! `roadstead load ...`: load with a ledger.

pub mod check;
mod consume;
pub mod journal;
mod produce;
pub mod sink;
pub mod source;

use clap::Subcommand;

use crate::connection::Connection;
use crate::output::Output;

/// What part of the load.
#[derive(Debug, Subcommand)]
pub enum Load {
    /// Send messages of real shape and write down what was acknowledged
    Produce(produce::Produce),
    /// Receive and ack, and write down what arrived
    Consume(consume::Consume),
    /// Compare ledgers: exit 0 only if nothing was lost
    Check(check::Check),
}

impl Load {
    pub async fn run(self, connection: &Connection, output: &Output) -> anyhow::Result<()> {
        match self {
            Self::Produce(command) => command.run(connection, output).await,
            Self::Consume(command) => command.run(connection, output).await,
            Self::Check(command) => command.run(output),
        }
    }
}
