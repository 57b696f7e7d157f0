//! Deletes a partition.

use crate::codec::{Decoded, Reader};
use crate::shard::id::{PartitionId, put_partition, read_partition};
use crate::shard::keys;
use crate::shard::partition::{Partition, Step};
use crate::shard::reply::{Refusal, Reply};

/// Deletes a partition with its messages: it answers to nobody from now on, its rows go with the
/// following ticks. What stands in its outbox still reaches its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DropPartition {
    /// The partition.
    pub partition: PartitionId,
    /// Refuse when it holds a message, also a leased or delayed one.
    pub only_if_empty: bool,
}

impl DropPartition {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_partition(out, self.partition);
        out.push(u8::from(self.only_if_empty));
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        let partition = read_partition(r)?;
        let only_if_empty = match r.u8("drop flags")? {
            0 => false,
            1 => true,
            _ => return r.fail("drop flags"),
        };
        Ok(Self {
            partition,
            only_if_empty,
        })
    }

    pub(crate) fn apply(self, p: &mut Partition, step: &mut Step<'_>) -> Reply {
        let messages = p.state.messages;
        if self.only_if_empty && messages > 0 {
            return Reply::Refused(Refusal::NotEmpty(messages));
        }
        p.state.dropping = true;
        p.state.due_hint = 0;
        step.kv.delete(&keys::config(p.id()));
        Reply::Dropped { messages }
    }
}
