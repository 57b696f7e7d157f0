//! A member whose data is damaged is given up, and another takes its place.

use std::sync::atomic::{AtomicBool, Ordering};

use roadstead_core::catalog::{AddMember, DrainMember, Op, RemoveMember};
use roadstead_core::placement::spare;
use roadstead_proto::v1::{Founder, ReplaceMemberRequest};
use tonic::Code;

use super::members::node_info;
use super::reports::group_view;
use super::service::CatalogService;
use crate::gateway::ApiError;
use crate::raft::types::{GroupId, NodeId};
use crate::runtime::Runtime;

/// Whoever has not reported for so long is not counted on; members report every second.
const LATELY_MS: u64 = 2_500;

impl<R: Runtime> CatalogService<R> {
    /// Gives the data of a member up, or lets another node take its place; said again it does
    /// nothing.
    pub(super) async fn replace_member(
        &self,
        request: ReplaceMemberRequest,
    ) -> Result<(), ApiError> {
        let former = request.former;
        match request.successor {
            None => self.give_up(former).await,
            Some(successor) => self.succeed(former, &successor).await,
        }
    }

    /// One node at a time is decided on: what is given up until then is known to the next.
    async fn give_up(&self, node_id: NodeId) -> Result<(), ApiError> {
        let _turn = Turn::take(&self.giving_up).ok_or_else(|| {
            ApiError::unavailable("another node's data is being given up; ask again")
        })?;
        match self.is_lost(node_id) {
            Some(true) => {}
            Some(false) => {
                self.check_silent(node_id)?;
                self.check_spared(node_id)?;
            }
            None => {
                let message = format!("node {node_id:016x} is no member");
                return Err(ApiError::new(Code::NotFound, message));
            }
        }
        let op = DrainMember {
            node_id,
            drain: true,
            lost: true,
            fence: 0,
        };
        self.propose(Op::DrainMember(op)).await?;
        tracing::warn!(node = %format_args!("{node_id:016x}"), "the data of a node is given up");
        Ok(())
    }

    /// Whether a member's data is given up; nothing for who is no member.
    fn is_lost(&self, node: NodeId) -> Option<bool> {
        self.view
            .read(|catalog| catalog.members().get(&node).map(|member| member.lost))
    }

    /// Whoever reports runs on data that is whole: it is a copy of that data that is damaged.
    fn check_silent(&self, node: NodeId) -> Result<(), ApiError> {
        let now = self.directory.monotonic_ms();
        if !self
            .reports
            .heard_since(node, now.saturating_sub(LATELY_MS))
        {
            return Ok(());
        }
        let message = format!("node {node:016x} still reports");
        Err(ApiError::new(Code::FailedPrecondition, message))
    }

    /// Whether the cluster can do without a node's data.
    pub(super) fn check_spared(&self, node: NodeId) -> Result<(), ApiError> {
        let placed: Vec<GroupId> = self
            .view
            .read(|catalog| catalog.placements().keys().copied().collect());
        let Some((mut candidates, _)) = self.candidates() else {
            return Err(ApiError::unavailable("the cluster has not been founded"));
        };
        let now = self.directory.monotonic_ms();
        for one in &mut candidates {
            let lately = now.saturating_sub(LATELY_MS);
            one.alive = self.reports.heard_since(one.node, lately);
        }
        let leaders = self.reports.leaders(now);
        let missing = placed.iter().find(|group| !leaders.contains_key(group));
        let needed = if let Some(group) = missing {
            Err(format!("no leader of group {group} is heard of"))
        } else {
            let groups: Vec<_> = leaders.iter().map(|(id, of)| group_view(*id, of)).collect();
            spare(node, &candidates, &groups).map_err(|needed| needed.to_string())
        };
        needed.map_err(|why| {
            let message = format!("the data of node {node:016x} cannot be given up: {why}");
            ApiError::new(Code::FailedPrecondition, message)
        })
    }

    /// Nobody is removed by this whose data was not given up.
    async fn succeed(&self, former: NodeId, successor: &Founder) -> Result<(), ApiError> {
        if self.is_lost(former) == Some(false) {
            let message = format!("the data of node {former:016x} is not given up");
            return Err(ApiError::new(Code::FailedPrecondition, message));
        }
        if self.is_lost(successor.node_id).is_none() {
            let node = node_info(successor);
            self.propose(Op::AddMember(AddMember { node, fence: 0 }))
                .await?;
        }
        let op = RemoveMember {
            node_id: former,
            fence: 0,
        };
        self.propose(Op::RemoveMember(op)).await?;
        Ok(())
    }
}

/// Held by who decides on giving up a node's data.
struct Turn<'a>(&'a AtomicBool);

impl<'a> Turn<'a> {
    fn take(taken: &'a AtomicBool) -> Option<Self> {
        (!taken.swap(true, Ordering::AcqRel)).then_some(Self(taken))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
