//! What the members told the catalog's leader of themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use roadstead_core::placement::GroupView;
use roadstead_proto::v1::{GroupReport, ReportMember};

use crate::raft::membership::CAUGHT_UP_ENTRIES;
use crate::raft::types::{GroupId, NodeId};

/// A member that was not heard of for this long counts as unreachable.
pub const UNREACHABLE_AFTER_MS: u64 = 10_000;

/// The last report of each member, with the monotonic time of its arrival in ms.
#[derive(Debug, Default)]
pub struct Reports(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// When this node began to lead the catalog; before a report, a member counts as alive.
    since_ms: u64,
    members: BTreeMap<NodeId, (u64, ReportMember)>,
}

impl Reports {
    /// Forgets everything: this node begins to lead the catalog.
    pub fn begin(&self, now_ms: u64) {
        *self.lock() = State {
            since_ms: now_ms,
            members: BTreeMap::new(),
        };
    }

    /// Notes what a member said.
    pub fn note(&self, now_ms: u64, report: ReportMember) {
        self.lock().members.insert(report.node_id, (now_ms, report));
    }

    /// Whether a member was heard of lately.
    pub fn alive(&self, node: NodeId, now_ms: u64) -> bool {
        let state = self.lock();
        let heard = state
            .members
            .get(&node)
            .map_or(state.since_ms, |(at, _)| *at);
        now_ms.saturating_sub(heard) < UNREACHABLE_AFTER_MS
    }

    /// Whether a member wants leaderships.
    pub fn may_lead(&self, node: NodeId) -> bool {
        let state = self.lock();
        let said = state.members.get(&node);
        said.is_some_and(|(_, report)| report.may_lead)
    }

    /// The last report of a member.
    pub fn member(&self, node: NodeId) -> Option<ReportMember> {
        self.lock()
            .members
            .get(&node)
            .map(|(_, report)| report.clone())
    }

    /// Each group as its leader reports it; of two that claim to lead, the newer term counts.
    pub fn leaders(&self) -> BTreeMap<GroupId, GroupReport> {
        let mut leaders: BTreeMap<GroupId, GroupReport> = BTreeMap::new();
        for (node, (_, report)) in &self.lock().members {
            for group in report.groups.iter().filter(|group| group.leader == *node) {
                let Ok(id) = GroupId::try_from(group.group) else {
                    continue;
                };
                if leaders.get(&id).is_none_or(|known| known.term < group.term) {
                    leaders.insert(id, group.clone());
                }
            }
        }
        leaders
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A group in the form the planner takes.
pub fn group_view(id: GroupId, report: &GroupReport) -> GroupView {
    let voters: BTreeSet<NodeId> = report
        .replicas
        .iter()
        .filter(|r| r.voter)
        .map(|r| r.node_id)
        .collect();
    let caught_up = report
        .replicas
        .iter()
        .filter(|replica| replica.lag.is_some_and(|lag| lag <= CAUGHT_UP_ENTRIES))
        .map(|replica| replica.node_id)
        .collect();
    GroupView {
        group: id,
        voters,
        leader: report.leader,
        caught_up,
        joint: report.joint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(node_id: u64, term: u64) -> ReportMember {
        let group = GroupReport {
            group: 1,
            term,
            leader: node_id,
            ..GroupReport::default()
        };
        ReportMember {
            node_id,
            groups: vec![group],
            ..ReportMember::default()
        }
    }

    #[test]
    fn the_leader_of_the_newest_term_counts() {
        let reports = Reports::default();
        reports.note(0, report(7, 5));
        reports.note(0, report(8, 4));
        assert_eq!(reports.leaders()[&1].leader, 7);
    }

    #[test]
    fn who_is_silent_becomes_unreachable_and_a_new_leader_is_patient() {
        let reports = Reports::default();
        reports.begin(1_000);
        assert!(reports.alive(7, 1_000 + UNREACHABLE_AFTER_MS - 1));
        assert!(!reports.alive(7, 1_000 + UNREACHABLE_AFTER_MS));
        reports.note(20_000, report(7, 1));
        assert!(reports.alive(7, 20_001));
    }
}
