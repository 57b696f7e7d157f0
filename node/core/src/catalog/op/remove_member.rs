//! Removes a member.

use crate::catalog::machine::{CatalogMachine, Step};
use crate::catalog::reply::{Refusal, Reply};
use crate::catalog::row;
use crate::codec::{Decoded, Put, Reader};

/// Removes a member for good. Refused while a placement names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemoveMember {
    /// The node.
    pub node_id: u64,
    /// Refused when lower than the newest fence heard of; 0: no fence.
    pub fence: u64,
}

impl RemoveMember {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64(self.node_id);
        out.put_varint(self.fence);
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Self {
            node_id: r.u64("node id")?,
            fence: r.varint("fence")?,
        })
    }

    pub(in crate::catalog) fn apply(
        self,
        m: &mut CatalogMachine,
        step: &mut Step<'_>,
    ) -> Result<Reply, Refusal> {
        m.check_fence(step, self.fence)?;
        let node = self.node_id;
        if let Some((group, _)) = m
            .placements
            .iter()
            .find(|(_, placement)| placement.is_on(node))
        {
            return Err(Refusal::StillPlaced {
                node,
                group: *group,
            });
        }
        // One that is gone already was removed by an earlier try.
        if m.members.remove(&node).is_some() {
            step.kv.delete(&row::id_key(row::MEMBER, node));
            step.cluster_changed = true;
        }
        Ok(Reply::Done)
    }
}
