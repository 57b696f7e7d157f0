//! What the catalog's leader does for the cluster by itself: it brings replicas and leaders to
//! where they belong, one step at a time, and ends what a leader before it left half done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft_rt::Select2;
use roadstead_core::catalog::{Op, Placement, SetPlacement};
use roadstead_core::placement::{Candidate, GroupView, Step, plan};
use roadstead_proto::v1::{ShardCall, ShardReconfigure, ShardTransfer, shard_call::Call};

use super::reports::{UNREACHABLE_AFTER_MS, group_view};
use super::service::CatalogService;
use crate::auth::Principal;
use crate::gateway::ApiError;
use crate::gateway::route::Again;
use crate::raft::types::{CATALOG, GroupId, NodeId};
use crate::runtime::Runtime;

/// Time between two looks at the cluster.
const PERIOD: Duration = Duration::from_millis(500);

/// A step that takes longer is asked for anew.
const STEP_TIMEOUT: Duration = Duration::from_mins(1);

/// Leaderships are moved for balance only when nothing else was to do for this long: after a crash
/// or a start, leaders settle first.
const CALM_BEFORE_BALANCE_MS: u64 = 5_000;

/// When leaderships may be moved for balance.
struct Pace {
    /// Nothing else was to do since then.
    calm_since_ms: u64,
    /// When one was moved last: who leads now is told after it.
    moved_at_ms: u64,
}

/// Watches over the cluster while this node leads the catalog; never ends.
pub async fn run<R: Runtime>(service: Arc<CatalogService<R>>) {
    let group = service.group().clone();
    loop {
        let mut leadership = group.leadership();
        while !leadership.is_leader {
            leadership = group.leadership_changed(leadership.epoch).await;
        }
        let began = service.directory.monotonic_ms();
        service.reports.begin(leadership.epoch, began);
        service.finish_deletions().await;
        let mut pace = Pace {
            calm_since_ms: began,
            moved_at_ms: began,
        };
        while group.leadership().epoch == leadership.epoch {
            if !service.is_informed(leadership.epoch) {
                tracing::trace!("the members have not told everything yet");
            } else if let Err(error) = service.step(&mut pace).await {
                tracing::info!(%error, "a step of the catalog's leader is not done yet");
                pace.calm_since_ms = service.directory.monotonic_ms();
            }
            let changed = group.leadership_changed(leadership.epoch);
            if let Select2::First(_) =
                R::select2(Box::pin(changed), Box::pin(R::sleep(PERIOD))).await
            {
                break;
            }
        }
    }
}

impl<R: Runtime> CatalogService<R> {
    /// Whether enough is known to change something: all, or all that is to be heard.
    fn is_informed(&self, epoch: u64) -> bool {
        let led_for = self.reports.led_for(epoch, self.directory.monotonic_ms());
        led_for >= UNREACHABLE_AFTER_MS || self.is_complete(epoch)
    }

    /// Does the next thing there is to do, if there is one.
    async fn step(&self, pace: &mut Pace) -> Result<(), ApiError> {
        let Some((candidates, replication_factor)) = self.candidates() else {
            return Ok(());
        };
        let now = self.directory.monotonic_ms();
        if self.follow_members(&candidates).await? {
            pace.calm_since_ms = now;
            return Ok(());
        }
        let groups: Vec<GroupView> = self
            .reports
            .leaders(now)
            .iter()
            .map(|(id, report)| group_view(*id, report))
            .collect();
        match plan(&candidates, &groups, replication_factor) {
            None => Ok(()),
            Some(Step::Reconfigure {
                group,
                voters,
                reason,
            }) => {
                tracing::info!(group, ?voters, reason, "changing voters");
                let changed = self.reconfigure(group, voters).await;
                pace.calm_since_ms = self.directory.monotonic_ms();
                changed
            }
            Some(Step::Transfer { group, to, reason }) => {
                let calm = now.saturating_sub(pace.calm_since_ms);
                let moved = pace.moved_at_ms;
                let told = |node: &Candidate| self.reports.heard_since(node.node, moved);
                if calm < CALM_BEFORE_BALANCE_MS
                    || !candidates.iter().filter(|node| node.alive).all(told)
                {
                    return Ok(());
                }
                tracing::info!(group, to, reason, "moving leadership");
                let call = Call::Transfer(ShardTransfer { to_node: to });
                let ordered = self.order(group, call).await;
                pace.moved_at_ms = self.directory.monotonic_ms();
                ordered
            }
        }
    }

