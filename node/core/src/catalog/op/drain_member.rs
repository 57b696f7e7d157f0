//! Drains a member.

use crate::catalog::machine::{CatalogMachine, Step};
use crate::catalog::model::Member;
use crate::catalog::reply::{Refusal, Reply};
use crate::codec::{Decoded, Put, Reader};

/// Says that a member shall hold no replica and lead nothing, or takes that back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainMember {
    /// The node.
    pub node_id: u64,
    /// Drain, or take a drain back.
    pub drain: bool,
    /// With `drain`, for good: the node's data is given up.
    pub lost: bool,
    /// Refused when lower than the newest fence heard of; 0: no fence.
    pub fence: u64,
}

impl DrainMember {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64(self.node_id);
        out.push(u8::from(self.drain) | u8::from(self.lost) << 1);
        out.put_varint(self.fence);
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        let node_id = r.u64("node id")?;
        let (drain, lost) = match r.u8("drain")? {
            0 => (false, false),
            1 => (true, false),
            3 => (true, true),
            _ => return r.fail("drain"),
        };
        Ok(Self {
            node_id,
            drain,
            lost,
            fence: r.varint("fence")?,
        })
    }

    pub(in crate::catalog) fn apply(
        self,
        m: &mut CatalogMachine,
        step: &mut Step<'_>,
    ) -> Result<Reply, Refusal> {
        m.check_fence(step, self.fence)?;
        let Some(member) = m.members.get(&self.node_id) else {
            return Err(Refusal::NoMember(self.node_id));
        };
        if member.lost && !self.drain {
            return Err(Refusal::Lost(self.node_id));
        }
        let lost = member.lost || self.lost;
        if (member.draining, member.lost) != (self.drain, lost) {
            let member = Member {
                draining: self.drain,
                lost,
                ..member.clone()
            };
            m.put_member(step, member);
        }
        Ok(Reply::Done)
    }
}
