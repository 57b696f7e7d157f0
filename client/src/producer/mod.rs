//! Sending: batches, many in flight, each message numbered so that a retry is no duplicate.

mod atomic;
mod batch;
mod engine;
mod lanes;
#[cfg(test)]
mod lanes_tests;
mod link;
mod nodes;
mod waiting;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use roadstead_proto::partition_of;
use roadstead_proto::v1::{Ordering, QueueSpec};
use tokio::sync::{Semaphore, mpsc, oneshot};
use uuid::Uuid;

pub use self::batch::Accepted;
use self::batch::Pending;
use self::engine::{Command, Engine, Reply};
use self::lanes::Limits;
use crate::channels::MAX_REQUEST_BYTES;
use crate::client::Client;
use crate::error::{CallError, Fault, SendError};
use crate::message::Message;

/// Servers may forget a producer that was idle for 60 s; what is on its way to them takes time too.
const TIMEOUT_MAX: Duration = Duration::from_secs(45);

/// The settings of a [`Producer`]; made by [`Client::producer`].
#[derive(Debug, Clone)]
pub struct ProducerBuilder {
    client: Client,
    queue: String,
    timeout: Duration,
    attempts: u32,
    linger: Duration,
    batch_messages: usize,
    batch_bytes: usize,
    in_flight: usize,
    buffer_bytes: usize,
    partition: Option<u32>,
}

impl ProducerBuilder {
    pub(crate) fn new(client: Client, queue: &str) -> Self {
        Self {
            client,
            queue: queue.to_owned(),
            timeout: Duration::from_secs(5),
            attempts: 10,
            linger: Duration::from_millis(1),
            batch_messages: 256,
            batch_bytes: 256 << 10,
            in_flight: 4,
            buffer_bytes: 32 << 20,
            partition: None,
        }
    }

    /// Sends all messages to this partition of the queue, from 0, whatever their ordering keys say.
    /// A message that is deduplicated and belongs to another one is refused there.
    #[must_use]
    pub fn partition(mut self, partition: u32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// A message that is not acknowledged this long after it was given has failed. Default 5 s, at
    /// most 45 s: servers know a retry again for a minute.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.min(TIMEOUT_MAX);
        self
    }

    /// A message that was handed to a server this often without an acknowledgement has failed; what
    /// waits for a connection does not count. Default 10.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    /// How long a message waits for company while others are in flight; alone it goes at once.
    /// Default 1 ms.
    #[must_use]
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// Messages and bytes of bodies per batch: 1..1,000 and at most 8 MiB. Default 256 and 256 KiB.
    #[must_use]
    pub fn batch(mut self, messages: usize, bytes: usize) -> Self {
        self.batch_messages = messages.clamp(1, 1_000);
        self.batch_bytes = bytes.min(8 << 20);
        self
    }

    /// Batches in flight per partition. Default 4. With an ordered queue it is always 1, since a
    /// retry would otherwise be overtaken.
    #[must_use]
    pub fn in_flight(mut self, batches: usize) -> Self {
        self.in_flight = batches.max(1);
        self
    }

    /// Bytes of messages that may wait for their acknowledgement; sending waits while there are
    /// more. Default 32 MiB.
    #[must_use]
    pub fn buffer_bytes(mut self, bytes: usize) -> Self {
        self.buffer_bytes = bytes.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        self
    }

    /// Looks the queue up and starts.
    ///
    /// # Errors
    /// When the queue does not exist, has no such partition, may not be used, or no node answers.
    pub async fn start(self) -> Result<Producer, CallError> {
        let queue = self.client.queue(&self.queue).await?;
        let spec = queue.spec.clone().unwrap_or_default();
        let partitions = u32::try_from(queue.shards.len()).unwrap_or(u32::MAX);
        if partitions == 0 {
            let fault = Fault::unreachable(format!("queue {} has no partitions yet", self.queue));
            return Err(CallError::Refused(Box::new(fault)));
        }
        if let Some(partition) = self.partition.filter(|it| *it >= partitions) {
            let queue = &self.queue;
            let message = format!(
                "queue {queue} has no partition {partition}, but 0 to {}",
                partitions - 1
            );
            let fault = Fault::invalid("partition", message);
            return Err(CallError::Refused(Box::new(fault)));
        }
        let ordered = matches!(spec.ordering(), Ordering::PerKey | Ordering::Strict);
        let limits = Limits {
            partitions,
            batch_messages: self.batch_messages,
            batch_bytes: self.batch_bytes,
            in_flight: if ordered { 1 } else { self.in_flight },
            linger: self.linger,
            attempts: self.attempts,
        };
        let id = Uuid::new_v4().to_string();
        let shared = self.client.shared().clone();
        let commands = Engine::start(shared, queue, id.clone(), limits);
        let budget = Arc::new(Semaphore::new(self.buffer_bytes));
        Ok(Producer {
            id,
            partition: self.partition,
            partitions,
            spec: Arc::new(spec),
            timeout: self.timeout,
            buffer_bytes: self.buffer_bytes,
            budget,
            commands,
            _client: self.client,
        })
    }
}

