//! A member introduces itself anew.

use crate::catalog::machine::{CatalogMachine, Step};
use crate::catalog::model::{Member, NodeInfo};
use crate::catalog::reply::{Refusal, Reply};
use crate::codec::{Decoded, Reader};

/// Replaces what is known of a member: addresses, zone, versions, start.
///
/// A start that does not continue the known one is refused: such a disk is a restored or copied
/// one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateMember {
    /// The node.
    pub node: NodeInfo,
}

impl UpdateMember {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        self.node.encode(out);
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Self {
            node: NodeInfo::decode(r)?,
        })
    }

    pub(in crate::catalog) fn apply(
        self,
        m: &mut CatalogMachine,
        step: &mut Step<'_>,
    ) -> Result<Reply, Refusal> {
        let node = self.node.node_id;
        let Some(known) = m.members.get(&node) else {
            return Err(Refusal::NoMember(node));
        };
        if !self.node.boot.continues(&known.node.boot) {
            let (got, known) = (self.node.boot.number(), known.node.boot.number());
            return Err(Refusal::OldBoot { node, got, known });
        }
        if known.node != self.node {
            let member = Member {
                node: self.node,
                ..known.clone()
            };
            m.put_member(step, member);
        }
        Ok(Reply::Done)
    }
}
