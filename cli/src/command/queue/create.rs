//! `roadstead queue create NAME`

use clap::Args;
use roadstead_client::Client;
use roadstead_client::proto::QueueSpec;
use serde_json::json;

use super::spec::{DEFAULTS, Spec};
use crate::format;
use crate::output::Output;

/// Which queue, and what it promises.
#[derive(Debug, Args)]
#[command(after_help = DEFAULTS)]
pub struct Create {
    /// Name, or namespace/name
    #[arg(value_parser = crate::names::queue)]
    name: String,
    #[command(flatten)]
    spec: Spec,
}

impl Create {
    pub async fn run(self, client: &Client, output: &Output) -> anyhow::Result<()> {
        let mut spec = QueueSpec::default();
        self.spec.apply(&mut spec);
        let answer = client.create_queue(&self.name, spec).await?;
        let queue = answer.queue.unwrap_or_default();
        let name = format::name(queue.queue.as_ref());
        let value = json!({
            "queue": name,
            "created": answer.created,
            "spec": queue.spec.as_ref().map(format::spec),
        });
        let what = if answer.created {
            "created"
        } else {
            "exists already, as asked"
        };
        output.print(&value, || format!("queue {name} {what}"))?;
        Ok(())
    }
}
