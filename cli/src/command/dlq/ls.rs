//! `roadstead dlq ls QUEUE`

use std::collections::BTreeMap;
use std::time::SystemTime;

use clap::Args;
use roadstead_client::Client;
use serde_json::{Value, json};

use crate::command::filter::{Filter, Since};
use crate::output::{Output, table};
use crate::{format, units};

/// Which queue.
#[derive(Debug, Args)]
pub struct Ls {
    /// Queue that takes dead letters: name, or namespace/name
    #[arg(value_parser = crate::names::queue)]
    queue: String,
    #[command(flatten)]
    filter: Filter,
}

/// Dead letters of one reason and source.
#[derive(Debug, Default)]
struct Group {
    messages: u64,
    /// When the oldest of them was dead-lettered.
    oldest: Option<SystemTime>,
}

impl Ls {
    pub async fn run(self, client: &Client, output: &Output) -> anyhow::Result<()> {
        let filter = self.filter.build(client, Since::DeadLettered);
        let mut walk = client.browse(&self.queue, filter);
        let mut groups: BTreeMap<(&str, String), Group> = BTreeMap::new();
        while let Some(message) = walk.next().await? {
            let (key, at) = match message.dead_letter {
                Some(dead) => ((format::reason(&dead), dead.source_queue), dead.at),
                None => (("-", "-".to_owned()), None),
            };
            let group = groups.entry(key).or_default();
            group.messages += 1;
            let at = at.and_then(|at| SystemTime::try_from(at).ok());
            group.oldest = group.oldest.into_iter().chain(at).min();
        }
        let messages: u64 = groups.values().map(|group| group.messages).sum();
        let list = groups.iter().map(|((reason, source), group)| {
            json!({
                "reason": reason,
                "sourceQueue": source,
                "messages": group.messages,
                "oldestAgeSeconds": group.age().map(|age| age.as_secs_f64()),
            })
        });
        let list: Vec<Value> = list.collect();
        let value = json!({ "queue": self.queue, "messages": messages, "groups": list });
        output.print(&value, || {
            if groups.is_empty() {
                return format!("{} holds no such messages", self.queue);
            }
            let rows = groups.iter().map(|((reason, source), group)| {
                [
                    (*reason).to_owned(),
                    source.clone(),
                    group.messages.to_string(),
                    group.age().map_or_else(|| "-".to_owned(), units::show),
                ]
            });
            table(["REASON", "FROM", "MESSAGES", "OLDEST"], rows)
        })?;
        Ok(())
    }
}

impl Group {
    fn age(&self) -> Option<std::time::Duration> {
        Some(self.oldest?.elapsed().unwrap_or_default())
    }
}
