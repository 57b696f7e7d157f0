//! Raft's own values as bytes: log ids, votes, memberships. Little-endian, fixed layout.

use std::collections::{BTreeMap, BTreeSet};

use openraft::Membership;
use openraft::impls::BasicNode;

use crate::raft::types::{LeaderId, LogId, NodeId, StoredMembership, Vote};

/// Bytes of an encoded log id.
pub(super) const LOG_ID_BYTES: usize = 24;

/// Takes values from the front of a byte slice; `None` once it is too short or senseless.
pub(super) struct Take<'a>(pub &'a [u8]);

impl<'a> Take<'a> {
    pub(super) fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    pub(super) fn log_id(&mut self) -> Option<LogId> {
        let leader_id = LeaderId {
            term: self.u64()?,
            node_id: self.u64()?,
        };
        Some(LogId {
            leader_id,
            index: self.u64()?,
        })
    }

    #[expect(
        clippy::option_option,
        reason = "the outer one says that the bytes are cut"
    )]
    pub(super) fn optional_log_id(&mut self) -> Option<Option<LogId>> {
        Some(if self.flag()? {
            Some(self.log_id()?)
        } else {
            None
        })
    }

    pub(super) fn vote(&mut self) -> Option<Vote> {
        let leader_id = LeaderId {
            term: self.u64()?,
            node_id: self.u64()?,
        };
        Some(Vote {
            leader_id,
            committed: self.flag()?,
        })
    }

    pub(super) fn membership(&mut self) -> Option<Membership<NodeId, BasicNode>> {
        let mut configs = Vec::new();
        for _ in 0..self.u16()? {
            let mut voters = BTreeSet::new();
            for _ in 0..self.u16()? {
                voters.insert(self.u64()?);
            }
            configs.push(voters);
        }
        let mut nodes = BTreeMap::new();
        for _ in 0..self.u16()? {
            let id = self.u64()?;
            let length = usize::from(self.u16()?);
            let address = std::str::from_utf8(self.bytes(length)?).ok()?;
            nodes.insert(id, BasicNode::new(address));
        }
        if configs.is_empty() && nodes.is_empty() {
            return Some(Membership::default());
        }
        Membership::new(configs, nodes).ok()
    }

    pub(super) fn stored_membership(&mut self) -> Option<StoredMembership> {
        let log_id = self.optional_log_id()?;
        Some(StoredMembership::new(log_id, self.membership()?))
    }
}

pub(super) fn put_log_id(out: &mut Vec<u8>, id: &LogId) {
    out.extend_from_slice(&id.leader_id.term.to_le_bytes());
    out.extend_from_slice(&id.leader_id.node_id.to_le_bytes());
    out.extend_from_slice(&id.index.to_le_bytes());
}

pub(super) fn put_optional_log_id(out: &mut Vec<u8>, id: Option<&LogId>) {
    out.push(u8::from(id.is_some()));
    if let Some(id) = id {
        put_log_id(out, id);
    }
}

pub(super) fn put_vote(out: &mut Vec<u8>, vote: &Vote) {
    out.extend_from_slice(&vote.leader_id.term.to_le_bytes());
    out.extend_from_slice(&vote.leader_id.node_id.to_le_bytes());
    out.push(u8::from(vote.committed));
}

/// At most 65,535 configs, voters and nodes, and as many bytes of an address: Raft needs a
/// handful of each, and what is beyond is left out.
pub(super) fn put_membership(out: &mut Vec<u8>, membership: &Membership<NodeId, BasicNode>) {
    let count = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
    let configs = membership.get_joint_config();
    out.extend_from_slice(&count(configs.len()).to_le_bytes());
    for voters in configs {
        out.extend_from_slice(&count(voters.len()).to_le_bytes());
        for voter in voters {
            out.extend_from_slice(&voter.to_le_bytes());
        }
    }
    let nodes: Vec<_> = membership.nodes().collect();
    out.extend_from_slice(&count(nodes.len()).to_le_bytes());
    for (id, node) in nodes {
        out.extend_from_slice(&id.to_le_bytes());
        out.extend_from_slice(&count(node.addr.len()).to_le_bytes());
        out.extend_from_slice(node.addr.as_bytes());
    }
}

pub(super) fn put_stored_membership(out: &mut Vec<u8>, stored: &StoredMembership) {
    put_optional_log_id(out, stored.log_id().as_ref());
    put_membership(out, stored.membership());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_id(term: u64, node_id: u64, index: u64) -> LogId {
        LogId {
            leader_id: LeaderId { term, node_id },
            index,
        }
    }

    #[test]
    fn values_come_back_as_they_were() {
        let mut out = Vec::new();
        put_optional_log_id(&mut out, Some(&log_id(3, 7, 11)));
        put_optional_log_id(&mut out, None);
        put_vote(&mut out, &Vote::new_committed(5, 9));
        let mut take = Take(&out);
        assert_eq!(take.optional_log_id(), Some(Some(log_id(3, 7, 11))));
        assert_eq!(take.optional_log_id(), Some(None));
        assert_eq!(take.vote(), Some(Vote::new_committed(5, 9)));
        assert_eq!(take.u8(), None);
    }

    #[test]
    fn memberships_come_back_as_they_were() {
        let nodes = BTreeMap::from([1, 2, 3, 4].map(|id| (id, BasicNode::new(format!("n{id}:1")))));
        let configs = vec![BTreeSet::from([1, 2, 3]), BTreeSet::from([2, 3])];
        let joint = Membership::new(configs, nodes).unwrap();
        for stored in [
            StoredMembership::new(Some(log_id(1, 2, 3)), joint),
            StoredMembership::default(),
        ] {
            let mut out = Vec::new();
            put_stored_membership(&mut out, &stored);
            assert_eq!(Take(&out).stored_membership(), Some(stored));
            for cut in 0..out.len() {
                assert_eq!(Take(&out[..cut]).stored_membership(), None, "cut at {cut}");
            }
        }
    }
}
