//! One link that this node dials: questions out, answers in.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openraft_rt::Select2;
use prost::Message;
use roadstead_proto::v1::{
    PeerFrame, PeerHello, PeerMessage, SubscriptionDown, peer_message::Body,
};
use tokio::sync::{mpsc, oneshot};

use super::{Peers, lock};
use crate::raft::types::NodeId;
use crate::runtime::Runtime;
use crate::transport::{Lane, Link};

/// A frame is closed when it has this many bytes.
const FRAME_BYTES: usize = 256 << 10;

/// A dial that takes longer has failed.
const DIAL_TIMEOUT: Duration = Duration::from_secs(2);

/// Pause after a link on which nothing was answered; questions asked meanwhile fail with it.
const REDIAL_PAUSE: Duration = Duration::from_millis(100);

/// Who waits for the answer to a message.
#[derive(Debug)]
pub(super) enum Waiter {
    /// One answer, or why there is none.
    Once(oneshot::Sender<Result<PeerMessage, String>>),
    /// The same, for what is not to be done twice.
    Call(oneshot::Sender<Result<PeerMessage, Broken>>),
    /// Frames of a subscription.
    Stream(mpsc::Sender<SubscriptionDown>),
}

/// Why there is no answer.
#[derive(Debug, Clone)]
pub(super) struct Broken {
    /// In words.
    pub(super) why: String,
    /// The question may have been heard.
    pub(super) sent: bool,
}

impl Waiter {
    fn fail(self, broken: &Broken) {
        match self {
            Self::Once(waiter) => drop(waiter.send(Err(broken.why.clone()))),
            Self::Call(waiter) => drop(waiter.send(Err(broken.clone()))),
            Self::Stream(_) => {}
        }
    }
}

type Waiters = Mutex<BTreeMap<u64, Waiter>>;

/// Handle of a link; the link is dialled when something is sent, and again after it broke.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    questions: mpsc::UnboundedSender<PeerMessage>,
    waiters: Arc<Waiters>,
    ids: Arc<AtomicU64>,
}

impl Connection {
    pub(super) fn start<R: Runtime>(peers: Peers<R>, node: NodeId, lane: Lane) -> Self {
        let (questions, queue) = mpsc::unbounded_channel();
        let connection = Self {
            questions,
            waiters: Arc::default(),
            ids: Arc::new(AtomicU64::new(1)),
        };
        let waiters = connection.waiters.clone();
        let scope = peers.inner.scope.clone();
        scope.spawn(run(peers, node, lane, queue, waiters));
        connection
    }

    pub(super) fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// Queues a message. The queue is bounded by those who ask: replication by its window, calls
    /// by the intake of the gateway, subscriptions by their credit.
    pub(super) fn send(&self, message: PeerMessage, waiter: Option<Waiter>) {
        let id = message.id;
        if let Some(waiter) = waiter {
            lock(&self.waiters).insert(id, waiter);
        }
        if self.questions.send(message).is_err() {
            self.forget(id);
        }
    }

    /// No answer to `id` is wanted any more.
    pub(super) fn forget(&self, id: u64) {
        lock(&self.waiters).remove(&id);
    }
}

async fn run<R: Runtime>(
    peers: Peers<R>,
    node: NodeId,
    lane: Lane,
    mut queue: mpsc::UnboundedReceiver<PeerMessage>,
    waiters: Arc<Waiters>,
) {
    let mut reach = Reach::new(node, lane);
    while let Some(first) = queue.recv().await {
        reach.answered = false;
        let link = (&mut queue, &*waiters, &mut reach);
        let broken = match open(&peers, node, lane).await {
            Ok(open) => Broken {
                why: exchange(&peers, open, first, link).await,
                sent: true,
            },
            Err(error) => Broken {
                why: error.to_string(),
                sent: false,
            },
        };
        let peer = format!("{node:016x}");
        tracing::debug!(peer, ?lane, why = broken.why, "link to peer ended");
        fail_all(&mut queue, &waiters, &broken);
        if !reach.answered {
            if peers.is_admitted() {
                reach.lost(&broken.why);
            }
            R::sleep(REDIAL_PAUSE).await;
            let unsent = Broken {
                sent: false,
                ..broken
            };
            fail_all(&mut queue, &waiters, &unsent);
        }
    }
}

/// Whether questions to a peer are answered, for those who read the log.
struct Reach {
    node: NodeId,
    lane: Lane,
    /// Something was answered on the link that is open, or was last.
    answered: bool,
    /// It was told that the peer cannot be reached.
    told: bool,
}

impl Reach {
    fn new(node: NodeId, lane: Lane) -> Self {
        Self {
            node,
            lane,
            answered: false,
            told: false,
        }
    }

    fn answered(&mut self) {
        self.answered = true;
        if std::mem::take(&mut self.told) {
            tracing::info!(node = %format_args!("{:016x}", self.node), "a peer is reached again");
        }
    }

    /// One lane speaks for both, and once for all tries until the peer is back.
    fn lost(&mut self, why: &str) {
        if self.lane == Lane::Urgent && !std::mem::replace(&mut self.told, true) {
            let node = format_args!("{:016x}", self.node);
            tracing::warn!(%node, why, "a peer cannot be reached; trying on");
        }
    }
}

