//! Finds the leader of a shard and keeps asking while leadership moves.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openraft_rt::Instant as _;
use roadstead_proto::v1::{ShardCall, ShardReply};
use tonic::Code;

use super::ApiError;
use super::shards::{Queues, Shards};
use crate::raft::types::{GroupId, NodeId};
use crate::runtime::Runtime;

const PAUSE_FIRST: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(200);
/// One try at one node: below the deadline, so that another node can be asked when this one hangs.
const TRY_MAX: Duration = Duration::from_secs(2);

/// Whether a call whose outcome is not known may be made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// Making it twice does what making it once does.
    Safe,
    /// It would be done twice.
    Unsafe,
}

/// Calls to the leaders of groups.
pub struct Router<R> {
    shards: Arc<dyn Shards>,
    queues: Arc<dyn Queues>,
    /// Where the leader was found when this node did not know better.
    found: Mutex<BTreeMap<GroupId, NodeId>>,
    node_id: NodeId,
    runtime: PhantomData<fn() -> R>,
}

impl<R: Runtime> Router<R> {
    /// A router of the node `node_id`.
    pub fn new(node_id: NodeId, shards: Arc<dyn Shards>, queues: Arc<dyn Queues>) -> Self {
        let found = Mutex::default();
        Self {
            shards,
            queues,
            found,
            node_id,
            runtime: PhantomData,
        }
    }

    /// The node that asks.
    pub fn node_id(&self) -> NodeId {
        self.node_id
    }

