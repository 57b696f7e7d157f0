//! A producer that retries until it knows: the same numbers to the same partition.

use std::time::Duration;

use openraft_rt::AsyncRuntime as _;
use roadstead_node::auth::Principal;
use roadstead_proto::v1::{OutgoingMessage, Producer, QueueRef, SendRequest, SendResult};

use super::client::{Channel, Failed};
use super::context::{below, count, millis, note, one_in};
use super::history::{Acknowledged, Sent};
use super::ledger::Ledger;
use super::queues::Queue;
use super::run::Switch;
use super::runtime::Sim;

/// One producer of one queue.
pub struct Sender {
    /// Its number in the run.
    pub number: usize,
    /// Where it sends.
    pub queue: Queue,
    /// Its way to the cluster.
    pub channel: Channel,
    /// What it writes down.
    pub ledger: Ledger,
}

/// A message and its ordering key.
type Message = (String, String);

impl Sender {
    /// Sends until told to stop, then until everything given away is acknowledged.
    pub async fn run(self, stop: Switch) {
        let mut next = vec![1_u64; self.queue.partitions as usize];
        let mut made = 0;
        while !stop.is_on() {
            let partition = below(u64::from(self.queue.partitions)) as u32;
            let messages = self.make(partition, &mut made);
            let first = &mut next[partition as usize];
            self.send(partition, *first, &messages).await;
            *first += messages.len() as u64;
            Sim::sleep(millis(5, 60)).await;
        }
    }

    fn make(&self, partition: u32, made: &mut u64) -> Vec<Message> {
        let mut messages = Vec::new();
        for _ in 0..=below(4) {
            *made += 1;
            let body = format!("p{}-{made}", self.number);
            let key = if self.queue.keyed {
                self.key_of(partition)
            } else {
                String::new()
            };
            let sent = Sent {
                queue: self.queue.name,
                partition,
                key: key.clone(),
            };
            self.ledger.open().sent.insert(body.clone(), sent);
            messages.push((body, key));
        }
        messages
    }

    /// One of a few keys that belong to the partition.
    fn key_of(&self, partition: u32) -> String {
        loop {
            let key = format!("k{}", below(12));
            if roadstead_proto::partition_of_key(&key, self.queue.partitions) == partition {
                return key;
            }
        }
    }

    async fn send(&self, partition: u32, first: u64, messages: &[Message]) {
        let mut pause = Duration::from_millis(10);
        loop {
            let request = self.request(partition, first, messages);
            let host = self.channel.any_host();
            let sent = self.channel.call(host, |gateway| async move {
                gateway.send(&Principal::Anonymous, request).await
            });
            match sent.await {
                Ok(response) if self.is_accepted(messages, &response.results) => return,
                Ok(response) => {
                    note(format_args!(
                        "p{} {first}: {:?}",
                        self.number, response.results
                    ));
                }
                Err(Failed::Refused(why) | Failed::Unknown(why)) => {
                    note(format_args!("p{} {first}: {why}", self.number));
                }
                Err(Failed::Said(error)) => {
                    note(format_args!("p{} {first}: {error}", self.number));
                }
            }
            count("send retried");
            Sim::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(500));
        }
    }

    fn request(&self, partition: u32, first: u64, messages: &[Message]) -> SendRequest {
        let outgoing = messages.iter().map(|(body, key)| OutgoingMessage {
            body: body.clone().into(),
            ordering_key: key.clone(),
            // A delay on a keyed message holds its key up.
            delay: one_in(40).then_some(prost_types::Duration {
                seconds: 1,
                nanos: 0,
            }),
            ..OutgoingMessage::default()
        });
        SendRequest {
            queue: Some(QueueRef {
                namespace: "default".into(),
                name: self.queue.name.into(),
            }),
            messages: outgoing.collect(),
            producer: Some(Producer {
                id: format!("producer-{}", self.number),
                first_sequence: first,
            }),
            partition: Some(partition),
            atomic: false,
        }
    }

    /// Writes down what was acknowledged; whether that is all.
    fn is_accepted(&self, messages: &[Message], results: &[SendResult]) -> bool {
        if results.len() != messages.len() || results.iter().any(|result| result.error.is_some()) {
            return false;
        }
        for ((body, _), result) in messages.iter().zip(results) {
            count("send acknowledged");
            if result.duplicate {
                count("send found to be a duplicate");
            }
            note(format_args!("sent {body} as {}", result.message_id));
            self.ledger.open().acknowledged.push(Acknowledged {
                body: body.clone(),
                message_id: result.message_id.clone(),
                sequence: result.sequence,
            });
        }
        true
    }
}