/// Says hello to `node` and waits for its answer.
pub(super) async fn introduce<R: Runtime>(
    peers: &Peers<R>,
    node: NodeId,
    timeout: Duration,
) -> Result<(), String> {
    let answer = async {
        let mut link = dial(peers, node, Lane::Bulk)
            .await
            .map_err(|error| error.to_string())?;
        let frame = link.receiver.recv().await.unwrap_or_default();
        match frame.messages.into_iter().next().and_then(|m| m.body) {
            Some(Body::Hello(hello)) => greeted(peers, &hello),
            _ => Err("it closed the link".to_owned()),
        }
    };
    match R::timeout(timeout, answer).await {
        Ok(answered) => answered,
        Err(_) => Err("no answer in time".to_owned()),
    }
}

/// Takes in how a peer answered the hello of this node.
fn greeted<R: Runtime>(peers: &Peers<R>, hello: &PeerHello) -> Result<(), String> {
    if !hello.disowns.is_empty() {
        peers.inner.admission.disown(&hello.disowns);
        return Err(hello.disowns.clone());
    }
    peers.vouch(hello)?;
    peers.note_wall_clock(hello.node_id, hello.wall_ms);
    Ok(())
}

/// A link for what is asked; none before this node is admitted.
async fn open<R: Runtime>(peers: &Peers<R>, node: NodeId, lane: Lane) -> io::Result<Link> {
    if !peers.is_admitted() {
        return Err(io::Error::other("this node is not admitted yet"));
    }
    dial(peers, node, lane).await
}

async fn dial<R: Runtime>(peers: &Peers<R>, node: NodeId, lane: Lane) -> io::Result<Link> {
    let Some(address) = peers.address(node) else {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "its address is not known",
        ));
    };
    let transport = peers.inner.transport.clone();
    let link = R::timeout(DIAL_TIMEOUT, transport.dial(&address, lane))
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, format!("dialling {address}")))?;
    let link = link?;
    let hello = PeerMessage {
        id: 0,
        group: 0,
        body: Some(Body::Hello(PeerHello {
            to_node_id: node,
            ..peers.hello()
        })),
    };
    let frame = PeerFrame {
        messages: vec![hello],
    };
    link.sender
        .send(frame)
        .await
        .map_err(|_| io::ErrorKind::BrokenPipe)?;
    Ok(link)
}

/// Carries messages until the link breaks; says why it did.
async fn exchange<R: Runtime>(
    peers: &Peers<R>,
    link: Link,
    first: PeerMessage,
    (queue, waiters, reach): (
        &mut mpsc::UnboundedReceiver<PeerMessage>,
        &Waiters,
        &mut Reach,
    ),
) -> String {
    let Link {
        sender,
        mut receiver,
    } = link;
    let writing = async {
        let mut next = Some(first);
        while let Some(message) = next {
            let frame = fill_frame(message, || queue.try_recv().ok());
            if sender.send(frame).await.is_err() {
                return "the link broke while sending".to_owned();
            }
            next = queue.recv().await;
        }
        "this node is stopping".to_owned()
    };
    let reading = async {
        while let Some(frame) = receiver.recv().await {
            for message in frame.messages {
                let Some(Body::Hello(hello)) = &message.body else {
                    deliver(message, waiters);
                    reach.answered();
                    continue;
                };
                if let Err(why) = greeted(peers, hello) {
                    return why;
                }
            }
        }
        "the peer closed the link".to_owned()
    };
    match R::select2(Box::pin(writing), Box::pin(reading)).await {
        Select2::First(why) | Select2::Second(why) => why,
    }
}

fn deliver(message: PeerMessage, waiters: &Waiters) {
    let id = message.id;
    let mut waiters = lock(waiters);
    if let (Some(Waiter::Stream(stream)), Some(Body::SubscriptionDown(down))) =
        (waiters.get(&id), &message.body)
    {
        if stream.try_send(down.clone()).is_err() {
            waiters.remove(&id);
        }
        return;
    }
    match waiters.remove(&id) {
        Some(Waiter::Once(waiter)) => drop(waiter.send(Ok(message))),
        Some(Waiter::Call(waiter)) => drop(waiter.send(Ok(message))),
        Some(Waiter::Stream(_)) | None => {}
    }
}

/// Fails what waits in the queue and what was sent without an answer.
fn fail_all(queue: &mut mpsc::UnboundedReceiver<PeerMessage>, waiters: &Waiters, broken: &Broken) {
    while queue.try_recv().is_ok() {}
    for (_, waiter) in std::mem::take(&mut *lock(waiters)) {
        waiter.fail(broken);
    }
}

/// A frame of `first` and what else is ready, up to [`FRAME_BYTES`].
pub(super) fn fill_frame(
    first: PeerMessage,
    mut more: impl FnMut() -> Option<PeerMessage>,
) -> PeerFrame {
    let mut bytes = first.encoded_len();
    let mut messages = vec![first];
    while bytes < FRAME_BYTES {
        let Some(message) = more() else { break };
        bytes += message.encoded_len();
        messages.push(message);
    }
    PeerFrame { messages }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::logged::log_of;

    #[test]
    fn a_peer_that_is_away_is_told_once_and_once_when_it_is_back() {
        let log = log_of(|| {
            let mut urgent = Reach::new(0xab, Lane::Urgent);
            let mut bulk = Reach::new(0xab, Lane::Bulk);
            for _ in 0..2 {
                for _ in 0..10 {
                    urgent.lost("refused");
                    bulk.lost("refused");
                }
                for _ in 0..10 {
                    urgent.answered();
                    bulk.answered();
                }
            }
        });
        let said = |what: &str| log.lines().filter(|line| line.contains(what)).count();
        assert_eq!((said("WARN"), said("cannot be reached")), (2, 2), "{log}");
        let named = said("node=00000000000000ab");
        assert_eq!((named, said("reached again")), (4, 2), "{log}");
    }
}
