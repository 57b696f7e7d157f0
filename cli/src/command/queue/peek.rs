//! `roadstead queue peek NAME`

use clap::{Args, value_parser};
use roadstead_client::Client;
use roadstead_client::proto::{MessageState, PeekedMessage};
use serde_json::{Value, json};

use crate::command::filter::{Filter, Since};
use crate::format;
use crate::output::{Output, line, table};

/// Which queue, how many, and which of them.
#[derive(Debug, Args)]
pub struct Peek {
    /// Name, or namespace/name
    #[arg(value_parser = crate::names::queue)]
    name: String,
    /// Messages at most, 1..100
    #[arg(long, short, default_value_t = 10, value_parser = value_parser!(u32).range(1..=100))]
    #[arg(allow_negative_numbers = true)]
    count: u32,
    /// All messages, however many; with `--output json` one object per line
    #[arg(long, conflicts_with = "count")]
    all: bool,
    /// Consumer group as whose they are shown: without what it has settled
    #[arg(long, default_value = "default")]
    group: String,
    #[command(flatten)]
    filter: Filter,
}

impl Peek {
    pub async fn run(self, client: &Client, output: &Output) -> anyhow::Result<()> {
        let filter = self.filter.build(client, Since::Accepted);
        if self.all && output.is_json() {
            let mut walk = client.browse(&self.name, filter).group(self.group);
            while let Some(message) = walk.next().await? {
                line(&json(&message).to_string())?;
            }
            return Ok(());
        }
        let count = if self.all {
            usize::MAX
        } else {
            self.count as usize
        };
        let walk = client.browse(&self.name, filter).group(self.group);
        let messages = walk.first(count).await?;
        let value = Value::Array(messages.iter().map(json).collect());
        output.print(&value, || {
            if messages.is_empty() {
                return format!("{} holds no such messages", self.name);
            }
            let header = [
                "ID",
                "LOCATION",
                "STATE",
                "DELIVERIES",
                "KEY",
                "BYTES",
                "BODY",
            ];
            if messages.iter().all(|message| message.dead_letter.is_none()) {
                return table(header, messages.iter().map(row));
            }
            let [id, location, state, deliveries, key, bytes, body] = header;
            let why = "DEAD LETTER";
            let header = [id, location, state, deliveries, key, bytes, why, body];
            table(header, messages.iter().map(row_of_dead))
        })?;
        Ok(())
    }
}

fn state(message: &PeekedMessage) -> &'static str {
    match message.state() {
        MessageState::Unspecified => "?",
        MessageState::Ready => "Ready",
        MessageState::InFlight => "InFlight",
        MessageState::Delayed => "Delayed",
        MessageState::Blocked => "Blocked",
    }
}

fn json(message: &PeekedMessage) -> Value {
    let mut value = json!({
        "id": message.message_id,
        "location": message.location,
        "state": state(message),
        "partition": message.partition,
        "sequence": message.sequence,
        "deliveryCount": message.delivery_count,
        "orderingKey": message.ordering_key,
        "deduplicationId": message.deduplication_id,
        "priority": message.priority,
        "fairnessKey": message.fairness_key,
        "contentType": message.content_type,
        "schemaId": message.schema_id,
        "traceParent": message.trace_parent,
        "traceState": message.trace_state,
        "enqueuedAt": format::time(message.enqueued_at),
        "expiresAt": format::time(message.expires_at),
        "notBefore": format::time(message.not_before),
        "firstDeliveredAt": format::time(message.first_delivered_at),
        "lastDeliveredAt": format::time(message.last_delivered_at),
        "attributes": format::attributes(&message.attributes),
    });
    let (key, body) = format::body(&message.body);
    value[key] = body;
    if let Some(dead) = &message.dead_letter {
        value["deadLetter"] = format::dead_letter(dead);
    }
    value
}

/// The beginning of a text, in one line.
fn start_of(text: &str) -> String {
    let start = text.chars().take(40);
    let mut start: String = start
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().nth(40).is_some() {
        start.push('…');
    }
    start
}

fn row_of_dead(message: &PeekedMessage) -> [String; 8] {
    let why = message
        .dead_letter
        .as_ref()
        .map_or_else(String::new, |dead| {
            let why = format!("{} in {}", format::reason(dead), dead.source_queue);
            if dead.error.is_empty() {
                return why;
            }
            format!("{why}: {}", start_of(&dead.error))
        });
    let [id, location, state, deliveries, key, bytes, body] = row(message);
    [id, location, state, deliveries, key, bytes, why, body]
}

fn row(message: &PeekedMessage) -> [String; 7] {
    [
        message.message_id.clone(),
        message.location.clone(),
        state(message).to_owned(),
        message.delivery_count.to_string(),
        message.ordering_key.clone(),
        message.body.len().to_string(),
        start_of(&String::from_utf8_lossy(&message.body)),
    ]
}
