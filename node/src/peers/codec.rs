//! openraft's messages and ids in the form that travels between nodes.

use std::collections::{BTreeMap, BTreeSet};

use openraft::impls::BasicNode;
use openraft::raft::AppendEntriesRequest;
use openraft::vote::RaftLeaderId;
use openraft::{EntryPayload, Membership};
use roadstead_core::catalog::Boot;
use roadstead_proto::v1;

use crate::raft::types::{Entry, EntryData, LeaderId, LogId, NodeId, Runtime, TypeConfig, Vote};

/// Encodes a start of a node.
pub fn boot_to_wire(boot: &Boot) -> v1::Boot {
    v1::Boot {
        first: boot.first(),
        nonces: boot.nonces().to_vec(),
    }
}

/// Decodes a start of a node; one that is absent says nothing.
pub fn boot_from_wire(boot: Option<&v1::Boot>) -> Boot {
    boot.map_or_else(Boot::default, |boot| {
        Boot::new(boot.first, boot.nonces.clone())
    })
}

type Committed = <LeaderId as RaftLeaderId>::Committed;

/// A membership as openraft has it.
pub type RaftMembership = Membership<NodeId, BasicNode>;

/// Encodes a vote.
pub fn vote_to_wire(vote: &Vote) -> v1::RaftVote {
    v1::RaftVote {
        term: vote.leader_id.term,
        node_id: vote.leader_id.node_id,
        committed: vote.committed,
    }
}

/// Decodes a vote; one that is absent is the lowest.
pub fn vote_from_wire(vote: Option<&v1::RaftVote>) -> Vote {
    let vote = vote.copied().unwrap_or_default();
    Vote {
        leader_id: LeaderId {
            term: vote.term,
            node_id: vote.node_id,
        },
        committed: vote.committed,
    }
}

/// Encodes a log id.
pub fn log_id_to_wire(id: &LogId) -> v1::RaftLogId {
    v1::RaftLogId {
        term: id.leader_id.term,
        node_id: id.leader_id.node_id,
        index: id.index,
    }
}

/// Decodes a log id.
pub fn log_id_from_wire(id: &v1::RaftLogId) -> LogId {
    let leader: Committed = LeaderId {
        term: id.term,
        node_id: id.node_id,
    };
    LogId::new(leader, id.index)
}

/// Encodes a membership.
pub fn membership_to_wire(membership: &RaftMembership) -> v1::RaftMembership {
    v1::RaftMembership {
        configs: membership
            .get_joint_config()
            .iter()
            .map(|voters| v1::RaftVoters {
                node_ids: voters.iter().copied().collect(),
            })
            .collect(),
        nodes: membership
            .nodes()
            .map(|(id, node)| (*id, node.addr.clone()))
            .collect(),
    }
}

/// Decodes a membership; the error says what contradicts itself.
pub fn membership_from_wire(wire: &v1::RaftMembership) -> Result<RaftMembership, String> {
    let configs: Vec<BTreeSet<NodeId>> = wire
        .configs
        .iter()
        .map(|voters| voters.node_ids.iter().copied().collect())
        .collect();
    let nodes: BTreeMap<NodeId, BasicNode> = wire
        .nodes
        .iter()
        .map(|(id, address)| (*id, BasicNode::new(address)))
        .collect();
    Membership::new(configs, nodes).map_err(|error| format!("membership: {error}"))
}

/// Encodes an entry; its data is shared, not copied.
pub fn entry_to_wire(entry: &Entry) -> v1::RaftEntry {
    let payload = match &entry.payload {
        EntryPayload::Blank => None,
        EntryPayload::Normal(data) => Some(v1::raft_entry::Payload::Data(data.0.clone())),
        EntryPayload::Membership(membership) => Some(v1::raft_entry::Payload::Membership(
            membership_to_wire(membership),
        )),
    };
    v1::RaftEntry {
        log_id: Some(log_id_to_wire(&entry.log_id)),
        payload,
    }
}

/// Decodes an entry; its data is shared with the frame it came in.
pub fn entry_from_wire(wire: v1::RaftEntry) -> Result<Entry, String> {
    let id = wire.log_id.as_ref().ok_or("entry without a log id")?;
    let payload = match wire.payload {
        None => EntryPayload::Blank,
        Some(v1::raft_entry::Payload::Data(data)) => EntryPayload::Normal(EntryData(data)),
        Some(v1::raft_entry::Payload::Membership(membership)) => {
            EntryPayload::Membership(membership_from_wire(&membership)?)
        }
    };
    Ok(Entry {
        log_id: log_id_from_wire(id),
        payload,
    })
}

/// Encodes an append.
pub fn append_to_wire<R: Runtime>(request: &AppendEntriesRequest<TypeConfig<R>>) -> v1::RaftAppend {
    v1::RaftAppend {
        vote: Some(vote_to_wire(&request.vote)),
        prev_log_id: request.prev_log_id.as_ref().map(log_id_to_wire),
        entries: request.entries.iter().map(entry_to_wire).collect(),
        leader_commit: request.leader_commit.as_ref().map(log_id_to_wire),
    }
}

/// Decodes an append; the error says which part is not well formed.
pub fn append_from_wire<R: Runtime>(
    wire: v1::RaftAppend,
) -> Result<AppendEntriesRequest<TypeConfig<R>>, String> {
    let entries = wire
        .entries
        .into_iter()
        .map(entry_from_wire)
        .collect::<Result<_, _>>()?;
    Ok(AppendEntriesRequest {
        vote: vote_from_wire(wire.vote.as_ref()),
        prev_log_id: wire.prev_log_id.as_ref().map(log_id_from_wire),
        entries,
        leader_commit: wire.leader_commit.as_ref().map(log_id_from_wire),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_id(term: u64, node_id: u64, index: u64) -> LogId {
        LogId::new(LeaderId { term, node_id }, index)
    }

    #[test]
    fn entries_survive_the_wire() {
        let nodes: BTreeMap<NodeId, BasicNode> =
            [(1, BasicNode::new("a:1")), (2, BasicNode::new("b:1"))].into();
        let membership =
            Membership::new(vec![[1].into(), [1, 2].into()], nodes).expect("valid membership");
        for payload in [
            EntryPayload::Blank,
            EntryPayload::Normal(EntryData(bytes::Bytes::from_static(b"data"))),
            EntryPayload::Membership(membership),
        ] {
            let entry = Entry {
                log_id: log_id(3, u64::MAX, 9),
                payload,
            };
            let back = entry_from_wire(entry_to_wire(&entry)).expect("decodes");
            assert_eq!(back.log_id, entry.log_id);
            assert_eq!(back.payload, entry.payload);
        }
    }

    #[test]
    fn what_is_not_well_formed_is_an_error() {
        assert!(entry_from_wire(v1::RaftEntry::default()).is_err());
        let stranger = v1::RaftMembership {
            configs: vec![v1::RaftVoters { node_ids: vec![7] }],
            nodes: BTreeMap::new(),
        };
        assert!(
            membership_from_wire(&stranger).is_err(),
            "a voter without an address"
        );
    }
}
