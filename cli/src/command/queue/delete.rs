//! `roadstead queue delete NAME`

use clap::Args;
use roadstead_client::proto::DeletePolicy;
use roadstead_client::{CallError, Client};
use serde_json::json;

use crate::output::Output;

/// Which queue.
#[derive(Debug, Args)]
pub struct Delete {
    /// Name, or namespace/name
    #[arg(value_parser = crate::names::queue)]
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
        let deleted = client.delete_queue(&self.name, policy).await;
        let messages = deleted.map_err(with_flag)?;
        let value = json!({ "queue": self.name, "messages": messages });
        output.print(&value, || {
            format!("queue {} deleted, {messages} messages", self.name)
        })?;
        Ok(())
    }
}

/// The server names the policy of its own request; here a flag asks for it.
fn with_flag(error: CallError) -> CallError {
    match error {
        CallError::Refused(mut fault) => {
            let message = fault
                .message
                .replace("with policy ALWAYS", "with --with-messages");
            fault.message = message.replace("(policy ALWAYS)", "(--with-messages)");
            CallError::Refused(fault)
        }
        other @ CallError::Unreachable { .. } => other,
    }
}
