//! Which nodes vote in which group: one step at a time towards an even spread.
//!
//! The catalog's leader asks [`plan`] again after every step, with what it then sees.

mod spare;

use std::collections::{BTreeMap, BTreeSet};

pub use spare::{Needed, Why, spare};

/// A member of the cluster, as the planner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its id.
    pub node: u64,
    /// Its failure domain; empty when unknown.
    pub zone: String,
    /// It may get and keep replicas: a member that is not drained.
    pub eligible: bool,
    /// It was heard of lately.
    pub alive: bool,
    /// It can serve and is not about to stop: leaderships may be moved to it.
    pub may_lead: bool,
}

/// A group, as its leader reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupView {
    /// Its number.
    pub group: u16,
    /// Who votes now; while a change is under way, who will.
    pub voters: BTreeSet<u64>,
    /// Who leads.
    pub leader: u64,
    /// Voters that follow within the bound.
    pub caught_up: BTreeSet<u64>,
    /// A change of membership was begun and is not finished.
    pub joint: bool,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Make these nodes the voters of the group: new ones catch up first as learners.
    Reconfigure {
        /// The group.
        group: u16,
        /// All its voters afterwards.
        voters: BTreeSet<u64>,
        /// Why, for people.
        reason: String,
    },
    /// Hand the leadership of the group over.
    Transfer {
        /// The group.
        group: u16,
        /// To this caught-up voter.
        to: u64,
        /// Why, for people.
        reason: String,
    },
}

/// How many voters a group should have: the replication factor where enough nodes may hold one;
/// one when a single node is left to hold it; between the two as many as now, or the largest odd
/// number (two voters would survive less than one does).
pub fn voters_wanted(replication_factor: usize, usable: usize, present: usize) -> usize {
    if usable >= replication_factor {
        replication_factor
    } else if usable <= 1 {
        usable
    } else {
        let odd = usable - usize::from(usable.is_multiple_of(2));
        odd.max(present.min(replication_factor))
    }
}

/// The next step towards `replication_factor` voters of each group, spread evenly over the nodes
/// that may hold them and over zones, with leaders spread evenly; `None` when there is nothing to
/// do. A step never removes a voter before its replacement can vote.
pub fn plan(
    candidates: &[Candidate],
    groups: &[GroupView],
    replication_factor: usize,
) -> Option<Step> {
    let planner = Planner::new(candidates, groups);
    if planner.usable.is_empty() {
        return None;
    }
    groups
        .iter()
        .find_map(|group| planner.repair(group, replication_factor))
        .or_else(|| planner.spread_voters(groups))
        .or_else(|| planner.spread_leaders(groups))
}

struct Planner<'a> {
    /// Nodes that may get replicas, with their zone.
    usable: BTreeMap<u64, &'a str>,
    /// Nodes that may keep replicas.
    eligible: BTreeSet<u64>,
    /// Nodes that may get leaderships.
    leading: BTreeSet<u64>,
    members: BTreeSet<u64>,
    voters: BTreeMap<u64, usize>,
    leaders: BTreeMap<u64, usize>,
}

impl<'a> Planner<'a> {
    fn new(candidates: &'a [Candidate], groups: &[GroupView]) -> Self {
        let eligible: BTreeSet<u64> = candidates
            .iter()
            .filter(|c| c.eligible)
            .map(|c| c.node)
            .collect();
        let usable: BTreeMap<u64, &str> = candidates
            .iter()
            .filter(|c| c.eligible && c.alive)
            .map(|c| (c.node, c.zone.as_str()))
            .collect();
        let leading = candidates.iter().filter(|c| c.alive && c.may_lead);
        let leading = leading.map(|c| c.node).collect();
        let mut voters: BTreeMap<u64, usize> = usable.keys().map(|node| (*node, 0)).collect();
        let mut leaders = voters.clone();
        for group in groups {
            for voter in &group.voters {
                *voters.entry(*voter).or_default() += 1;
            }
            *leaders.entry(group.leader).or_default() += 1;
        }
        let members = candidates.iter().map(|c| c.node).collect();
        Self {
            usable,
            eligible,
            leading,
            members,
            voters,
            leaders,
        }
    }

