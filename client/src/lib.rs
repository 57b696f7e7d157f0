//! The Rust client library of Roadstead.
//!
//! A [`Client`] knows the cluster: it learns which node leads what, sends each request there, and
//! goes around nodes that do not answer. A [`Producer`] sends in batches, many in flight, and
//! numbers every message, so that a retry is never taken for a new one. A [`Consumer`] is fed over
//! streams with credit, keeps leases alive while messages are being worked on, and gives back what
//! it has not begun when it is told to stop.
//!
//! ```no_run
//! use roadstead_client::{Client, Message, Outcome, terminated};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder().endpoints(["localhost:7701"]).connect().await?;
//!
//! let producer = client.producer("orders").start().await?;
//! let accepted = producer.send(Message::new("hello").key("customer-3")).await?;
//! println!("{} is on disk on a majority", accepted.message_id);
//!
//! let consumer = client.consumer("orders").start().await?;
//! let handler = |message: std::sync::Arc<roadstead_client::ReceivedMessage>| async move {
//!     println!("{} bytes", message.body.len());
//!     Outcome::Ack
//! };
//! consumer.run(8, handler, terminated()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! In a pod, [`ClientBuilder::from_env`] takes endpoint, CA and token from the environment.

mod backoff;
mod browse;
mod builder;
mod channels;
mod client;
mod consumer;
mod error;
#[cfg(any(feature = "ledger", test))]
pub mod ledger;
mod message;
mod pause;
mod producer;
mod queues;
mod quotas;
mod redrive;
mod shutdown;
mod token;
mod topology;

pub use bytes::Bytes;
pub use roadstead_proto::v1 as proto;

pub use self::browse::Browse;
pub use self::builder::ClientBuilder;
pub use self::client::Client;
pub use self::consumer::{
    Completed, Consumer, ConsumerBuilder, Delivery, Outcome, Output, RunReport, Settled,
};
pub use self::error::{CallError, ConnectError, Fault, ReceiveError, SendError, SettleError};
pub use self::message::{Message, ReceivedMessage};
pub use self::producer::{Accepted, Producer, ProducerBuilder, Sending};
pub use self::redrive::Redrive;
pub use self::shutdown::terminated;
pub use self::topology::Topology;

/// The page for users: what it shows compiles.
#[cfg(doctest)]
#[doc = include_str!("../../docs/client.md")]
struct Page;
