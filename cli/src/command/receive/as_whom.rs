//! As which consumer messages are received.

use std::time::Duration;

use clap::{Args, value_parser};
use roadstead_client::{Client, ConsumerBuilder};

use crate::units;

/// Its group, and how it stands in it.
#[derive(Debug, Args)]
pub struct AsWhom {
    /// Consumer group
    #[arg(long, default_value = "default")]
    pub group: String,
    /// Before consumers with a lower one, 0..9
    #[arg(long, default_value_t = 0, value_parser = value_parser!(u32).range(0..=9))]
    priority: u32,
    /// Single active consumer: of those that say so one alone gets messages, the others stand by
    #[arg(long)]
    exclusive: bool,
    /// What is received is acked by that, also where the queue delivers at least once: it never
    /// comes again
    #[arg(long)]
    pub at_most_once: bool,
    /// How long a message is leased, at most 12h; it is extended for as long as it is worked on.
    /// Without it, as the queue says
    #[arg(long, value_parser = units::duration, allow_hyphen_values = true)]
    lease: Option<Duration>,
}

impl AsWhom {
    /// Such a consumer.
    pub fn consumer(&self, client: &Client, queue: &str) -> ConsumerBuilder {
        let consumer = client
            .consumer(queue)
            .group(&self.group)
            .priority(self.priority)
            .exclusive(self.exclusive)
            .at_most_once(self.at_most_once);
        match self.lease {
            Some(lease) => consumer.lease(lease),
            None => consumer,
        }
    }
}