    /// Brings one group to the wanted number of voters that may keep it.
    fn repair(&self, group: &GroupView, replication_factor: usize) -> Option<Step> {
        let present: BTreeSet<u64> = group.voters.intersection(&self.members).copied().collect();
        let wanted = voters_wanted(replication_factor, self.usable.len(), present.len());
        let mut voters: BTreeSet<u64> =
            group.voters.intersection(&self.eligible).copied().collect();
        while voters.len() < wanted {
            let Some(node) = self.best_addition(&voters) else {
                break;
            };
            voters.insert(node);
        }
        while voters.len() > wanted {
            let dropped = self.worst(&voters, group.leader)?;
            voters.remove(&dropped);
        }
        // Without enough replacements, those who are to go stay.
        for node in &present {
            if voters.len() < wanted {
                voters.insert(*node);
            }
        }
        if voters == group.voters && !group.joint {
            return None;
        }
        let reason = if voters == group.voters {
            "a change of its voters was begun and not finished".to_owned()
        } else {
            format!("{} of {wanted} voters are where they should be", {
                group.voters.intersection(&voters).count()
            })
        };
        Some(Step::Reconfigure {
            group: group.group,
            voters,
            reason,
        })
    }

    /// The usable node that adds most: a zone without a voter first, then the least loaded.
    fn best_addition(&self, voters: &BTreeSet<u64>) -> Option<u64> {
        let zones: BTreeSet<&str> = voters
            .iter()
            .filter_map(|voter| self.usable.get(voter).copied())
            .collect();
        self.usable
            .iter()
            .filter(|(node, _)| !voters.contains(node))
            .min_by_key(|(node, zone)| (zones.contains(*zone), self.voters[node], **node))
            .map(|(node, _)| *node)
    }

    /// The voter that is missed least: a dead one, then the most loaded, the leader last.
    fn worst(&self, voters: &BTreeSet<u64>, leader: u64) -> Option<u64> {
        voters
            .iter()
            .max_by_key(|node| {
                let load = self.voters.get(node).copied().unwrap_or_default();
                (
                    !self.usable.contains_key(node),
                    **node != leader,
                    load,
                    **node,
                )
            })
            .copied()
    }

    /// Moves one voter from the most to the least loaded node where they differ by two or more.
    fn spread_voters(&self, groups: &[GroupView]) -> Option<Step> {
        let load = |node: &u64| self.voters.get(node).copied().unwrap_or_default();
        let least = *self.usable.keys().min_by_key(|node| (load(node), **node))?;
        let most = *self.usable.keys().max_by_key(|node| (load(node), **node))?;
        if load(&most) < load(&least) + 2 {
            return None;
        }
        let zones = |voters: &BTreeSet<u64>| {
            voters
                .iter()
                .filter_map(|voter| self.usable.get(voter))
                .collect::<BTreeSet<_>>()
                .len()
        };
        groups.iter().find_map(|group| {
            if !group.voters.contains(&most) || group.voters.contains(&least) {
                return None;
            }
            // Beside one that is dead or leaves, no copy that is there is given up for balance.
            let whole = |node: &u64| self.usable.contains_key(node);
            if !group.voters.iter().all(whole) {
                return None;
            }
            let mut voters = group.voters.clone();
            voters.remove(&most);
            voters.insert(least);
            (zones(&voters) >= zones(&group.voters)).then(|| Step::Reconfigure {
                group: group.group,
                voters,
                reason: format!("node {most:x} holds more replicas than node {least:x}"),
            })
        })
    }

    /// Moves one leadership from the node with most to one with at least two fewer; first away
    /// from nodes that may keep none.
    fn spread_leaders(&self, groups: &[GroupView]) -> Option<Step> {
        let load = |node: &u64| self.leaders.get(node).copied().unwrap_or_default();
        let mut by_load: Vec<&GroupView> = groups.iter().filter(|g| g.leader != 0).collect();
        by_load.sort_by_key(|group| {
            (
                self.eligible.contains(&group.leader),
                usize::MAX - load(&group.leader),
            )
        });
        by_load.into_iter().find_map(|group| {
            let to = *group
                .voters
                .iter()
                .filter(|node| **node != group.leader)
                .filter(|node| self.usable.contains_key(node) && self.leading.contains(node))
                .filter(|node| group.caught_up.contains(node))
                .min_by_key(|node| (load(node), **node))?;
            let drained = !self.eligible.contains(&group.leader);
            (drained || load(&group.leader) >= load(&to) + 2).then(|| Step::Transfer {
                group: group.group,
                to,
                reason: format!("node {:x} leads more groups than node {to:x}", group.leader),
            })
        })
    }
}

#[cfg(test)]
mod tests;
