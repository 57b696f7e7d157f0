//! Receiving: streams with credit to the leaders, leases kept alive, settlements in batches.

mod buffer;
mod complete;
mod credit;
mod delivery;
mod engine;
mod held;
mod lane;
mod routes;
mod run;
mod settles;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use roadstead_proto::v1::{self as proto, DeliveryGuarantee, ReceiveStreamOpen};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{interval, timeout};
use uuid::Uuid;

use self::buffer::Buffer;
pub use self::complete::{Completed, Output};
pub use self::delivery::{Delivery, Settled};
use self::engine::{Command, Engine, Settings};
pub use self::run::{Outcome, RunReport};
use crate::client::Client;
use crate::error::{CallError, Fault, ReceiveError};

/// How often it is looked whether the queue has got more partitions.
const QUEUE_REFRESH: Duration = Duration::from_secs(30);
/// A lease where neither the queue nor the consumer says one.
const LEASE: Duration = Duration::from_secs(30);

/// Who this process is, for status and orderly scale-in: the pod, by the downward API's variables
/// `POD_NAME` and `POD_UID`, else the host.
pub(crate) fn identity() -> proto::Consumer {
    let get = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let name = get("POD_NAME")
        .or_else(|| get("HOSTNAME"))
        .unwrap_or_else(|| "client".into());
    proto::Consumer {
        name,
        pod_uid: get("POD_UID").unwrap_or_default(),
    }
}

/// The settings of a [`Consumer`]; made by [`Client::consumer`].
#[derive(Debug, Clone)]
pub struct ConsumerBuilder {
    client: Client,
    queue: String,
    group: String,
    max_in_flight: u32,
    lease: Option<Duration>,
    priority: u32,
    exclusive: bool,
    at_most_once: bool,
    end_when_drained: bool,
    identity: proto::Consumer,
    grace: Duration,
}

impl ConsumerBuilder {
    /// Messages leased to this consumer at most, fetched ahead or with the application: 1..10,000.
    /// Default 256. With 1 a message is fetched when the one before is settled.
    #[must_use]
    pub fn max_in_flight(mut self, messages: u32) -> Self {
        self.max_in_flight = messages.clamp(1, 10_000);
        self
    }

    /// The consumer group. Default: `default`, which every queue has.
    #[must_use]
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = group.into();
        self
    }

    /// How long a delivery is leased, at most 12 h; leases are extended at half their time for as
    /// long as the process lives. Default: the queue's.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = Some(lease);
        self
    }

    /// 0..9: while a consumer with a higher priority has credit for a partition, those with lower
    /// ones get nothing from it. Default 0.
    #[must_use]
    pub fn priority(mut self, priority: u32) -> Self {
        self.priority = priority;
        self
    }

    /// Single active consumer: of those that ask for it one alone gets what a partition has, the
    /// others stand by until it is gone.
    #[must_use]
    pub fn exclusive(mut self, exclusive: bool) -> Self {
        self.exclusive = exclusive;
        self
    }

    /// What this consumer gets is acked by being delivered, also where the queue delivers at least
    /// once: it never comes again, and is lost with this process. Default false: as the queue says.
    #[must_use]
    pub fn at_most_once(mut self, at_most_once: bool) -> Self {
        self.at_most_once = at_most_once;
        self
    }

    /// Ends the consumer when it is drained, as if it was stopped: for a program that is to end
    /// then. Default false: it waits until that is over or taken back.
    #[must_use]
    pub fn end_when_drained(mut self, end: bool) -> Self {
        self.end_when_drained = end;
        self
    }

    /// The name that status and metrics show. Default: the pod's, else the host's.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.identity.name = name.into();
        self
    }

    /// How long [`Consumer::run`] waits for handlers and settlements when it is told to stop.
    /// Default 25 s: inside of the 30 s that Kubernetes gives by default.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Looks the queue up and starts to fetch.
    ///
    /// # Errors
    /// When the queue does not exist, may not be used, or no node answers.
    pub async fn start(self) -> Result<Consumer, CallError> {
        let queue = self.client.queue(&self.queue).await?;
        if queue.shards.is_empty() {
            let fault = Fault::unreachable(format!("queue {} has no partitions yet", self.queue));
            return Err(CallError::Refused(Box::new(fault)));
        }
        let own = queue.spec.as_ref().and_then(|spec| spec.lease);
        let own = own
            .and_then(|lease| Duration::try_from(lease).ok())
            .unwrap_or(LEASE);
        let session = Uuid::new_v4().to_string();
        let delivery = if self.at_most_once {
            DeliveryGuarantee::AtMostOnce
        } else {
            DeliveryGuarantee::Unspecified
        };
        let settings = Settings {
            shared: self.client.shared().clone(),
            open: ReceiveStreamOpen {
                queue: queue.queue,
                queue_id: queue.id,
                group_id: queue.group_ids.get(&self.group).copied().unwrap_or(0),
                group: self.group,
                session_id: session.clone(),
                lease: self
                    .lease
                    .and_then(|lease| prost_types::Duration::try_from(lease).ok()),
                consumer: Some(self.identity),
                priority: self.priority,
                exclusive: self.exclusive,
                delivery: delivery.into(),
                ..ReceiveStreamOpen::default()
            },
            lease: self.lease.unwrap_or(own),
            max_in_flight: self.max_in_flight,
            end_when_drained: self.end_when_drained,
        };
        let (commands, inbox) = mpsc::unbounded_channel();
        let buffer = Arc::new(Buffer::default());
        let (filled, weak) = (buffer.clone(), commands.downgrade());
        let engine = Engine::run(settings, queue.shards, filled, weak, inbox);
        let engine = tokio::spawn(engine);
        tokio::spawn(watch_queue(
            self.client.clone(),
            (self.queue, queue.id),
            commands.downgrade(),
        ));
        let (client, grace) = (self.client, self.grace);
        Ok(Consumer {
            session,
            buffer,
            commands,
            engine,
            grace,
            _client: client,
        })
    }
}

