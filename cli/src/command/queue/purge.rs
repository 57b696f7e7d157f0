//! `roadstead queue purge NAME`

use clap::Args;
use roadstead_client::Client;
use serde_json::json;

use crate::output::Output;

/// Which queue.
#[derive(Debug, Args)]
pub struct Purge {
    /// Name, or namespace/name
    #[arg(value_parser = crate::names::queue)]
    name: String,
}

impl Purge {
    pub async fn run(self, client: &Client, output: &Output) -> anyhow::Result<()> {
        let messages = client.purge_queue(&self.name).await?;
        let value = json!({ "queue": self.name, "messages": messages });
        output.print(&value, || {
            format!("{messages} messages removed from {}", self.name)
        })?;
        Ok(())
    }
}
