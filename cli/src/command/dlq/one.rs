//! `roadstead dlq redrive QUEUE --message LOCATION`: one message, which may be changed.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use roadstead_client::Client;
use roadstead_client::proto::attribute_value::Value;
use roadstead_client::proto::{AttributeValue, NewAttributes, RedriveMessageRequest};
use serde_json::json;

use crate::command::message;
use crate::exit::{Failure, Kind};
use crate::output::Output;
use crate::units;

/// Which message, and what it says from now on.
#[derive(Debug, Args)]
#[command(next_help_heading = "One message")]
pub struct One {
    /// Move this message only: its location, as `queue peek` shows it, or its id
    #[arg(long, value_name = "MESSAGE")]
    #[arg(conflicts_with_all = [
        "state", "key", "attribute", "reason", "source", "older_than", "newer_than", "partition",
        "from_sequence", "id", "rate", "dry_run",
    ])]
    pub message: Option<String>,
    /// Its body from now on, from a file; - is stdin
    #[arg(long, value_name = "FILE", requires = "message")]
    body: Option<PathBuf>,
    /// One of its attributes from now on, in place of all that it has; may be repeated
    #[arg(long, value_name = "NAME=VALUE", requires = "message", value_parser = units::pair)]
    set_attribute: Vec<(String, String)>,
    /// Media type of its body from now on
    #[arg(long, value_name = "TYPE", requires = "message")]
    content_type: Option<String>,
}

impl One {
    /// A message has one value for each name.
    pub fn check(&self) -> Result<(), Failure> {
        let names: BTreeMap<_, _> = self.set_attribute.iter().cloned().collect();
        if names.len() == self.set_attribute.len() {
            return Ok(());
        }
        let message = "an attribute is given more than once".to_owned();
        Err(Failure(Kind::Usage, message))
    }

    /// Moves the message of a queue to another one; an empty name: to where it came from.
    pub async fn run(
        &self,
        client: &Client,
        output: &Output,
        (queue, group): (&str, &str),
        (named, to): (&str, String),
    ) -> anyhow::Result<()> {
        let body = self.new_body()?;
        let (location, message_id) = message::find(client, (queue, group), named).await?;
        let attributes = (!self.set_attribute.is_empty()).then(|| {
            let text = |value: &String| AttributeValue {
                value: Some(Value::StringValue(value.clone())),
            };
            let pairs = self.set_attribute.iter();
            NewAttributes {
                attributes: pairs
                    .map(|(name, value)| (name.clone(), text(value)))
                    .collect(),
            }
        });
        let request = RedriveMessageRequest {
            queue: Some(client.queue_ref(queue)),
            location,
            message_id,
            to,
            body,
            attributes,
            content_type: self.content_type.clone(),
        };
        let to = client.redrive_message(request).await?;
        let value = json!({ "queue": queue, "message": named, "to": to });
        output.print(&value, || format!("{named} moved to {to}"))?;
        Ok(())
    }

    fn new_body(&self) -> anyhow::Result<Option<roadstead_client::Bytes>> {
        let Some(path) = &self.body else {
            return Ok(None);
        };
        let mut body = Vec::new();
        let read = if path.as_os_str() == "-" {
            std::io::stdin().read_to_end(&mut body)
        } else {
            std::fs::File::open(path).and_then(|mut file| file.read_to_end(&mut body))
        };
        read.with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Some(body.into()))
    }
}
