//! `roadstead queue delete-message NAME MESSAGE`

use clap::Args;
use roadstead_client::{CallError, Client};
use serde_json::json;

use crate::command::message;
use crate::output::Output;

/// Which queue, and which message.
#[derive(Debug, Args)]
pub struct DeleteMessage {
    /// Name, or namespace/name
    #[arg(value_parser = crate::names::queue)]
    name: String,
    /// Its location, as `queue peek` shows it, or its id
    message: String,
    /// Consumer group among whose messages an id is looked for
    #[arg(long, default_value = "default")]
    group: String,
    /// Also while it is leased to a consumer, whose ack then comes to nothing
    #[arg(long)]
    force: bool,
}

impl DeleteMessage {
    pub async fn run(self, client: &Client, output: &Output) -> anyhow::Result<()> {
        let (location, id) =
            message::find(client, (&self.name, &self.group), &self.message).await?;
        let deleted = client.delete_message(&self.name, &location, &id, self.force);
        deleted.await.map_err(with_flag)?;
        let value = json!({ "queue": self.name, "message": self.message });
        output.print(&value, || {
            format!("{} deleted from {}", self.message, self.name)
        })?;
        Ok(())
    }
}

/// The server names the field of its own request; here a flag asks for it.
fn with_flag(error: CallError) -> CallError {
    match error {
        CallError::Refused(mut fault) => {
            fault.message = fault
                .message
                .replace("or delete it by force", "or delete it with --force");
            CallError::Refused(fault)
        }
        other @ CallError::Unreachable { .. } => other,
    }
}
