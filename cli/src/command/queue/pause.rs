//! `roadstead queue pause NAME` and `roadstead queue resume NAME`

use clap::Args;
use roadstead_client::Client;
use serde_json::json;

use crate::output::Output;

/// Which group.
#[derive(Debug, Args)]
pub struct Pause {
    /// Name, or namespace/name
    #[arg(value_parser = crate::names::queue)]
    name: String,
    /// Consumer group
    #[arg(long, default_value = "default")]
    group: String,
}

impl Pause {
    pub async fn run(self, client: &Client, output: &Output, paused: bool) -> anyhow::Result<()> {
        let changed = client.set_paused(&self.name, &self.group, paused).await?;
        let value = json!({
            "queue": self.name,
            "group": self.group,
            "paused": paused,
            "changed": changed,
        });
        output.print(&value, || {
            let (name, group) = (&self.name, &self.group);
            let already = if changed { "" } else { " already" };
            if paused {
                format!("group {group} of {name} is{already} paused: it gets no messages")
            } else {
                format!("group {group} of {name} gets messages{already}")
            }
        })?;
        Ok(())
    }
}
