//! `roadstead dlq ...`

mod ls;
mod one;
mod redrive;

use clap::Subcommand;

use crate::connection::Connection;
use crate::output::Output;

/// What to do with dead letters.
#[derive(Debug, Subcommand)]
pub enum Dlq {
    /// Count dead letters by their reason and the queue that they come from
    #[command(visible_alias = "list")]
    Ls(ls::Ls),
    /// Move messages back to where they came from, or to another queue
    Redrive(redrive::Redrive),
}

impl Dlq {
    pub async fn run(self, connection: &Connection, output: &Output) -> anyhow::Result<()> {
        if let Self::Redrive(command) = &self {
            command.check()?;
        }
        let client = connection.connect().await?;
        match self {
            Self::Ls(command) => command.run(&client, output).await,
            Self::Redrive(command) => command.run(&client, output).await,
        }
    }
}
