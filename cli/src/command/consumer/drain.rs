//! `roadstead consumer drain QUEUE NAME...`

use std::time::Duration;

use clap::{Args, ValueEnum};
use roadstead_client::Client;
use roadstead_client::proto::ConsumerSelector;
use roadstead_client::proto::consumer_selector::By as WireBy;
use serde_json::json;

use crate::output::Output;
use crate::units;

/// What consumers are named by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    /// Their names.
    Name,
    /// The UIDs of their pods.
    PodUid,
    /// Their sessions.
    Session,
}

/// Which consumers, and for how long.
#[derive(Debug, Args)]
pub struct Drain {
    /// Queue: name, or namespace/name
    #[arg(value_parser = crate::names::queue)]
    queue: String,
    /// Names, as `consumer list` shows them; also of consumers that come later
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    /// Consumer group
    #[arg(long, default_value = "default")]
    group: String,
    /// What NAME is
    #[arg(long, value_enum, default_value = "name")]
    by: By,
    /// It ends by itself after this, at most 1h
    #[arg(long = "for", value_name = "TIME", value_parser = units::some_duration)]
    #[arg(default_value = "10m", conflicts_with = "undo")]
    time: Duration,
    /// Take it back: they get messages again
    #[arg(long)]
    undo: bool,
}

impl Drain {
    pub async fn run(self, client: &Client, output: &Output) -> anyhow::Result<()> {
        let selector = |name: String| ConsumerSelector {
            by: Some(match self.by {
                By::Name => WireBy::Name(name),
                By::PodUid => WireBy::PodUid(name),
                By::Session => WireBy::SessionId(name),
            }),
        };
        let selectors = self.names.into_iter().map(selector).collect();
        let time = (!self.undo).then_some(self.time);
        let meant = client.drain_consumers(&self.queue, &self.group, selectors, time);
        let consumers = meant.await?;
        let value = json!({
            "queue": self.queue,
            "group": self.group,
            "consumers": consumers,
            "drained": !self.undo,
            "forMs": time.map(|time| time.as_millis()),
        });
        output.print(&value, || {
            let (queue, noun) = (
                &self.queue,
                if consumers == 1 {
                    "consumer"
                } else {
                    "consumers"
                },
            );
            let Some(time) = time else {
                return format!("{consumers} {noun} of {queue} no longer drained");
            };
            let time = units::show(time);
            match consumers {
                0 => {
                    format!("no consumer of {queue} is meant now; one that comes within {time} is")
                }
                _ => format!("{consumers} {noun} of {queue} drained for {time}"),
            }
        })?;
        Ok(())
    }
}
