//! Lets a node join.

use crate::catalog::machine::{CatalogMachine, Step};
use crate::catalog::model::{Member, NodeInfo};
use crate::catalog::reply::{Refusal, Reply};
use crate::codec::{Decoded, Put, Reader};

/// Adds a member; one that is a member already is updated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddMember {
    /// The node.
    pub node: NodeInfo,
    /// Refused when lower than the newest fence heard of; 0: no fence.
    pub fence: u64,
}

impl AddMember {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        self.node.encode(out);
        out.put_varint(self.fence);
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Self {
            node: NodeInfo::decode(r)?,
            fence: r.varint("fence")?,
        })
    }

    pub(in crate::catalog) fn apply(
        self,
        m: &mut CatalogMachine,
        step: &mut Step<'_>,
    ) -> Result<Reply, Refusal> {
        m.check_fence(step, self.fence)?;
        match m.members.get(&self.node.node_id) {
            Some(known) if known.node == self.node => {}
            Some(known) => {
                let member = Member {
                    node: self.node,
                    ..known.clone()
                };
                m.put_member(step, member);
            }
            None => {
                let joined_at = step.now;
                m.put_member(
                    step,
                    Member {
                        node: self.node,
                        draining: false,
                        lost: false,
                        joined_at,
                    },
                );
            }
        }
        Ok(Reply::Done)
    }
}
