//! Which messages of a queue are meant.

use std::time::{Duration, SystemTime};

use clap::{Args, ValueEnum, value_parser};
use roadstead_client::Client;
use roadstead_client::proto::{AttributeFilter, DeadLetterReason, MessageFilter, MessageState};

use crate::{names, units};

/// Conditions that all have to hold; without any, every message is meant.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Which messages")]
pub struct Filter {
    /// In this state; may be repeated
    #[arg(long, value_enum, value_name = "STATE")]
    state: Vec<State>,
    /// With this ordering key
    #[arg(long, short)]
    key: Option<String>,
    /// With this priority
    #[arg(long, value_name = "0..9", value_parser = value_parser!(u32).range(0..=9))]
    priority: Option<u32>,
    /// Of this tenant
    #[arg(long, value_name = "TENANT")]
    fairness_key: Option<String>,
    /// With an attribute of this name, or name and value; may be repeated
    #[arg(long, short, value_name = "NAME[=VALUE]", value_parser = attribute)]
    attribute: Vec<AttributeFilter>,
    /// Dead-lettered for this reason; may be repeated
    #[arg(long, value_enum, value_name = "REASON")]
    reason: Vec<Reason>,
    /// Dead-lettered from this queue
    #[arg(long, value_name = "QUEUE", value_parser = names::queue)]
    source: Option<String>,
    /// Accepted, or under `dlq` dead-lettered, longer ago than this
    #[arg(long, value_name = "AGE", value_parser = units::duration, allow_hyphen_values = true)]
    older_than: Option<Duration>,
    /// Accepted, or under `dlq` dead-lettered, no longer ago than this
    #[arg(long, value_name = "AGE", value_parser = units::duration, allow_hyphen_values = true)]
    newer_than: Option<Duration>,
    /// In this partition
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    partition: Option<u32>,
    /// With this sequence or a higher one
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 0,
        hide_default_value = true
    )]
    #[arg(allow_negative_numbers = true)]
    from_sequence: u64,
    /// With this id
    #[arg(long, value_name = "ID")]
    id: Option<String>,
}

/// As `queue peek` shows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum State {
    /// Receivable.
    Ready,
    /// Leased to a consumer.
    InFlight,
    /// Not receivable yet.
    Delayed,
    /// Behind another message of its key.
    Blocked,
}

/// Why a message was dead-lettered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Reason {
    /// Delivered too often without an ack.
    MaxDeliveries,
    /// Rejected by a consumer.
    Rejected,
    /// Its time to live was over.
    Expired,
    /// It made room for a newer one.
    Overflow,
}

/// What the age of a message is counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// Its acceptance.
    Accepted,
    /// Its arrival among the dead letters.
    DeadLettered,
}

impl Filter {
    /// The filter as a server takes it.
    pub fn build(&self, client: &Client, since: Since) -> MessageFilter {
        let now = SystemTime::now();
        let ago = |age: Duration| {
            now.checked_sub(age)
                .unwrap_or(SystemTime::UNIX_EPOCH)
                .into()
        };
        let (after, before) = (self.newer_than.map(ago), self.older_than.map(ago));
        let source = self.source.as_ref().map(|name| client.queue_ref(name));
        let mut filter = MessageFilter {
            states: self.state.iter().map(|state| state.wire().into()).collect(),
            ordering_key: self.key.clone().unwrap_or_default(),
            priority: self.priority,
            fairness_key: self.fairness_key.clone().unwrap_or_default(),
            attributes: self.attribute.clone(),
            reasons: self.reason.iter().map(|why| why.wire().into()).collect(),
            source_queue: crate::format::name(source.as_ref()),
            partition: self.partition,
            from_sequence: self.from_sequence,
            message_id: self.id.clone().unwrap_or_default(),
            ..MessageFilter::default()
        };
        match since {
            Since::Accepted => (filter.enqueued_after, filter.enqueued_before) = (after, before),
            Since::DeadLettered => {
                (filter.dead_lettered_after, filter.dead_lettered_before) = (after, before);
            }
        }
        filter
    }
}

impl State {
    fn wire(self) -> MessageState {
        match self {
            Self::Ready => MessageState::Ready,
            Self::InFlight => MessageState::InFlight,
            Self::Delayed => MessageState::Delayed,
            Self::Blocked => MessageState::Blocked,
        }
    }
}

impl Reason {
    fn wire(self) -> DeadLetterReason {
        match self {
            Self::MaxDeliveries => DeadLetterReason::MaxDeliveries,
            Self::Rejected => DeadLetterReason::Rejected,
            Self::Overflow => DeadLetterReason::Overflow,
            Self::Expired => DeadLetterReason::Expired,
        }
    }
}

fn attribute(text: &str) -> Result<AttributeFilter, String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    if name.is_empty() {
        return Err(format!("{text:?} is not NAME or NAME=VALUE"));
    }
    let name = name.to_owned();
    Ok(AttributeFilter { name, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_meant_by_name_or_by_value() {
        let read = attribute("a=b=c").unwrap();
        assert_eq!((&read.name[..], read.value.as_deref()), ("a", Some("b=c")));
        assert_eq!(attribute("a").unwrap().value, None);
        assert_eq!(attribute("a=").unwrap().value.as_deref(), Some(""));
        assert!(attribute("").is_err() && attribute("=b").is_err());
    }
}
