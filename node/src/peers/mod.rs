//! Calls, Raft messages and subscriptions between nodes, multiplexed over two links to each peer.
//!
//! A node dials its own links and asks over them; answers come back on the link that carried the
//! question. What comes in over links that others dialled is served by [`inbound`].

mod admission;
mod boots;
pub mod codec;
mod connection;
pub mod inbound;
#[cfg(test)]
pub(crate) mod logged;
mod refusals;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use roadstead_core::catalog::Boot;
use roadstead_proto::v1::{
    PeerHello, PeerMessage, ShardCall, ShardReply, SubscriptionDown, SubscriptionOpen,
    SubscriptionUp, peer_message::Body, shard_reply::Reply, subscription_up,
};
use tokio::sync::{mpsc, oneshot};

use self::admission::Admission;
use self::boots::Boots;
use self::codec::boot_from_wire;
use self::connection::{Connection, Waiter};
use self::refusals::Refusals;
use crate::gateway::ApiError;
use crate::raft::types::{GroupId, NodeId};
use crate::runtime::Runtime;
use crate::scope::{Clock, NodeScope};
use crate::transport::{Lane, Transport};

/// Frames that may wait for a subscriber. Its credit bounds them well below that; who lets more
/// pile up loses the subscription, not the link.
const SUBSCRIPTION_BUFFER: usize = 4_096;

/// The answer to one message, or why there is none.
pub type Answer = oneshot::Receiver<Result<PeerMessage, String>>;

/// Links to the other nodes of the cluster.
#[derive(Debug)]
pub struct Peers<R: Runtime> {
    inner: Arc<Inner<R>>,
}

struct Inner<R: Runtime> {
    transport: Arc<dyn Transport>,
    scope: NodeScope<R>,
    hello: Mutex<PeerHello>,
    addresses: Mutex<BTreeMap<NodeId, String>>,
    boots: Mutex<Boots>,
    admission: Admission,
    refusals: Refusals,
    connections: Mutex<BTreeMap<(NodeId, Lane), Connection>>,
    /// Wall clocks as they were told, in ms, and when, in monotonic ns.
    walls: Mutex<BTreeMap<NodeId, (u64, u64)>>,
    clock: Arc<dyn Clock>,
}

impl<R: Runtime> std::fmt::Debug for Inner<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peers").finish_non_exhaustive()
    }
}

impl<R: Runtime> Clone for Peers<R> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
        }
    }
}

