//! `roadstead queue ls`

use clap::Args;
use roadstead_client::{CallError, Client, proto};
use serde_json::{Value, json};

use crate::output::{Output, table};
use crate::{format, units};

/// Which queues.
#[derive(Debug, Args)]
pub struct Ls {
    /// Queues of every namespace
    #[arg(long, short = 'A')]
    all_namespaces: bool,
}

impl Ls {
    pub async fn run(self, client: &Client, output: &Output) -> anyhow::Result<()> {
        let namespace = if self.all_namespaces {
            ""
        } else {
            client.namespace()
        };
        let mut rows = Vec::new();
        for queue in client.queues(namespace).await? {
            let name = format::name(queue.queue.as_ref());
            match client.queue_stats(&name).await {
                Ok(stats) => rows.push((queue, stats)),
                // Deleted since it was listed.
                Err(CallError::Refused(fault)) if i32::from(fault.code) == 5 => {}
                Err(error) => return Err(error.into()),
            }
        }
        output.print(&json(&rows), || {
            if rows.is_empty() {
                return format!("no queues in namespace {namespace:?}");
            }
            let header = [
                "NAME",
                "PARTITIONS",
                "ORDERING",
                "READY",
                "IN FLIGHT",
                "DELAYED",
                "OLDEST",
            ];
            table(header, rows.iter().map(|(queue, stats)| row(queue, stats)))
        })?;
        Ok(())
    }
}

fn json(rows: &[(proto::Queue, proto::QueueStats)]) -> Value {
    let row = |(queue, stats): &(proto::Queue, proto::QueueStats)| {
        json!({
            "queue": format::name(queue.queue.as_ref()),
            "spec": queue.spec.as_ref().map(format::spec),
            "stats": format::stats(stats),
        })
    };
    Value::Array(rows.iter().map(row).collect())
}

fn row(queue: &proto::Queue, stats: &proto::QueueStats) -> [String; 7] {
    let spec = queue.spec.clone().unwrap_or_default();
    let missing = if stats.partitions_unavailable > 0 {
        "?"
    } else {
        ""
    };
    [
        format::name(queue.queue.as_ref()),
        spec.partitions.to_string(),
        format::ordering(spec.ordering()).to_owned(),
        format!("{}{missing}", stats.ready),
        format!("{}{missing}", stats.in_flight),
        format!("{}{missing}", stats.delayed),
        format::oldest(stats).map_or_else(|| "-".into(), units::show),
    ]
}
