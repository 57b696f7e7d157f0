//! What the catalog can be told to do: one file per op.

mod add_member;
mod bootstrap;
mod create_queue;
mod delete_queue;
mod drain_member;
mod finalize_version;
mod finish_delete;
mod remove_member;
mod set_placement;
mod set_quota;
mod update_member;
mod update_queue;

pub use add_member::AddMember;
pub use bootstrap::Bootstrap;
pub use create_queue::CreateQueue;
pub use delete_queue::DeleteQueue;
pub use drain_member::DrainMember;
pub use finalize_version::FinalizeVersion;
pub use finish_delete::FinishDelete;
pub use remove_member::RemoveMember;
pub use set_placement::SetPlacement;
pub use set_quota::SetQuota;
pub use update_member::UpdateMember;
pub use update_queue::UpdateQueue;

use crate::codec::{Decoded, Reader};

/// One operation of an entry of the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Founds the cluster.
    Bootstrap(Bootstrap),
    /// Lets a node join.
    AddMember(AddMember),
    /// A member introduces itself anew.
    UpdateMember(UpdateMember),
    /// Drains a member, or takes that back.
    DrainMember(DrainMember),
    /// Removes a member that holds no replica.
    RemoveMember(RemoveMember),
    /// Creates a queue.
    CreateQueue(CreateQueue),
    /// Changes a queue.
    UpdateQueue(UpdateQueue),
    /// Begins to delete a queue.
    DeleteQueue(DeleteQueue),
    /// Forgets a queue whose partitions are gone.
    FinishDelete(FinishDelete),
    /// Says where the replicas of a group shall be.
    SetPlacement(SetPlacement),
    /// Raises the command version.
    FinalizeVersion(FinalizeVersion),
    /// Sets the quota of a namespace, or takes it away.
    SetQuota(SetQuota),
}

// Frozen: these bytes are in logs.
const BOOTSTRAP: u8 = 1;
const ADD_MEMBER: u8 = 2;
const UPDATE_MEMBER: u8 = 3;
const DRAIN_MEMBER: u8 = 4;
const REMOVE_MEMBER: u8 = 5;
const CREATE_QUEUE: u8 = 6;
const UPDATE_QUEUE: u8 = 7;
const DELETE_QUEUE: u8 = 8;
const FINISH_DELETE: u8 = 9;
const SET_PLACEMENT: u8 = 10;
const FINALIZE_VERSION: u8 = 11;
const SET_QUOTA: u8 = 12;

impl Op {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Bootstrap(op) => op.encode(tag(out, BOOTSTRAP)),
            Self::AddMember(op) => op.encode(tag(out, ADD_MEMBER)),
            Self::UpdateMember(op) => op.encode(tag(out, UPDATE_MEMBER)),
            Self::DrainMember(op) => op.encode(tag(out, DRAIN_MEMBER)),
            Self::RemoveMember(op) => op.encode(tag(out, REMOVE_MEMBER)),
            Self::CreateQueue(op) => op.encode(tag(out, CREATE_QUEUE)),
            Self::UpdateQueue(op) => op.encode(tag(out, UPDATE_QUEUE)),
            Self::DeleteQueue(op) => op.encode(tag(out, DELETE_QUEUE)),
            Self::FinishDelete(op) => op.encode(tag(out, FINISH_DELETE)),
            Self::SetPlacement(op) => op.encode(tag(out, SET_PLACEMENT)),
            Self::FinalizeVersion(op) => op.encode(tag(out, FINALIZE_VERSION)),
            Self::SetQuota(op) => op.encode(tag(out, SET_QUOTA)),
        }
    }

    pub(crate) fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        Ok(match r.u8("kind of op")? {
            BOOTSTRAP => Self::Bootstrap(Bootstrap::decode(r)?),
            ADD_MEMBER => Self::AddMember(AddMember::decode(r)?),
            UPDATE_MEMBER => Self::UpdateMember(UpdateMember::decode(r)?),
            DRAIN_MEMBER => Self::DrainMember(DrainMember::decode(r)?),
            REMOVE_MEMBER => Self::RemoveMember(RemoveMember::decode(r)?),
            CREATE_QUEUE => Self::CreateQueue(CreateQueue::decode(r)?),
            UPDATE_QUEUE => Self::UpdateQueue(UpdateQueue::decode(r)?),
            DELETE_QUEUE => Self::DeleteQueue(DeleteQueue::decode(r)?),
            FINISH_DELETE => Self::FinishDelete(FinishDelete::decode(r)?),
            SET_PLACEMENT => Self::SetPlacement(SetPlacement::decode(r)?),
            FINALIZE_VERSION => Self::FinalizeVersion(FinalizeVersion::decode(r)?),
            SET_QUOTA => Self::SetQuota(SetQuota::decode(r)?),
            _ => return r.fail("kind of op (a newer binary wrote it?)"),
        })
    }
}

fn tag(out: &mut Vec<u8>, kind: u8) -> &mut Vec<u8> {
    out.push(kind);
    out
}