/// Sends to one queue; cheap to clone, and clones share batches and numbers.
#[derive(Debug, Clone)]
pub struct Producer {
    id: String,
    /// Where all messages go; None: where each belongs.
    partition: Option<u32>,
    partitions: u32,
    spec: Arc<QueueSpec>,
    timeout: Duration,
    buffer_bytes: usize,
    budget: Arc<Semaphore>,
    commands: mpsc::UnboundedSender<Command>,
    /// Keeps the topology fresh.
    _client: Client,
}

/// A message on its way; resolves when it is acknowledged or has failed. It is sent whether this
/// is awaited or not.
#[derive(Debug)]
pub struct Sending(oneshot::Receiver<Result<Accepted, SendError>>);

impl Future for Sending {
    type Output = Result<Accepted, SendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = Pin::new(&mut self.0).poll(context);
        polled.map(|answer| answer.unwrap_or(Err(SendError::Closed)))
    }
}

impl Producer {
    /// This producer's id, fresh for each.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Sends a message and waits until it is on disk on a majority.
    pub async fn send(&self, message: Message) -> Result<Accepted, SendError> {
        self.enqueue(message).await.await
    }

    /// Sends messages; one outcome for each, in the same order.
    pub async fn send_all(
        &self,
        messages: impl IntoIterator<Item = Message>,
    ) -> Vec<Result<Accepted, SendError>> {
        let mut sending = Vec::new();
        for message in messages {
            sending.push(self.enqueue(message).await);
        }
        let mut outcomes = Vec::with_capacity(sending.len());
        for one in sending {
            outcomes.push(one.await);
        }
        outcomes
    }

    /// Hands a message over and returns at once, or as soon as there is room for it.
    pub async fn enqueue(&self, message: Message) -> Sending {
        let (size, content) = (message.size(), message.content_size());
        if content > MAX_REQUEST_BYTES {
            let (sender, receiver) = oneshot::channel();
            let fault = Fault::too_large(content, MAX_REQUEST_BYTES);
            // The receiver is here.
            let _ = sender.send(Err(SendError::Refused(Box::new(fault))));
            return Sending(receiver);
        }
        let share = u32::try_from(size.min(self.buffer_bytes)).unwrap_or(u32::MAX);
        let (sender, receiver) = oneshot::channel();
        // The semaphore is never closed, so this only waits.
        if let Ok(budget) = self.budget.clone().acquire_many_owned(share).await {
            let partition = self.partition_of(&message);
            let since = Instant::now();
            let pending = Pending {
                message: message.0,
                size,
                since,
                deadline: since + self.timeout,
                together: 0,
                reply: Reply {
                    sender,
                    _budget: Some(budget),
                },
            };
            // Were the engine gone, the reply would be dropped and the answer be `Closed`.
            let _ = self.commands.send(Command::Send(partition, pending));
        }
        Sending(receiver)
    }

    /// Where a message goes; None: anywhere.
    fn partition_of(&self, message: &Message) -> Option<u32> {
        let own = || partition_of(&message.0, &self.spec, self.partitions);
        self.partition.or_else(own)
    }

    /// Waits until everything sent before has been acknowledged or has failed.
    pub async fn flush(&self) {
        let (done, finished) = oneshot::channel();
        if self.commands.send(Command::Flush(done)).is_ok() {
            // An engine that ends has finished everything.
            let _ = finished.await;
        }
    }
}

impl Client {
    /// A producer for a queue: `name` or `namespace/name`.
    pub fn producer(&self, queue: &str) -> ProducerBuilder {
        ProducerBuilder::new(self.clone(), queue)
    }
}
