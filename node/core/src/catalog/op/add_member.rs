//! Lets a node join.

use crate::catalog::model::NodeInfo;
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
}
