//! A member introduces itself anew.

use crate::catalog::model::NodeInfo;
use crate::codec::{Decoded, Reader};

/// Replaces what is known of a member: addresses, zone, versions, boot counter.
///
/// A boot counter below the known one is refused: such a disk is a restored or copied one.
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
}
