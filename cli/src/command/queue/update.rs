//! `roadstead queue update NAME`

use clap::Args;
use roadstead_client::Client;
use serde_json::json;

use super::spec::Spec;
use crate::exit::{Failure, Kind};
use crate::format;
use crate::output::Output;

/// Which queue, and what changes.
#[derive(Debug, Args)]
pub struct Update {
    /// Name, or namespace/name
    #[arg(value_parser = crate::names::queue)]
    name: String,
    #[command(flatten)]
    spec: Spec,
}

impl Update {
    /// Whether something is to change.
    ///
    /// # Errors
    /// Says by which options.
    pub fn check(&self) -> Result<(), Failure> {
        if self.spec.is_empty() {
            let message = format!("say what to change, by {}", Spec::options());
            return Err(Failure(Kind::Usage, message));
        }
        Ok(())
    }

    pub async fn run(self, client: &Client, output: &Output) -> anyhow::Result<()> {
        let mut spec = client.queue(&self.name).await?.spec.unwrap_or_default();
        self.spec.apply(&mut spec);
        let queue = client.update_queue(&self.name, spec).await?;
        let name = format::name(queue.queue.as_ref());
        let value = json!({
            "queue": name,
            "generation": queue.generation,
            "spec": queue.spec.as_ref().map(format::spec),
        });
        output.print(&value, || format!("queue {name} updated"))?;
        Ok(())
    }
}
