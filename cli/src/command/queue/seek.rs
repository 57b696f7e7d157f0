//! `roadstead queue seek NAME`

use std::time::{Duration, SystemTime};

use clap::{ArgGroup, Args};
use roadstead_client::Client;
use roadstead_client::proto::SeekPosition;
use roadstead_client::proto::seek_group_request::To;
use serde_json::json;

use crate::output::Output;
use crate::units;

/// Which group, and where it begins.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("to").required(true))]
pub struct Seek {
    /// Name, or namespace/name
    #[arg(value_parser = crate::names::queue)]
    name: String,
    /// Consumer group
    #[arg(long, default_value = "default")]
    group: String,
    /// With the first message that is still there
    #[arg(long, group = "to")]
    beginning: bool,
    /// With the next message that comes
    #[arg(long, group = "to")]
    end: bool,
    /// With what came within this time, for example 2h
    #[arg(long, group = "to", value_parser = units::duration)]
    since: Option<Duration>,
    /// With this sequence of the partition
    #[arg(long, group = "to", requires = "partition")]
    sequence: Option<u64>,
    /// In this partition only
    #[arg(long)]
    partition: Option<u32>,
}

impl Seek {
    pub async fn run(self, client: &Client, output: &Output) -> anyhow::Result<()> {
        let to = match (self.sequence, self.since) {
            (Some(sequence), _) => To::Sequence(sequence),
            (_, Some(since)) => {
                let at = SystemTime::now().checked_sub(since);
                To::Time(at.unwrap_or(SystemTime::UNIX_EPOCH).into())
            }
            _ if self.end => To::Position(SeekPosition::End.into()),
            _ => To::Position(SeekPosition::Beginning.into()),
        };
        let sought = client.seek(&self.name, &self.group, to, self.partition);
        let sought = sought.await?;
        let value = json!({
            "queue": self.name,
            "group": self.group,
            "messages": sought.messages,
            "done": sought.done,
        });
        output.print(&value, || {
            let rest = if sought.done {
                ""
            } else {
                " so far; it goes on looking"
            };
            let (messages, group) = (sought.messages, &self.group);
            format!(
                "{messages} messages wait for group {group} of {}{rest}",
                self.name
            )
        })?;
        Ok(())
    }
}
