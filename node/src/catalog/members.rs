//! Members join, drain, leave and report.

use roadstead_core::catalog::{
    AddMember, Boot, DrainMember, NodeInfo, Op, RemoveMember, UpdateMember,
};
use roadstead_proto::v1::{
    AddMemberRequest, DrainMemberRequest, Founder, RemoveMemberRequest, ReportMember, ReportReply,
};

use super::divergence::News;
use super::service::CatalogService;
use crate::auth::{Action, Principal, authorize};
use crate::gateway::ApiError;
use crate::peers::codec::boot_from_wire;
use crate::raft::types::GroupId;
use crate::runtime::Runtime;

impl<R: Runtime> CatalogService<R> {
    pub(super) async fn add_member(
        &self,
        principal: &Principal,
        request: AddMemberRequest,
    ) -> Result<(), ApiError> {
        authorize(principal, Action::AddMember, None)?;
        let founder = request.member.ok_or_else(|| {
            ApiError::invalid("member", "member is missing: say which node joins")
        })?;
        let node = node_info(&founder);
        // A member tells its own news by its reports.
        if self
            .view
            .read(|catalog| catalog.members().contains_key(&node.node_id))
        {
            return Ok(());
        }
        self.propose(Op::AddMember(AddMember {
            node,
            fence: request.fence,
        }))
        .await?;
        Ok(())
    }

    pub(super) async fn drain_member(
        &self,
        principal: &Principal,
        request: DrainMemberRequest,
    ) -> Result<(), ApiError> {
        authorize(principal, Action::DrainMember, None)?;
        let DrainMemberRequest {
            node_id,
            drain,
            fence,
        } = request;
        self.propose(Op::DrainMember(DrainMember {
            node_id,
            drain,
            lost: false,
            fence,
        }))
        .await?;
        Ok(())
    }

    pub(super) async fn remove_member(
        &self,
        principal: &Principal,
        request: RemoveMemberRequest,
    ) -> Result<(), ApiError> {
        authorize(principal, Action::RemoveMember, None)?;
        let RemoveMemberRequest { node_id, fence } = request;
        self.propose(Op::RemoveMember(RemoveMember { node_id, fence }))
            .await?;
        Ok(())
    }

    /// Notes what a member says of itself, and tells it who leads what. A start that does
    /// not continue the last is refused: such a disk is a copy.
    pub(super) async fn report(&self, report: ReportMember) -> Result<ReportReply, ApiError> {
        let known = self
            .view
            .read(|catalog| catalog.members().get(&report.node_id).cloned());
        // What could be spared when it was given up may be needed by now: then it serves on.
        let lost = known.as_ref().is_some_and(|member| member.lost);
        let given_up = lost && self.check_spared(report.node_id).is_ok();
        if let Some(known) = known {
            let node = reported(&report, &known.node);
            if known.node != node {
                self.propose(Op::UpdateMember(UpdateMember { node }))
                    .await?;
            }
        }
        let now = self.directory.monotonic_ms();
        let epoch = self.group().leadership().epoch;
        let node = report.node_id;
        self.reports.note(epoch, now, report);
        let leaders = self.reports.leaders(now);
        for (group, news) in self.reports.compare(node, &leaders) {
            tell(group, &news);
        }
        Ok(ReportReply {
            groups: leaders.into_values().collect(),
            damaged: self.reports.damage(node).unwrap_or_default(),
            given_up,
        })
    }
}

/// Says in the log what is never so while everything is well.
fn tell(group: GroupId, news: &News) {
    match news {
        News::Differ {
            entry: (term, index),
            hashes,
        } => tracing::error!(
            group,
            term,
            index,
            ?hashes,
            "replicas hold different rows; where most of the voters agree the others are told to \
             stop, else look at each with check-data"
        ),
        News::Damaged { node, why } => tracing::error!(
            node = %format_args!("{node:016x}"),
            why,
            "a node is damaged, and told to stop"
        ),
    }
}

/// A node that joins, as the core has it; what it does not say yet comes with its first report.
pub fn node_info(founder: &Founder) -> NodeInfo {
    NodeInfo {
        node_id: founder.node_id,
        name: founder.name.clone(),
        peer_address: founder.peer_address.clone(),
        client_address: founder.client_address.clone(),
        zone: founder.zone.clone(),
        binary_version: String::new(),
        command_version: 0,
        boot: Boot::default(),
    }
}

/// What a report says of a member. One that was not told its zone keeps what it was given when it
/// joined.
fn reported(report: &ReportMember, known: &NodeInfo) -> NodeInfo {
    let zone = if report.zone.is_empty() {
        &known.zone
    } else {
        &report.zone
    };
    NodeInfo {
        node_id: report.node_id,
        name: report.name.clone(),
        peer_address: report.peer_address.clone(),
        client_address: report.client_address.clone(),
        zone: zone.clone(),
        binary_version: report.binary_version.clone(),
        command_version: report.command_version,
        boot: boot_from_wire(report.boot.as_ref()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_without_a_zone_leaves_the_one_that_is_known() {
        let founder = Founder {
            node_id: 7,
            zone: "a".into(),
            ..Founder::default()
        };
        let known = node_info(&founder);
        let zone = |zone: &str| {
            let report = ReportMember {
                node_id: 7,
                zone: zone.into(),
                ..ReportMember::default()
            };
            reported(&report, &known).zone
        };
        assert_eq!(zone(""), "a");
        assert_eq!(zone("b"), "b", "it was moved");
    }
}
