//! `roadstead queue peek NAME`

use clap::{Args, value_parser};
use roadstead_client::Client;
use roadstead_client::proto::{MessageState, PeekedMessage};
use serde_json::{Value, json};

use crate::format;
use crate::output::{Output, table};

/// Which queue, and how many.
#[derive(Debug, Args)]
pub struct Peek {
    /// Name, or namespace/name
    #[arg(value_parser = crate::names::queue)]
    name: String,
    /// Messages at most, 1..100
    #[arg(long, short, default_value_t = 10, value_parser = value_parser!(u32).range(1..=100))]
    #[arg(allow_negative_numbers = true)]
    count: u32,
}

impl Peek {
    pub async fn run(self, client: &Client, output: &Output) -> anyhow::Result<()> {
        let messages = client.peek(&self.name, self.count).await?;
        let value = Value::Array(messages.iter().map(json).collect());
        output.print(&value, || {
            if messages.is_empty() {
                return format!("{} holds no messages", self.name);
            }
            let header = ["ID", "STATE", "DELIVERIES", "KEY", "BYTES", "BODY"];
            if messages.iter().all(|message| message.dead_letter.is_none()) {
                return table(header, messages.iter().map(row));
            }
            let [id, state, deliveries, key, bytes, body] = header;
            let header = [id, state, deliveries, key, bytes, "DEAD LETTER", body];
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
        "state": state(message),
        "partition": message.partition,
        "sequence": message.sequence,
        "deliveryCount": message.delivery_count,
        "orderingKey": message.ordering_key,
        "deduplicationId": message.deduplication_id,
        "contentType": message.content_type,
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

fn row_of_dead(message: &PeekedMessage) -> [String; 7] {
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
    let [id, state, deliveries, key, bytes, body] = row(message);
    [id, state, deliveries, key, bytes, why, body]
}

fn row(message: &PeekedMessage) -> [String; 6] {
    [
        message.message_id.clone(),
        state(message).to_owned(),
        message.delivery_count.to_string(),
        message.ordering_key.clone(),
        message.body.len().to_string(),
        start_of(&String::from_utf8_lossy(&message.body)),
    ]
}
