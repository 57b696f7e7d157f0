//! `roadstead consumer list QUEUE`

use std::time::Duration;

use clap::Args;
use roadstead_client::Client;
use roadstead_client::proto::QueueConsumer;
use serde_json::{Value, json};

use crate::output::{Output, note, table};
use crate::units;

/// Of which queue.
#[derive(Debug, Args)]
pub struct List {
    /// Queue: name, or namespace/name
    #[arg(value_parser = crate::names::queue)]
    queue: String,
    /// Consumer group
    #[arg(long, default_value = "default")]
    group: String,
}

impl List {
    pub async fn run(self, client: &Client, output: &Output) -> anyhow::Result<()> {
        let listed = client.consumers(&self.queue, &self.group).await?;
        if listed.partitions_unavailable > 0 {
            note(&format!(
                "{} partitions of {} do not answer; what they know is missing",
                listed.partitions_unavailable, self.queue
            ));
        }
        let mut consumers = listed.consumers;
        consumers.sort_by(|a, b| (&a.name, &a.session_id).cmp(&(&b.name, &b.session_id)));
        let value = Value::Array(consumers.iter().map(json).collect());
        output.print(&value, || {
            if consumers.is_empty() {
                return format!("no consumers of {}, group {}", self.queue, self.group);
            }
            let header = [
                "NAME",
                "SESSION",
                "PRIORITY",
                "IN FLIGHT",
                "CREDIT",
                "IDLE",
                "STATE",
            ];
            table(header, consumers.iter().map(row))
        })?;
        Ok(())
    }
}

fn json(consumer: &QueueConsumer) -> Value {
    json!({
        "name": consumer.name,
        "podUid": consumer.pod_uid,
        "session": consumer.session_id,
        "priority": consumer.priority,
        "exclusive": consumer.exclusive,
        "inFlight": consumer.in_flight,
        "credit": consumer.credit,
        "idleMs": consumer.idle_ms,
        "draining": consumer.draining,
    })
}

fn row(consumer: &QueueConsumer) -> [String; 7] {
    let exclusive = if consumer.exclusive { "exclusive" } else { "" };
    let state = match (consumer.draining, consumer.in_flight) {
        (true, 0) => "drained",
        (true, _) => "draining",
        (false, _) => "receiving",
    };
    [
        consumer.name.clone(),
        consumer.session_id.clone(),
        format!("{} {exclusive}", consumer.priority),
        consumer.in_flight.to_string(),
        consumer.credit.to_string(),
        units::show(Duration::from_millis(consumer.idle_ms)),
        state.to_owned(),
    ]
}
