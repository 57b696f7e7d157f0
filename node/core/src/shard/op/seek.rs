//! Lets a group begin elsewhere.

use crate::codec::{Decoded, Put, Reader};
use crate::kv::KvError;
use crate::shard::id::{PartitionId, put_partition, read_partition};
use crate::shard::partition::{Partition, Step};
use crate::shard::reply::{Refusal, Reply};

/// Lets a group of a partition begin with another message: what is still there from it on, live or
/// retained, is delivered to the group again as if for the first time, and what is before it counts
/// as settled by it. Its leases end, and its receipts are stale.
///
/// Where there is much to look at it goes on with the ticks; the group gets no deliveries until it
/// is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seek {
    /// The partition.
    pub partition: PartitionId,
    /// The group.
    pub group: u32,
    /// With which message it begins.
    pub to: SeekTo,
}

/// With which message a group begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeekTo {
    /// The first one that is still there.
    Beginning,
    /// The next one that gets its place in line.
    End,
    /// The first one with this sequence or a higher one, of those that were not delayed: a delayed
    /// message stands in line where it fell due.
    Sequence(u64),
    /// The first one that got its place in line at this time or later, in ms since 1970.
    Time(u64),
}

// Frozen: these bytes are in logs.
const BEGINNING: u8 = 0;
const END: u8 = 1;
const SEQUENCE: u8 = 2;
const TIME: u8 = 3;

impl Seek {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_partition(out, self.partition);
        out.put_varint(u64::from(self.group));
        match self.to {
            SeekTo::Beginning => out.push(BEGINNING),
            SeekTo::End => out.push(END),
            SeekTo::Sequence(sequence) => {
                out.push(SEQUENCE);
                out.put_varint(sequence);
            }
            SeekTo::Time(time) => {
                out.push(TIME);
                out.put_varint(time);
            }
        }
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Self {
            partition: read_partition(r)?,
            group: r.varint_u32("seek group")?,
            to: match r.u8("kind of seek")? {
                BEGINNING => SeekTo::Beginning,
                END => SeekTo::End,
                SEQUENCE => SeekTo::Sequence(r.varint("seek sequence")?),
                TIME => SeekTo::Time(r.varint("seek time")?),
                _ => return r.fail("kind of seek"),
            },
        })
    }

    pub(crate) fn apply(self, p: &mut Partition, step: &mut Step<'_>) -> Result<Reply, KvError> {
        if p.look(self.group).is_none() {
            return Ok(Reply::Refused(Refusal::NoGroup));
        }
        p.flush(step.kv);
        let position = p.position_of(step.kv, self.to)?;
        p.seek(step, self.group, position)?;
        let messages = p.look(self.group).map_or(0, |look| look.waiting());
        let done = !p.walking.contains(&self.group);
        Ok(Reply::Sought { messages, done })
    }
}
