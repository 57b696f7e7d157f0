//! `roadstead queue ...`

mod create;
mod deduplication;
mod delete;
mod delete_message;
mod fairness;
mod get;
mod groups;
mod ls;
mod pause;
mod peek;
mod purge;
mod seek;
mod spec;
mod update;

use clap::Subcommand;

use crate::connection::Connection;
use crate::output::Output;

/// What to do with queues.
#[derive(Debug, Subcommand)]
pub enum Queue {
    /// List queues with their counts
    #[command(visible_alias = "list")]
    Ls(ls::Ls),
    /// Show one queue
    Get(get::Get),
    /// Create a queue; one that exists as asked is fine
    Create(create::Create),
    /// Change a queue; what is not named stays
    Update(update::Update),
    /// Delete a queue
    Delete(delete::Delete),
    /// Remove every message that is not leased
    Purge(purge::Purge),
    /// Show messages without leasing them
    Peek(peek::Peek),
    /// Delete one message
    DeleteMessage(delete_message::DeleteMessage),
    /// Let a consumer group begin with another message
    Seek(seek::Seek),
    /// Let a consumer group get no messages for now
    Pause(pause::Pause),
    /// Let a consumer group get messages again
    Resume(pause::Pause),
}

impl Queue {
    pub async fn run(self, connection: &Connection, output: &Output) -> anyhow::Result<()> {
        if let Self::Update(command) = &self {
            command.check()?;
        }
        let client = connection.connect().await?;
        match self {
            Self::Ls(command) => command.run(&client, output).await,
            Self::Get(command) => command.run(&client, output).await,
            Self::Create(command) => command.run(&client, output).await,
            Self::Update(command) => command.run(&client, output).await,
            Self::Delete(command) => command.run(&client, output).await,
            Self::Purge(command) => command.run(&client, output).await,
            Self::Peek(command) => command.run(&client, output).await,
            Self::DeleteMessage(command) => command.run(&client, output).await,
            Self::Seek(command) => command.run(&client, output).await,
            Self::Pause(command) => command.run(&client, output, true).await,
            Self::Resume(command) => command.run(&client, output, false).await,
        }
    }
}
