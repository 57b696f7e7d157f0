//! Removes a member.

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
}
