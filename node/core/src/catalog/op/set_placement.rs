//! Says where replicas shall be.

use crate::catalog::machine::{CatalogMachine, Step};
use crate::catalog::model::Placement;
use crate::catalog::reply::{Refusal, Reply};
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

    pub(in crate::catalog) fn apply(
        self,
        m: &mut CatalogMachine,
        step: &mut Step<'_>,
    ) -> Result<Reply, Refusal> {
        let bad = |why: &str| Refusal::BadPlacement {
            group: self.group,
            why: why.into(),
        };
        if !m.placements.contains_key(&self.group) {
            return Err(bad("there is no such group"));
        }
        let Placement {
            voters, learners, ..
        } = &self.placement;
        if voters.is_empty() {
            return Err(bad("it needs a voter"));
        }
        let mut all: Vec<u64> = voters.iter().chain(learners).copied().collect();
        if let Some(stranger) = all.iter().find(|node| !m.members.contains_key(node)) {
            return Err(Refusal::NoMember(*stranger));
        }
        all.sort_unstable();
        all.dedup();
        if all.len() != voters.len() + learners.len() {
            return Err(bad("a node is named twice"));
        }
        let placement = Placement {
            founding: false,
            ..self.placement
        };
        if m.placements.get(&self.group) != Some(&placement) {
            m.put_placement(step, self.group, placement);
        }
        Ok(Reply::Done)
    }
}
