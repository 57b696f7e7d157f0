//! What the members told the catalog's leader of themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use roadstead_core::placement::GroupView;
use roadstead_proto::v1::{GroupReport, ReportMember};
use tokio::sync::Notify;

use crate::raft::membership::CAUGHT_UP_ENTRIES;
use crate::raft::types::{GroupId, NodeId};

/// A member that was not heard of for this long counts as unreachable.
pub const UNREACHABLE_AFTER_MS: u64 = 10_000;

/// What a member said counts for so long: that it leads a group, and that it wants to lead. It
/// reports every second.
const FRESH_MS: u64 = 5_000;

/// The last report of each member, with the monotonic time of its arrival in ms.
#[derive(Debug, Default)]
pub struct Reports {
    state: Mutex<State>,
    news: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// When this node began to lead the catalog; before a report, a member counts as alive.
    since_ms: u64,
    /// In which epoch of its leadership.
    epoch: u64,
    members: BTreeMap<NodeId, (u64, ReportMember)>,
}

impl Reports {
    /// Forgets what was said before: this node leads the catalog, in this epoch of its leadership.
    pub fn begin(&self, epoch: u64, now_ms: u64) {
        self.lock().begin(epoch, now_ms);
    }

    /// Notes what a member said in this epoch.
    pub fn note(&self, epoch: u64, now_ms: u64, report: ReportMember) {
        let mut state = self.lock();
        state.begin(epoch, now_ms);
        state.members.insert(report.node_id, (now_ms, report));
        self.news.notify_waiters();
    }

    /// The next report after the call.
    pub fn news(&self) -> tokio::sync::futures::Notified<'_> {
        self.news.notified()
    }

    /// How long this node has led the catalog in this epoch, in ms; 0 when it has only begun.
    pub fn led_for(&self, epoch: u64, now_ms: u64) -> u64 {
        let state = self.lock();
        if state.epoch != epoch {
            return 0;
        }
        now_ms.saturating_sub(state.since_ms)
    }

    /// Whether the leader of each of `groups` has said in this epoch that it leads, or all
    /// `members` have said what they lead.
    pub fn are_complete(
        &self,
        epoch: u64,
        groups: &BTreeSet<GroupId>,
        members: &BTreeSet<NodeId>,
    ) -> bool {
        let state = self.lock();
        if state.epoch != epoch {
            return false;
        }
        let led = state.led();
        groups.iter().all(|group| led.contains(&u32::from(*group)))
            || members.iter().all(|node| state.members.contains_key(node))
    }

    /// Whether a member has said something since then.
    pub fn heard_since(&self, node: NodeId, then_ms: u64) -> bool {
        let state = self.lock();
        state
            .members
            .get(&node)
            .is_some_and(|(at, _)| *at > then_ms)
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
    pub fn may_lead(&self, node: NodeId, now_ms: u64) -> bool {
        let state = self.lock();
        let said = state.members.get(&node);
        said.is_some_and(|(at, report)| report.may_lead && is_fresh(*at, now_ms))
    }

    /// The last report of a member.
    pub fn member(&self, node: NodeId) -> Option<ReportMember> {
        self.lock()
            .members
            .get(&node)
            .map(|(_, report)| report.clone())
    }

    /// Each group as its leader reports it; of two that claim to lead, the newer term counts. One
    /// whose leader has been silent has none.
    pub fn leaders(&self, now_ms: u64) -> BTreeMap<GroupId, GroupReport> {
        self.lock().leaders(now_ms)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_fresh(at_ms: u64, now_ms: u64) -> bool {
    now_ms.saturating_sub(at_ms) < FRESH_MS
}

impl State {
    fn begin(&mut self, epoch: u64, now_ms: u64) {
        if self.epoch != epoch {
            *self = Self {
                since_ms: now_ms,
                epoch,
                members: BTreeMap::new(),
            };
        }
    }

    /// Groups of which somebody has said that it leads them.
    fn led(&self) -> BTreeSet<u32> {
        let reports = self.members.iter();
        reports
            .flat_map(|(node, (_, report))| {
                let led = report.groups.iter();
                led.filter(|group| group.leader == *node)
            })
            .map(|group| group.group)
            .collect()
    }

    fn leaders(&self, now_ms: u64) -> BTreeMap<GroupId, GroupReport> {
        let mut leaders: BTreeMap<GroupId, GroupReport> = BTreeMap::new();
        let fresh = self
            .members
            .iter()
            .filter(|(_, (at, _))| is_fresh(*at, now_ms));
        for (node, (_, report)) in fresh {
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
        reports.note(1, 0, report(7, 5));
        reports.note(1, 0, report(8, 4));
        assert_eq!(reports.leaders(0)[&1].leader, 7);
    }

    #[test]
    fn who_is_silent_leads_nothing_and_gets_nothing() {
        let reports = Reports::default();
        let ready = ReportMember {
            may_lead: true,
            ..report(7, 5)
        };
        reports.note(1, 1_000, ready);
        let late = 1_000 + FRESH_MS;
        assert!(reports.may_lead(7, late - 1) && !reports.may_lead(7, late));
        assert_eq!(reports.leaders(late - 1).len(), 1);
        assert_eq!(reports.leaders(late).len(), 0);
    }

    #[test]
    fn a_new_leader_knows_all_when_every_group_or_every_member_is_heard_of() {
        let reports = Reports::default();
        let complete = |groups: [GroupId; 2], members: [NodeId; 2]| {
            reports.are_complete(3, &groups.into(), &members.into())
        };
        reports.note(2, 10, report(7, 5));
        assert!(!complete([1, 1], [7, 7]), "in an epoch before");
        reports.begin(3, 20);
        assert!(!complete([1, 1], [7, 7]));
        reports.note(3, 30, report(7, 5));
        assert!(complete([1, 1], [7, 8]) && complete([1, 2], [7, 7]));
        assert!(!complete([1, 2], [7, 8]));
        assert_eq!((reports.led_for(3, 50), reports.led_for(2, 50)), (30, 0));
        assert!(reports.heard_since(7, 29) && !reports.heard_since(7, 30));
    }

    #[test]
    fn who_is_silent_becomes_unreachable_and_a_new_leader_is_patient() {
        let reports = Reports::default();
        reports.begin(1, 1_000);
        assert!(reports.alive(7, 1_000 + UNREACHABLE_AFTER_MS - 1));
        assert!(!reports.alive(7, 1_000 + UNREACHABLE_AFTER_MS));
        reports.note(1, 20_000, report(7, 1));
        assert!(reports.alive(7, 20_001));
    }
}
