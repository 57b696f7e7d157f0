//! `roadstead consumer ...`

mod drain;
mod ls;

use clap::Subcommand;

use crate::connection::Connection;
use crate::output::Output;

/// What to do with consumers.
#[derive(Debug, Subcommand)]
pub enum Consumer {
    /// List the consumers of a queue
    #[command(visible_alias = "ls")]
    List(ls::List),
    /// Let consumers get no more messages, and finish what they have
    Drain(drain::Drain),
}

impl Consumer {
    pub async fn run(self, connection: &Connection, output: &Output) -> anyhow::Result<()> {
        let client = connection.connect().await?;
        match self {
            Self::List(command) => command.run(&client, output).await,
            Self::Drain(command) => command.run(&client, output).await,
        }
    }
}
