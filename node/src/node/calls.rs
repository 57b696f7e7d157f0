//! Calls of a group's leader that arrive at this node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use roadstead_proto::v1::{
    QueueRef, ShardCall, ShardReconfigure, ShardReply, ShardTransfer, SubscriptionDown,
    SubscriptionOpen, SubscriptionUp, shard_call::Call, shard_reply::Reply, subscription_down,
};
use tokio::sync::mpsc;

use super::Node;
use crate::auth::{Action, Principal, authorize};
use crate::gateway::ApiError;
use crate::raft::Group;
use crate::raft::types::{CATALOG, GroupId, NodeId};
use crate::runtime::Runtime;

/// Time that a new replica may take to catch up before the change is asked for again.
const CATCH_UP: Duration = Duration::from_secs(30);

/// Time that a transfer may take.
const TRANSFER: Duration = Duration::from_secs(5);

impl<R: Runtime> Node<R> {
    /// Answers a call that a node (also this one) makes of the leader of `group`.
    pub async fn serve_call(
        &self,
        group: GroupId,
        call: ShardCall,
    ) -> Result<ShardReply, ApiError> {
        let principal = Principal::from_info(call.principal.as_ref());
        if let Some(asked) = &call.call {
            let (action, queue) = needed(asked);
            authorize(&principal, action, queue)?;
        }
        match &call.call {
            Some(Call::Reconfigure(change)) => self.reconfigure(group, change).await,
            Some(Call::Transfer(transfer)) => self.transfer(group, *transfer).await,
            _ if group == CATALOG => self.catalog_service.call(call).await,
            _ => match self.shard(group) {
                Some(shard) => shard.call(call).await,
                None => Err(ApiError::not_leader(group, None)),
            },
        }
    }

    /// Serves a subscription at the leader of `group`, here or for a peer.
    pub fn serve_subscription(
        &self,
        group: GroupId,
        open: SubscriptionOpen,
        up: mpsc::Receiver<SubscriptionUp>,
        down: mpsc::Sender<SubscriptionDown>,
    ) {
        let principal = Principal::from_info(open.principal.as_ref());
        let allowed = authorize(&principal, Action::Receive, open.queue.as_ref());
        let shard = self
            .shard(group)
            .ok_or_else(|| ApiError::not_leader(group, None));
        match allowed.and(shard) {
            Ok(shard) => shard.subscribe(open, up, down),
            Err(error) => {
                let frame = Some(subscription_down::Frame::Closed(error.into()));
                let _ = down.try_send(SubscriptionDown { frame });
            }
        }
    }

    fn leading(&self, group: GroupId) -> Result<Arc<Group<R>>, ApiError> {
        let found = self
            .groups
            .get(group)
            .ok_or_else(|| ApiError::not_leader(group, None))?;
        let leadership = found.leadership();
        if leadership.is_leader {
            Ok(found)
        } else {
            Err(ApiError::not_leader(group, leadership.leader))
        }
    }

    async fn reconfigure(
        &self,
        id: GroupId,
        change: &ShardReconfigure,
    ) -> Result<ShardReply, ApiError> {
        let group = self.leading(id)?;
        let voters: BTreeMap<NodeId, String> = change
            .voters
            .iter()
            .map(|node| {
                (
                    *node,
                    change.addresses.get(node).cloned().unwrap_or_default(),
                )
            })
            .collect();
        group.reconfigure(&voters, id == CATALOG, CATCH_UP).await?;
        Ok(done())
    }

    async fn transfer(&self, id: GroupId, to: ShardTransfer) -> Result<ShardReply, ApiError> {
        let group = self.leading(id)?;
        let to = (to.to_node != 0).then_some(to.to_node);
        self.hand_over_group(&group, to, TRANSFER).await?;
        Ok(done())
    }
}

/// What the principal of a call must be allowed to do, and with which queue. What no client can
/// ask for comes from nodes only.
fn needed(call: &Call) -> (Action, Option<&QueueRef>) {
    match call {
        Call::Send(call) => (Action::Send, call.queue.as_ref()),
        Call::Receive(call) => (Action::Receive, call.queue.as_ref()),
        Call::Settle(call) => (Action::Settle, call.queue.as_ref()),
        // That its outputs may be sent was found out where it came in.
        Call::Complete(call) => (Action::Settle, call.queue.as_ref()),
        Call::Stats(call) => (Action::GetQueueStats, call.queue.as_ref()),
        Call::Purge(call) => (Action::PurgeQueue, call.queue.as_ref()),
        Call::Peek(call) => (Action::PeekMessages, call.queue.as_ref()),
        Call::DeleteMessage(call) => (Action::DeleteMessage, call.queue.as_ref()),
        Call::Redrive(call) => (Action::Redrive, call.queue.as_ref()),
        Call::RedriveMessage(call) => (Action::Redrive, call.queue.as_ref()),
        Call::Seek(call) => (Action::SeekGroup, call.queue.as_ref()),
        Call::ListConsumers(call) => (Action::ListConsumers, call.queue.as_ref()),
        Call::DrainConsumers(call) => (Action::DrainConsumers, call.queue.as_ref()),
        Call::CreateQueue(call) => (Action::CreateQueue, call.queue.as_ref()),
        Call::UpdateQueue(call) => (Action::UpdateQueue, call.queue.as_ref()),
        Call::DeleteQueue(call) => (Action::DeleteQueue, call.queue.as_ref()),
        Call::AddMember(_) => (Action::AddMember, None),
        Call::DrainMember(_) => (Action::DrainMember, None),
        Call::RemoveMember(_) => (Action::RemoveMember, None),
        Call::SetQuota(_) => (Action::SetNamespaceQuota, None),
        Call::ListQuotas(_) => (Action::ListNamespaceQuotas, None),
        Call::Status(_) => (Action::GetClusterStatus, None),
        Call::Accept(_)
        | Call::Place(_)
        | Call::Configure(_)
        | Call::Drop(_)
        | Call::Reconfigure(_)
        | Call::Transfer(_)
        | Call::ReportMember(_)
        | Call::ReplaceMember(_)
        | Call::ReadIndex(_) => (Action::Exchange, None),
    }
}

fn done() -> ShardReply {
    ShardReply {
        reply: Some(Reply::Done(true)),
    }
}
