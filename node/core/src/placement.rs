//! Which nodes vote in which group: one step at a time towards an even spread.
//!
//! The catalog's leader asks [`plan`] again after every step, with what it then sees.

use std::collections::{BTreeMap, BTreeSet};

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
                .filter(|node| group.caught_up.contains(node) && self.usable.contains_key(node))
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidate(node: u64, zone: &str) -> Candidate {
        Candidate {
            node,
            zone: zone.to_owned(),
            eligible: true,
            alive: true,
        }
    }

    fn group(number: u16, voters: &[u64]) -> GroupView {
        let voters: BTreeSet<u64> = voters.iter().copied().collect();
        GroupView {
            group: number,
            leader: voters.first().copied().unwrap_or_default(),
            caught_up: voters.clone(),
            voters,
            joint: false,
        }
    }

    fn carry_out(step: &Step, groups: &mut [GroupView]) {
        match step {
            Step::Reconfigure { group, voters, .. } => {
                let view = groups
                    .iter_mut()
                    .find(|g| g.group == *group)
                    .expect("known group");
                view.voters.clone_from(voters);
                view.caught_up.clone_from(voters);
                view.joint = false;
                if !view.voters.contains(&view.leader) {
                    view.leader = *view.voters.first().expect("a voter");
                }
            }
            Step::Transfer { group, to, .. } => {
                let view = groups
                    .iter_mut()
                    .find(|g| g.group == *group)
                    .expect("known group");
                assert!(view.voters.contains(to));
                view.leader = *to;
            }
        }
    }

    #[test]
    fn a_second_node_waits_for_a_third() {
        let groups = [group(1, &[1])];
        assert_eq!(
            plan(&[candidate(1, ""), candidate(2, "")], &groups, 3),
            None
        );
        let three = [candidate(1, ""), candidate(2, ""), candidate(3, "")];
        let step = plan(&three, &groups, 3).expect("a step");
        assert!(matches!(step, Step::Reconfigure { voters, .. } if voters == [1, 2, 3].into()));
    }

    #[test]
    fn a_drained_voter_stays_until_there_is_a_replacement() {
        let mut nodes = [candidate(1, ""), candidate(2, ""), candidate(3, "")];
        nodes[2].eligible = false;
        assert_eq!(plan(&nodes, &[group(1, &[1, 2, 3])], 3), None);
        let four = [nodes.to_vec(), vec![candidate(4, "")]].concat();
        let step = plan(&four, &[group(1, &[1, 2, 3])], 3).expect("a step");
        assert!(matches!(step, Step::Reconfigure { voters, .. } if voters == [1, 2, 4].into()));
    }

    #[test]
    fn when_all_but_one_are_drained_one_copy_is_what_was_asked_for() {
        let mut nodes = [candidate(1, ""), candidate(2, ""), candidate(3, "")];
        nodes[1].eligible = false;
        nodes[2].eligible = false;
        let step = plan(&nodes, &[group(1, &[1, 2, 3])], 3).expect("a step");
        assert!(matches!(step, Step::Reconfigure { voters, .. } if voters == [1].into()));
    }

    #[test]
    fn who_is_no_member_goes_even_without_a_replacement() {
        let step = plan(
            &[candidate(1, ""), candidate(2, "")],
            &[group(1, &[1, 2, 3])],
            3,
        );
        assert!(matches!(step, Some(Step::Reconfigure { voters, .. }) if voters == [1, 2].into()));
    }

    #[test]
    fn a_dead_voter_that_is_still_a_member_is_left_alone() {
        let mut nodes = [
            candidate(1, ""),
            candidate(2, ""),
            candidate(3, ""),
            candidate(4, ""),
        ];
        nodes[0].alive = false;
        let mut view = group(1, &[1, 2, 3]);
        view.leader = 2;
        assert_eq!(plan(&nodes, &[view], 3), None);
    }

    #[test]
    fn zones_come_before_load() {
        let nodes = [
            candidate(1, "a"),
            candidate(2, "a"),
            candidate(3, "b"),
            candidate(4, "c"),
        ];
        let step = plan(&nodes, &[group(1, &[1])], 3).expect("a step");
        assert!(matches!(step, Step::Reconfigure { voters, .. } if voters == [1, 3, 4].into()));
    }

    proptest! {
        /// Whatever the start, the steps end, and they end with every group at its size on nodes
        /// that may hold it, replicas and leaders within one of even.
        #[test]
        fn steps_end_in_an_even_spread(
            nodes in 1_u64..7,
            drained in proptest::collection::btree_set(1_u64..7, 0..3),
            starts in proptest::collection::vec(
                proptest::collection::btree_set(1_u64..7, 1..4), 1..9),
            factor in prop_oneof![Just(1_usize), Just(3), Just(5)],
        ) {
            let candidates: Vec<Candidate> = (1..=nodes)
                .map(|node| {
                    let mut member = candidate(node, "");
                    member.eligible = !drained.contains(&node);
                    member
                })
                .collect();
            let mut groups: Vec<GroupView> = starts
                .iter()
                .enumerate()
                .map(|(i, voters)| group(i as u16, &voters.iter().copied().collect::<Vec<_>>()))
                .collect();
            let usable: Vec<u64> =
                candidates.iter().filter(|c| c.eligible).map(|c| c.node).collect();
            prop_assume!(!usable.is_empty());
            let mut steps = 0;
            while let Some(step) = plan(&candidates, &groups, factor) {
                carry_out(&step, &mut groups);
                steps += 1;
                prop_assert!(steps < 200, "no end: {step:?}");
            }
            let mut load: BTreeMap<u64, usize> = usable.iter().map(|node| (*node, 0)).collect();
            for group in &groups {
                let most = factor.min(nodes as usize);
                prop_assert!((1..=most).contains(&group.voters.len()));
                prop_assert!(group.voters.iter().all(|voter| *voter <= nodes), "no member");
                if usable.len() >= factor {
                    prop_assert_eq!(group.voters.len(), factor);
                    prop_assert!(group.voters.iter().all(|voter| usable.contains(voter)));
                }
                for voter in &group.voters {
                    *load.entry(*voter).or_default() += 1;
                }
            }
            if usable.len() < factor {
                return Ok(());
            }
            let (min, max) = (load.values().min(), load.values().max());
            prop_assert!(max.expect("a node") - min.expect("a node") <= 1, "uneven: {load:?}");
        }
    }
}
