//! Whether the cluster can do without what one node holds.

use std::collections::BTreeSet;
use std::fmt;

use super::{Candidate, GroupView};

/// Why a node's data cannot be given up now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needed {
    /// The first group that stands in the way.
    pub group: u16,
    /// How it does.
    pub why: Why,
}

/// How a group stands in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Nobody else reports to lead it.
    NoLeader,
    /// Its voters are being changed.
    Changing,
    /// So many of its other voters live, stay and have caught up.
    TooFew {
        /// How many do.
        healthy: usize,
        /// How many are a majority.
        majority: usize,
    },
}

impl fmt::Display for Needed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let group = self.group;
        match self.why {
            Why::NoLeader => write!(f, "no other node leads group {group}"),
            Why::Changing => write!(f, "the voters of group {group} are being changed"),
            Why::TooFew { healthy, majority } => write!(
                f,
                "of the other voters of group {group} {healthy} live and have caught up, \
                 {majority} are needed"
            ),
        }
    }
}

/// Whether every group of `groups` keeps a majority of its voters without `node`: of nodes that
/// live, that are not to leave themselves, and that have caught up. Groups in which the node
/// does not vote do not need it.
///
/// # Errors
/// The first group that needs the node.
pub fn spare(node: u64, candidates: &[Candidate], groups: &[GroupView]) -> Result<(), Needed> {
    let stays: BTreeSet<u64> = candidates
        .iter()
        .filter(|one| one.node != node && one.alive && one.eligible)
        .map(|one| one.node)
        .collect();
    for view in groups.iter().filter(|view| view.voters.contains(&node)) {
        let needed = |why| {
            let group = view.group;
            Err(Needed { group, why })
        };
        if !stays.contains(&view.leader) {
            return needed(Why::NoLeader);
        }
        if view.joint {
            return needed(Why::Changing);
        }
        let healthy = view.voters.iter().filter(|voter| {
            let leads = **voter == view.leader;
            stays.contains(voter) && (leads || view.caught_up.contains(voter))
        });
        let (healthy, majority) = (healthy.count(), view.voters.len() / 2 + 1);
        if healthy < majority {
            return needed(Why::TooFew { healthy, majority });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(node: u64) -> Candidate {
        Candidate {
            node,
            zone: String::new(),
            eligible: true,
            alive: true,
            may_lead: true,
        }
    }

    fn group(voters: &[u64], leader: u64, caught_up: &[u64]) -> GroupView {
        GroupView {
            group: 7,
            voters: voters.iter().copied().collect(),
            leader,
            caught_up: caught_up.iter().copied().collect(),
            joint: false,
        }
    }

    #[test]
    fn a_node_is_spared_when_every_group_keeps_its_majority() {
        let three = [1, 2, 3].map(candidate);
        let whole = group(&[1, 2, 3], 1, &[1, 2, 3]);
        assert_eq!(spare(3, &three, std::slice::from_ref(&whole)), Ok(()));
        assert_eq!(spare(2, &three, &[group(&[1, 2], 1, &[1])]), spare_of(1, 2));
        let elsewhere = group(&[1, 2], 9, &[]);
        assert_eq!(spare(3, &three, &[elsewhere, whole.clone()]), Ok(()));
        let behind = group(&[1, 2, 3], 1, &[1, 3]);
        assert_eq!(spare(3, &three, &[whole.clone(), behind]), spare_of(1, 2));
        let led_by_it = group(&[1, 2, 3], 3, &[1, 2, 3]);
        assert_eq!(refusal(spare(3, &three, &[led_by_it])), Why::NoLeader);
        let changing = GroupView {
            joint: true,
            ..whole.clone()
        };
        assert_eq!(refusal(spare(3, &three, &[changing])), Why::Changing);
        assert_eq!(spare(3, &three, &[group(&[3], 3, &[3])]), {
            let why = Why::NoLeader;
            Err(Needed { group: 7, why })
        });
    }

    /// Of two nodes that are damaged at the same time only one may give its data up.
    #[test]
    fn who_is_silent_or_leaves_is_not_counted() {
        let whole = [group(&[1, 2, 3], 1, &[1, 2, 3])];
        let mut three = [1, 2, 3].map(candidate);
        three[1].alive = false;
        assert_eq!(spare(3, &three, &whole), spare_of(1, 2));
        three[1] = candidate(2);
        three[1].eligible = false;
        assert_eq!(spare(3, &three, &whole), spare_of(1, 2));
    }

    fn spare_of(healthy: usize, majority: usize) -> Result<(), Needed> {
        let why = Why::TooFew { healthy, majority };
        Err(Needed { group: 7, why })
    }

    fn refusal(spared: Result<(), Needed>) -> Why {
        spared.unwrap_err().why
    }
}
