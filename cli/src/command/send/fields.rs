//! What a message says beside its body.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use clap::{Args, value_parser};
use roadstead_client::{Bytes, Message};

use crate::exit::{Failure, Kind};
use crate::units;

/// Sets one of its texts.
type Set = fn(Message, &str) -> Message;

/// The same for every message of a command.
#[derive(Debug, Args)]
pub struct Fields {
    /// Ordering key
    #[arg(long, short)]
    key: Option<String>,
    /// By what the message is known when it is sent again; the queue needs deduplication
    #[arg(long, value_name = "ID", conflicts_with = "ndjson")]
    deduplication_id: Option<String>,
    /// What has a higher one is received first: 0 to 9
    #[arg(long, default_value_t = 0, value_parser = value_parser!(u8).range(0..=9))]
    priority: u8,
    /// Names a tenant: those of a priority take turns
    #[arg(long, value_name = "TENANT")]
    fairness_key: Option<String>,
    /// Attribute as name=value; may be repeated with other names
    #[arg(long, short, value_name = "NAME=VALUE", value_parser = units::pair)]
    attribute: Vec<(String, String)>,
    /// The same of type number: decimal, at most 38 digits
    #[arg(long, value_name = "NAME=NUMBER", value_parser = units::pair)]
    number_attribute: Vec<(String, String)>,
    /// The same of type binary
    #[arg(long, value_name = "NAME=BASE64", value_parser = binary)]
    binary_attribute: Vec<(String, Bytes)>,
    /// Media type of the bodies
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// Names the schema of the bodies
    #[arg(long, value_name = "ID")]
    schema_id: Option<String>,
    /// W3C traceparent of the work that they continue
    #[arg(long, value_name = "TRACE")]
    trace_parent: Option<String>,
    /// W3C tracestate that goes with it
    #[arg(long, value_name = "STATE", requires = "trace_parent")]
    trace_state: Option<String>,
    /// Not receivable before this has passed
    #[arg(long, value_parser = units::duration, allow_hyphen_values = true)]
    delay: Option<Duration>,
    /// Not receivable before this, for example 2026-12-24T18:00:00Z; with a delay the later counts
    #[arg(long, value_name = "TIME", value_parser = units::time)]
    not_before: Option<SystemTime>,
    /// How long it waits at most, if that is shorter than the queue's time to live
    #[arg(long, value_parser = units::some_duration, allow_hyphen_values = true)]
    time_to_live: Option<Duration>,
}

fn binary(text: &str) -> Result<(String, Bytes), String> {
    let (name, value) = units::pair(text)?;
    let bytes = BASE64_STANDARD.decode(&value);
    let bytes = bytes.map_err(|error| format!("{value:?} is no base64: {error}"))?;
    Ok((name, bytes.into()))
}

impl Fields {
    /// A message has one value for each name.
    pub fn check(&self) -> Result<(), Failure> {
        let texts = self.attribute.iter().chain(&self.number_attribute);
        let names = texts.map(|(name, _)| name);
        let mut known = BTreeSet::new();
        for name in names.chain(self.binary_attribute.iter().map(|(name, _)| name)) {
            if !known.insert(name) {
                let message = format!("attribute {name:?} is given more than once");
                return Err(Failure(Kind::Usage, message));
            }
        }
        Ok(())
    }

    /// A message with this body.
    pub fn message(&self, body: Vec<u8>) -> Message {
        let mut message = Message::new(body).priority(self.priority);
        let texts: [(&Option<String>, Set); 7] = [
            (&self.fairness_key, |m, text| m.fairness_key(text)),
            (&self.key, |m, text| m.key(text)),
            (&self.deduplication_id, |m, text| m.deduplication_id(text)),
            (&self.content_type, |m, text| m.content_type(text)),
            (&self.schema_id, |m, text| m.schema_id(text)),
            (&self.trace_parent, |m, text| m.trace_parent(text)),
            (&self.trace_state, |m, text| m.trace_state(text)),
        ];
        for (text, set) in texts {
            if let Some(text) = text {
                message = set(message, text);
            }
        }
        if let Some(delay) = self.delay {
            message = message.delay(delay);
        }
        if let Some(at) = self.not_before {
            message = message.not_before(at);
        }
        if let Some(time_to_live) = self.time_to_live {
            message = message.time_to_live(time_to_live);
        }
        for (name, value) in &self.attribute {
            message = message.attribute(name, value);
        }
        for (name, number) in &self.number_attribute {
            message = message.number_attribute(name, number);
        }
        for (name, bytes) in &self.binary_attribute {
            message = message.binary_attribute(name, bytes.clone());
        }
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_pairs() {
        assert_eq!(units::pair("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(units::pair("a").is_err() && units::pair("=b").is_err());
        assert_eq!(binary("a=AP8="), Ok(("a".into(), vec![0, 255].into())));
        assert!(binary("a=!").is_err() && binary("=AP8=").is_err());
    }
}