/// Tells the engine when the queue has got more partitions; ends with the consumer.
async fn watch_queue(
    client: Client,
    (queue, id): (String, u64),
    commands: mpsc::WeakUnboundedSender<Command>,
) {
    let mut turns = interval(QUEUE_REFRESH);
    turns.tick().await;
    loop {
        turns.tick().await;
        if commands.strong_count() == 0 {
            return;
        }
        let Ok(queue) = client.queue(&queue).await else {
            continue;
        };
        // The streams end with their queue; the partitions of another one are no matter here.
        if queue.id != id {
            continue;
        }
        let Some(commands) = commands.upgrade() else {
            return;
        };
        // The engine may have ended in between.
        let _ = commands.send(Command::Shards(queue.shards));
    }
}

/// Receives from one queue. Dropping it gives back what was fetched ahead and not taken.
#[derive(Debug)]
pub struct Consumer {
    session: String,
    buffer: Arc<Buffer>,
    commands: mpsc::UnboundedSender<Command>,
    engine: JoinHandle<()>,
    grace: Duration,
    /// Keeps the topology fresh.
    _client: Client,
}

impl Consumer {
    /// This consumer's session, fresh for each.
    pub fn session(&self) -> &str {
        &self.session
    }

    /// The next message; waits for one. `None` after [`Self::stop`], and when the consumer is
    /// drained and is to [end then](ConsumerBuilder::end_when_drained). May be called from several
    /// tasks, and may be cancelled without losing a message.
    ///
    /// # Errors
    /// When the server refuses to deliver: the queue was deleted, also when one of the same name
    /// was made since, as that is another queue; or the right to use it is gone.
    pub async fn next(&self) -> Result<Option<Delivery>, ReceiveError> {
        self.buffer.take().await
    }

    /// Whether it is drained, for instance before its pod is removed: nothing more is delivered,
    /// and what was fetched ahead and not taken has gone back without counting as delivered, where
    /// it can. What was taken is kept alive and can be settled. Deliveries go on when that is over
    /// or taken back, unless the consumer has ended with it.
    pub fn is_draining(&self) -> bool {
        self.buffer.is_draining()
    }

    /// Fetches no more and gives back at once what was fetched ahead and not taken; it does not
    /// count as delivered.
    pub fn stop(&self) {
        // An engine that has ended has given everything back.
        let _ = self.commands.send(Command::Stop);
    }

    /// Stops, and waits until everything taken is settled and every settlement is answered;
    /// `false` when that took longer than `grace`.
    pub async fn close(mut self, grace: Duration) -> bool {
        self.stop();
        timeout(grace, &mut self.engine).await.is_ok()
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Client {
    /// A consumer for a queue: `name` or `namespace/name`.
    pub fn consumer(&self, queue: &str) -> ConsumerBuilder {
        ConsumerBuilder {
            client: self.clone(),
            queue: queue.to_owned(),
            group: String::new(),
            max_in_flight: 256,
            lease: None,
            priority: 0,
            exclusive: false,
            at_most_once: false,
            end_when_drained: false,
            identity: identity(),
            grace: Duration::from_secs(25),
        }
    }
}
