//! What the members told the catalog's leader of themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use roadstead_core::catalog::Boot;
use roadstead_core::placement::GroupView;
use roadstead_proto::v1::{GroupReport, ReportMember};
use tokio::sync::Notify;

use super::divergence::{DigestCounts, Divergence, EntryId, Hashes, News, Voters};
use crate::peers::codec::boot_from_wire;
use crate::raft::digests::REMEMBERED;
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
    divergence: Divergence,
    /// In which start each damaged member was told.
    told: BTreeMap<NodeId, Boot>,
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

    /// Compares the digests of the groups that a member reported with those of the other voters,
    /// which are those that `leaders` name.
    pub fn compare(
        &self,
        node: NodeId,
        leaders: &BTreeMap<GroupId, GroupReport>,
    ) -> Vec<(GroupId, News)> {
        self.lock().compare(node, leaders)
    }

    /// What is wrong with the rows of a member, to be told with the answer to its report. Nothing
    /// after the start in which it was told: it has made them anew.
    pub fn damage(&self, node: NodeId) -> Option<String> {
        self.lock().damage(node)
    }

    /// How often the replicas of each group were compared by this node.
    pub fn digest_counts(&self) -> BTreeMap<GroupId, DigestCounts> {
        self.lock().divergence.counts().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_fresh(at_ms: u64, now_ms: u64) -> bool {
    now_ms.saturating_sub(at_ms) < FRESH_MS
}

impl State {
    fn damage(&mut self, node: NodeId) -> Option<String> {
        let why = self.divergence.damage(node)?.clone();
        let (_, report) = self.members.get(&node)?;
        let boot = boot_from_wire(report.boot.as_ref());
        let told = self.told.entry(node).or_insert_with(|| boot.clone());
        if *told == boot {
            return Some(why);
        }
        self.told.remove(&node);
        self.divergence.forgive(node);
        None
    }

    fn begin(&mut self, epoch: u64, now_ms: u64) {
        if self.epoch != epoch {
            *self = Self {
                since_ms: now_ms,
                epoch,
                members: BTreeMap::new(),
                // Who is damaged stays so; counts only grow.
                divergence: std::mem::take(&mut self.divergence),
                told: std::mem::take(&mut self.told),
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
                    let digests = Vec::new();
                    leaders.insert(
                        id,
                        GroupReport {
                            digests,
                            ..group.clone()
                        },
                    );
                }
            }
        }
        leaders
    }

    fn compare(
        &mut self,
        node: NodeId,
        leaders: &BTreeMap<GroupId, GroupReport>,
    ) -> Vec<(GroupId, News)> {
        let reported = self.members.get(&node).map(|(_, report)| &report.groups);
        let digested = reported.into_iter().flatten();
        let digested = digested.filter(|group| !group.digests.is_empty());
        let groups: BTreeSet<u32> = digested.map(|group| group.group).collect();
        let mut news = Vec::new();
        for (id, leader) in leaders {
            if groups.contains(&u32::from(*id)) {
                let said = self.digests_of(*id);
                let found = self.divergence.compare(*id, &voters(leader), &said);
                news.extend(found.into_iter().map(|found| (*id, found)));
            }
        }
        news
    }

    /// What the replicas of a group said last, entry by entry; of each no more than it remembers.
    fn digests_of(&self, id: GroupId) -> BTreeMap<EntryId, Hashes> {
        let mut said: BTreeMap<EntryId, Hashes> = BTreeMap::new();
        for (node, (_, report)) in &self.members {
            let group = report
                .groups
                .iter()
                .find(|group| group.group == u32::from(id));
            for digest in group
                .iter()
                .flat_map(|group| group.digests.iter().rev().take(REMEMBERED))
            {
                let hashes = said.entry((digest.term, digest.index)).or_default();
                hashes.insert(*node, digest.hash);
            }
        }
        said
    }
}

fn voters(report: &GroupReport) -> Voters {
    let voters = report.replicas.iter().filter(|replica| replica.voter);
    Voters {
        ids: voters.map(|replica| replica.node_id).collect(),
        joint: report.joint,
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
mod tests;
