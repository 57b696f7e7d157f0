//! `roadstead queue delete NAME`

use clap::Args;
use roadstead_client::Client;
use roadstead_client::proto::DeletePolicy;
use serde_json::json;

use crate::output::Output;

/// Which queue.
#[derive(Debug, Args)]
pub struct Delete {
    /// Name, or namespace/name
    name: String,
    /// Delete its messages too; without this a queue that holds messages is left alone
    #[arg(long)]
    with_messages: bool,
}

impl Delete {
    pub async fn run(self, client: &Client, output: &Output) -> anyhow::Result<()> {
        let policy = if self.with_messages {
            DeletePolicy::Always
        } else {
            DeletePolicy::IfEmpty
        };
        let messages = client.delete_queue(&self.name, policy).await?;
        let value = json!({ "queue": self.name, "messages": messages });
        output.print(&value, || {
            format!("queue {} deleted, {messages} messages", self.name)
        })?;
        Ok(())
    }
}