impl<R: Runtime> Peers<R> {
    /// No link is dialled before it is needed. `hello` introduces this node.
    pub fn new(
        transport: Arc<dyn Transport>,
        scope: NodeScope<R>,
        clock: Arc<dyn Clock>,
        hello: PeerHello,
    ) -> Self {
        let inner = Inner {
            transport,
            scope,
            hello: Mutex::new(hello),
            addresses: Mutex::default(),
            boots: Mutex::default(),
            admission: Admission::default(),
            refusals: Refusals::default(),
            connections: Mutex::default(),
            walls: Mutex::default(),
            clock,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// How this node introduces itself.
    pub fn hello(&self) -> PeerHello {
        let mut hello = lock(&self.inner.hello).clone();
        hello.wall_ms = self.inner.clock.wall_ms();
        hello
    }

    /// From now on this node belongs to the cluster `cluster_id`.
    pub fn set_cluster(&self, cluster_id: &str) {
        cluster_id.clone_into(&mut lock(&self.inner.hello).cluster_id);
    }

    /// Where `node` listens; links dialled from now on go there.
    pub fn set_address(&self, node: NodeId, address: &str) {
        let mut addresses = lock(&self.inner.addresses);
        if addresses.get(&node).is_none_or(|known| known != address) {
            addresses.insert(node, address.to_owned());
        }
    }

    /// Where `node` listened once, if nothing better is known.
    pub fn learn_address(&self, node: NodeId, address: &str) {
        lock(&self.inner.addresses)
            .entry(node)
            .or_insert_with(|| address.to_owned());
    }

    /// The catalog knows `node` by this start.
    pub fn learn_boot(&self, node: NodeId, boot: &Boot) {
        lock(&self.inner.boots).learn(node, boot);
    }

    /// Whether a peer that introduces itself runs on its latest data, as far as is known here.
    ///
    /// # Errors
    /// Why not, in words for the peer.
    pub fn vouch(&self, hello: &PeerHello) -> Result<(), String> {
        let boot = boot_from_wire(hello.boot.as_ref());
        lock(&self.inner.boots).vouch(hello.node_id, &boot)
    }

    /// Asks `node` whether it knows a later start of this node; an answer means that it does not.
    /// If it does, this node is [disowned](Self::until_disowned).
    pub async fn introduce(&self, node: NodeId, timeout: Duration) -> Result<(), String> {
        connection::introduce(self, node, timeout).await
    }

    /// A peer that introduced itself was taken in, or was refused because of `why`.
    pub fn note_greeting(&self, hello: &PeerHello, greeted: Result<(), &str>) {
        match greeted {
            Ok(()) => self.inner.refusals.taken_in(hello.node_id),
            Err(why) => self.inner.refusals.refused(hello, why),
        }
    }

    /// From now on this node asks and answers.
    pub fn admit(&self) {
        self.inner.admission.admit();
    }

    /// Whether this node asks and answers.
    pub fn is_admitted(&self) -> bool {
        self.inner.admission.is_admitted()
    }

    /// Waits until a peer says that it has seen a later start of this node, and gives its words.
    pub async fn until_disowned(&self) -> String {
        self.inner.admission.until_disowned().await
    }

    /// Asks the leader of `group`, which is thought to be `node`.
    ///
    /// An error with code UNAVAILABLE and no detail means that the link broke or the time ran out:
    /// whether the call took effect is not known.
    pub async fn call(
        &self,
        node: NodeId,
        group: GroupId,
        call: ShardCall,
        timeout: Duration,
    ) -> Result<ShardReply, ApiError> {
        let connection = self.connection(node, Lane::Bulk);
        let (waiter, answer) = oneshot::channel();
        let message = PeerMessage {
            id: connection.next_id(),
            group: group.into(),
            body: Some(Body::Call(call)),
        };
        connection.send(message, Some(Waiter::Call(waiter)));
        let message = match R::timeout(timeout, answer).await {
            Ok(Ok(Ok(message))) => message,
            Ok(Ok(Err(broken))) if !broken.sent => {
                let mut unheard = ApiError::not_leader(group, None);
                unheard.message = format!("node {node:016x} cannot be reached: {}", broken.why);
                return Err(unheard);
            }
            Ok(Ok(Err(broken))) => return Err(unanswered(node, &broken.why)),
            Ok(Err(_)) => return Err(unanswered(node, "the link broke")),
            Err(_) => return Err(unanswered(node, "no answer in time")),
        };
        match message.body {
            Some(Body::Reply(ShardReply {
                reply: Some(Reply::Error(error)),
            })) => Err(error.into()),
            Some(Body::Reply(reply)) => Ok(reply),
            _ => Err(ApiError::unavailable(format!(
                "node {node:016x} gave an answer of another kind"
            ))),
        }
    }

    /// Opens a subscription at the leader of `group`, which is thought to be `node`.
    ///
    /// The receiver ends when the link breaks; dropping the sender closes the subscription.
    pub fn subscribe(
        &self,
        node: NodeId,
        group: GroupId,
        open: SubscriptionOpen,
    ) -> (
        mpsc::Sender<SubscriptionUp>,
        mpsc::Receiver<SubscriptionDown>,
    ) {
        let (up, mut frames) = mpsc::channel::<SubscriptionUp>(SUBSCRIPTION_BUFFER);
        let (down, deliveries) = mpsc::channel(SUBSCRIPTION_BUFFER);
        let connection = self.connection(node, Lane::Bulk);
        let id = connection.next_id();
        let message = move |frame| PeerMessage {
            id,
            group: group.into(),
            body: Some(Body::SubscriptionUp(SubscriptionUp { frame: Some(frame) })),
        };
        connection.send(
            message(subscription_up::Frame::Open(open)),
            Some(Waiter::Stream(down)),
        );
        self.inner.scope.spawn(async move {
            while let Some(SubscriptionUp { frame: Some(frame) }) = frames.recv().await {
                connection.send(message(frame), None);
            }
            connection.send(message(subscription_up::Frame::Close(true)), None);
            connection.forget(id);
        });
        (up, deliveries)
    }

    /// Sends one message and waits for its answer, for as long as the link lives.
    pub async fn request(
        &self,
        node: NodeId,
        lane: Lane,
        group: GroupId,
        body: Body,
    ) -> Result<PeerMessage, String> {
        let (_, answer) = self.ask(node, lane, group, body);
        answer
            .await
            .unwrap_or_else(|_| Err("the link broke".to_owned()))
    }

    /// Sends one message now and gives its id; the answer comes by the receiver.
    pub fn ask(&self, node: NodeId, lane: Lane, group: GroupId, body: Body) -> (u64, Answer) {
        let connection = self.connection(node, lane);
        let id = connection.next_id();
        let (waiter, answer) = oneshot::channel();
        let message = PeerMessage {
            id,
            group: group.into(),
            body: Some(body),
        };
        connection.send(message, Some(Waiter::Once(waiter)));
        (id, answer)
    }

    /// Sends a further message under an id that [`ask`](Self::ask) gave on the bulk lane.
    pub fn ask_again(&self, node: NodeId, group: GroupId, id: u64, body: Body) -> Answer {
        let (waiter, answer) = oneshot::channel();
        let message = PeerMessage {
            id,
            group: group.into(),
            body: Some(body),
        };
        self.connection(node, Lane::Bulk)
            .send(message, Some(Waiter::Once(waiter)));
        answer
    }

    /// No answer to the message `id` is wanted any more.
    pub fn forget(&self, node: NodeId, lane: Lane, id: u64) {
        self.connection(node, lane).forget(id);
    }

    /// What a peer said of its wall clock when a link was opened, in ms since 1970.
    pub fn note_wall_clock(&self, node: NodeId, wall_ms: u64) {
        let now = self.inner.clock.monotonic_ns();
        lock(&self.inner.walls).insert(node, (wall_ms, now));
    }

    /// The peers' wall clocks by now, in ms since 1970. Steps of our own do not move them.
    pub fn wall_clocks(&self) -> Vec<u64> {
        let now = self.inner.clock.monotonic_ns();
        let walls = lock(&self.inner.walls);
        walls
            .values()
            .map(|(wall, at)| wall + now.saturating_sub(*at) / 1_000_000)
            .collect()
    }

    fn connection(&self, node: NodeId, lane: Lane) -> Connection {
        let mut connections = lock(&self.inner.connections);
        connections
            .entry((node, lane))
            .or_insert_with(|| Connection::start(self.clone(), node, lane))
            .clone()
    }

    fn address(&self, node: NodeId) -> Option<String> {
        lock(&self.inner.addresses).get(&node).cloned()
    }
}

fn unanswered(node: NodeId, why: &str) -> ApiError {
    let message = format!("node {node:016x} did not answer: {why}");
    ApiError::new(tonic::Code::Unknown, message).retryable()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