    pub(super) fn candidates(&self) -> Option<(Vec<Candidate>, usize)> {
        let now = self.directory.monotonic_ms();
        self.view.read(|catalog| {
            let cluster = catalog.cluster()?;
            let candidates = catalog
                .members()
                .values()
                .map(|member| Candidate {
                    node: member.node.node_id,
                    zone: member.node.zone.clone(),
                    eligible: !member.draining,
                    alive: self.reports.alive(member.node.node_id, now),
                    may_lead: self.reports.may_lead(member.node.node_id, now),
                })
                .collect();
            Some((candidates, usize::from(cluster.replication_factor)))
        })
    }

    /// Lets every member follow the catalog, and only members.
    async fn follow_members(&self, members: &[Candidate]) -> Result<bool, ApiError> {
        let group = self.group();
        let (nodes, voters): (BTreeSet<NodeId>, BTreeSet<NodeId>) = {
            let metrics = group.raft().metrics();
            let seen = metrics.borrow_watched();
            let membership = &seen.membership_config;
            (
                membership.nodes().map(|(id, _)| *id).collect(),
                membership.voter_ids().collect(),
            )
        };
        let members: BTreeSet<NodeId> = members.iter().map(|member| member.node).collect();
        if let Some(joining) = members.difference(&nodes).next() {
            let address = self.address(*joining)?;
            group.add_learner(*joining, &address).await?;
            return Ok(true);
        }
        let gone: BTreeSet<NodeId> = nodes
            .difference(&members)
            .filter(|node| !voters.contains(node))
            .copied()
            .collect();
        if gone.is_empty() {
            return Ok(false);
        }
        group.remove_learners(gone).await?;
        Ok(true)
    }

    /// Widens the placement, so that new replicas start; changes the voters; narrows it again.
    async fn reconfigure(&self, group: GroupId, voters: BTreeSet<NodeId>) -> Result<(), ApiError> {
        let now = self.directory.monotonic_ms();
        let present = self.reports.leaders(now).get(&group).map(|report| {
            report
                .replicas
                .iter()
                .map(|replica| replica.node_id)
                .collect::<BTreeSet<_>>()
        });
        let leaving: Vec<NodeId> = present
            .unwrap_or_default()
            .difference(&voters)
            .copied()
            .collect();
        let placed: Vec<NodeId> = voters.iter().copied().collect();
        if group != CATALOG {
            self.place(group, placed.clone(), leaving).await?;
        }
        let addresses: BTreeMap<NodeId, String> = voters
            .iter()
            .map(|node| Ok((*node, self.address(*node)?)))
            .collect::<Result<_, ApiError>>()?;
        let call = ShardReconfigure {
            voters: placed.clone(),
            addresses,
        };
        self.order(group, Call::Reconfigure(call)).await?;
        self.place(group, placed, Vec::new()).await
    }

    async fn place(
        &self,
        group: GroupId,
        voters: Vec<NodeId>,
        learners: Vec<NodeId>,
    ) -> Result<(), ApiError> {
        let placement = Placement {
            voters,
            learners,
            founding: false,
        };
        let known = self
            .view
            .read(|catalog| catalog.placements().get(&group).cloned());
        if known.as_ref() != Some(&placement) {
            self.propose(Op::SetPlacement(SetPlacement { group, placement }))
                .await?;
        }
        Ok(())
    }

    async fn order(&self, group: GroupId, call: Call) -> Result<(), ApiError> {
        let principal = Some(Principal::Node(self.group().node_id()).to_info());
        let call = ShardCall {
            principal,
            call: Some(call),
        };
        // Asked for again with the next look, whatever became of it.
        self.router
            .call(group, call, STEP_TIMEOUT, Again::Unsafe)
            .await?;
        Ok(())
    }

    fn address(&self, node: NodeId) -> Result<String, ApiError> {
        let known = self.view.read(|catalog| {
            catalog
                .members()
                .get(&node)
                .map(|member| member.node.peer_address.clone())
        });
        known
            .ok_or_else(|| ApiError::unavailable(format!("node {node:016x} is no member any more")))
    }
}