    /// Calls the leader of `group`, for `patience` at most.
    ///
    /// Tries again while leadership moves. A call whose outcome is not known is made again only
    /// when `again` says that it is safe; else the error says that it is not known.
    pub async fn call(
        &self,
        group: GroupId,
        call: ShardCall,
        patience: Duration,
        again: Again,
    ) -> Result<ShardReply, ApiError> {
        let deadline = R::Instant::now() + patience;
        let mut pause = PAUSE_FIRST;
        let mut turn = 0;
        let mut last = no_leader(group);
        loop {
            let now = R::Instant::now();
            if now >= deadline {
                return Err(last);
            }
            if let Some(node) = self.candidate(group, turn) {
                let timeout = if again == Again::Safe {
                    TRY_MAX.min(deadline - now).max(wait_of(&call) + PAUSE_MAX)
                } else {
                    deadline - now
                };
                match self.shards.call(node, group, call.clone(), timeout).await {
                    Ok(reply) => return Ok(reply),
                    Err(error) if error.not_leader.is_some() => {
                        let hinted = self.learn(group, node, error.not_leader);
                        last = no_leader(group);
                        if hinted && turn == 0 {
                            turn += 1;
                            continue;
                        }
                    }
                    Err(error) if is_unknown(&error) => {
                        self.forget(group, node);
                        let error = unknown_outcome(&error, is_send(&call), again);
                        if again == Again::Unsafe {
                            return Err(error);
                        }
                        last = error;
                    }
                    // It was refused for now: nothing was done.
                    Err(error) if error.code == Code::Unavailable && again == Again::Safe => {
                        self.forget(group, node);
                        last = error;
                    }
                    Err(error) => return Err(error),
                }
            }
            turn += 1;
            let left = deadline.saturating_duration_since(R::Instant::now());
            R::sleep(pause.min(left)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// The node to ask on the given turn: the known leader, else the replicas in turn.
    pub fn candidate(&self, group: GroupId, turn: usize) -> Option<NodeId> {
        let found = self
            .found
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&group)
            .copied();
        if let Some(leader) = self.shards.leader(group).or(found) {
            return Some(leader);
        }
        let replicas = self.queues.replicas(group);
        replicas.get(turn.checked_rem(replicas.len())?).copied()
    }

    /// `node` said that it does not lead but `leader` does (0: it does not know). True when that
    /// is news.
    pub fn learn(&self, group: GroupId, node: NodeId, leader: Option<NodeId>) -> bool {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        match leader {
            Some(leader) if leader != 0 && leader != node => {
                found.insert(group, leader) != Some(leader)
            }
            _ => {
                found.remove(&group);
                false
            }
        }
    }

    /// `node` did not answer.
    pub fn forget(&self, group: GroupId, node: NodeId) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if found.get(&group) == Some(&node) {
            found.remove(&group);
        }
    }
}

/// A long poll may take that long before it is answered.
fn wait_of(call: &ShardCall) -> Duration {
    use roadstead_proto::v1::shard_call::Call;
    match &call.call {
        Some(Call::Receive(receive)) => {
            let wait = receive.wait.as_ref().and_then(crate::shard::wire::millis);
            Duration::from_millis(wait.unwrap_or(0))
        }
        _ => Duration::ZERO,
    }
}

fn no_leader(group: GroupId) -> ApiError {
    let message = format!(
        "shard {group} has no leader that this node can reach; nothing was done: try again"
    );
    ApiError::unavailable(message)
}

fn is_unknown(error: &ApiError) -> bool {
    matches!(
        error.code,
        Code::Unknown | Code::DeadlineExceeded | Code::Cancelled
    )
}

fn is_send(call: &ShardCall) -> bool {
    use roadstead_proto::v1::shard_call::Call;
    matches!(call.call, Some(Call::Send(_)))
}

/// The error of a call that may or may not have taken effect.
fn unknown_outcome(error: &ApiError, send: bool, again: Again) -> ApiError {
    let advice = match again {
        Again::Safe => "trying again is safe",
        Again::Unsafe if send => {
            "trying again is safe with a producer sequence, else it may be done twice"
        }
        Again::Unsafe => "look whether it did before you try again",
    };
    let message = format!(
        "it is not known whether the call took effect ({}); {advice}",
        error.message
    );
    ApiError {
        code: Code::Unknown,
        message,
        ..error.clone()
    }
    .retryable()
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use openraft_rt_tokio::TokioRuntime;
    use roadstead_proto::v1::shard_call::Call;
    use roadstead_proto::v1::{ShardSend, ShardTransfer, SubscriptionOpen};
    use tokio::sync::mpsc;

    use super::*;
    use crate::gateway::shards::Subscription;
    use crate::shard::twin::{NODE, TwinQueues};

    /// Shards that answer every call so.
    struct Failing(ApiError);

    #[async_trait]
    impl Shards for Failing {
        fn leader(&self, _: GroupId) -> Option<NodeId> {
            Some(NODE)
        }

        async fn call(
            &self,
            _: NodeId,
            _: GroupId,
            _: ShardCall,
            _: Duration,
        ) -> Result<ShardReply, ApiError> {
            Err(self.0.clone())
        }

        fn subscribe(&self, _: NodeId, _: GroupId, _: SubscriptionOpen) -> Subscription {
            let ((up, _), (_, down)) = (mpsc::channel(1), mpsc::channel(1));
            Subscription { up, down }
        }
    }

    async fn told(answer: &ApiError, call: Call, again: Again) -> ApiError {
        let shards = Arc::new(Failing(answer.clone()));
        let router = Router::<TokioRuntime>::new(NODE, shards, Arc::<TwinQueues>::default());
        let call = ShardCall {
            principal: None,
            call: Some(call),
        };
        let patience = Duration::from_millis(50);
        router.call(1, call, patience, again).await.unwrap_err()
    }

    #[tokio::test]
    async fn only_what_may_have_been_done_is_called_unknown() {
        let transfer = || Call::Transfer(ShardTransfer::default());
        let refused = ApiError::unavailable("there is nobody to take over");
        for again in [Again::Safe, Again::Unsafe] {
            assert_eq!(told(&refused, transfer(), again).await, refused);
        }
        let broken = ApiError::new(Code::Unknown, "the link broke");
        let error = told(&broken, transfer(), Again::Unsafe).await;
        assert!(error.message.contains("not known"), "{error}");
        assert!(!error.message.contains("producer"), "{error}");
        let send = Call::Send(ShardSend::default());
        let error = told(&broken, send, Again::Unsafe).await;
        assert!(error.message.contains("producer sequence"), "{error}");
    }
}
