//! Which start of each peer is its latest.

use std::collections::BTreeMap;

use roadstead_core::catalog::Boot;

use crate::raft::types::NodeId;

/// The latest start of each peer that this node has heard of.
#[derive(Debug, Default)]
pub struct Boots(BTreeMap<NodeId, Boot>);

impl Boots {
    /// The catalog knows a node by this start. It may lag behind what was heard from the node
    /// itself; where one does not continue the other, whoever was heard here is a copy.
    pub fn learn(&mut self, node: NodeId, boot: &Boot) {
        let known = self.0.entry(node).or_default();
        if !known.continues(boot) {
            known.clone_from(boot);
        }
    }

    /// Whether whoever claims to be a start of a node is its latest, as far as is known here.
    ///
    /// # Errors
    /// Why not, in words for the node itself.
    pub fn vouch(&mut self, node: NodeId, claimed: &Boot) -> Result<(), String> {
        let known = self.0.entry(node).or_default();
        if !claimed.continues(known) {
            return Err(format!(
                "start {} of node {node:016x} does not continue start {}, which a peer has seen: \
                 its disk is a restored or copied one, it must come back as a new node (see \
                 docs/operations.md, Damage)",
                claimed.number(),
                known.number()
            ));
        }
        known.clone_from(claimed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_copies_the_first_is_known() {
        let (mut boots, copied) = (Boots::default(), Boot::default().next(11).noted());
        let (one, other) = (copied.clone().next(22), copied.next(23));
        assert!(boots.vouch(7, &one).is_ok());
        assert!(boots.vouch(7, &one).is_ok(), "another link");
        let refused = boots.vouch(7, &other).unwrap_err();
        assert!(refused.contains("restored or copied"), "{refused}");
        assert!(boots.vouch(8, &other).is_ok(), "another node");
        assert!(boots.vouch(7, &one.next(33)).is_ok());
    }

    #[test]
    fn the_catalog_is_believed_before_a_copy_that_was_heard_first() {
        let (mut boots, copied) = (Boots::default(), Boot::default().next(11).noted());
        let (original, copy) = (copied.clone().next(22), copied.next(23));
        boots.vouch(7, &copy).unwrap();
        boots.learn(7, &original);
        assert!(boots.vouch(7, &original).is_ok());
        assert!(boots.vouch(7, &copy).is_err());
    }

    #[test]
    fn a_catalog_that_lags_takes_nothing_back() {
        let mut boots = Boots::default();
        let first = Boot::default().next(11);
        let second = first.noted().next(22);
        boots.vouch(7, &second).unwrap();
        boots.learn(7, &first);
        assert!(boots.vouch(7, &first).is_err());
        boots.learn(7, &second.clone().next(33));
        assert!(boots.vouch(7, &second).is_err());
    }
}
