//! Says where replicas shall be.

use crate::catalog::model::Placement;
use crate::codec::{Decoded, Put, Reader};

/// Sets where the replicas of a group shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetPlacement {
    /// 0: the catalog; else a shard.
    pub group: u16,
    /// The target.
    pub placement: Placement,
}

impl SetPlacement {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put_varint(u64::from(self.group));
        self.placement.encode(out);
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Self {
            group: r.varint_u16("group")?,
            placement: Placement::decode(r)?,
        })
    }
}
