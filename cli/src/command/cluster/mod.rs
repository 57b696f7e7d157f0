//! `roadstead cluster ...`

mod members;
mod quota;
mod status;
mod transfer_leader;

use clap::Subcommand;

use crate::connection::Connection;
use crate::output::Output;

/// What to do with the cluster.
#[derive(Debug, Subcommand)]
pub enum Cluster {
    /// Show members and shards
    Status(status::Status),
    /// Show members in full (admin listener)
    Members(members::Members),
    /// Move leaderships to other nodes (admin listener)
    TransferLeader(transfer_leader::TransferLeader),
    /// Bound what the queues of a namespace may ask for (admin listener)
    #[command(subcommand)]
    Quota(quota::Quota),
}

impl Cluster {
    pub async fn run(self, connection: &Connection, output: &Output) -> anyhow::Result<()> {
        match self {
            Self::Status(command) => command.run(&connection.connect().await?, output).await,
            Self::Members(command) => {
                command
                    .run(&connection.connect_indirect().await?, output)
                    .await
            }
            Self::TransferLeader(command) => {
                command
                    .run(&connection.connect_indirect().await?, output)
                    .await
            }
            Self::Quota(command) => {
                command
                    .run(&connection.connect_indirect().await?, output)
                    .await
            }
        }
    }
}
