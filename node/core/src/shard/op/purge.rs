//! Removes messages that are not leased.

use crate::codec::{Decoded, Put, Reader};
use crate::kv::{self, KvError};
use crate::shard::header::decode_single;
use crate::shard::id::{PartitionId, put_partition, read_partition};
use crate::shard::partition::{Partition, Shared, Step, corrupt};
use crate::shard::reply::Reply;

/// Takes the messages of a partition from every group that does not lease them; also those that are
/// retained go. At most 4,096 are looked at, the answer says where to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purge {
    /// The partition.
    pub partition: PartitionId,
    /// Where to go on; None: begin, with the messages accepted until now.
    pub from: Option<PurgeFrom>,
}

/// How far a purge has come. The caller hands it back as it got it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PurgeFrom {
    /// Messages with a sequence below this are removed.
    pub(crate) before: u64,
    /// The next delayed message to look at: due time and sequence; None: all are done.
    pub(crate) delayed: Option<(u64, u64)>,
    /// The next position to look at.
    pub(crate) position: u64,
}

impl Purge {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_partition(out, self.partition);
        let Some(from) = self.from else {
            return out.push(0);
        };
        out.push(if from.delayed.is_some() { 2 } else { 1 });
        out.put_varint(from.before);
        out.put_varint(from.position);
        if let Some((due, sequence)) = from.delayed {
            out.put_varint(due);
            out.put_varint(sequence);
        }
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        let partition = read_partition(r)?;
        let kind = r.u8("kind of purge")?;
        if kind == 0 {
            return Ok(Self {
                partition,
                from: None,
            });
        }
        let (before, position) = (r.varint("purge bound")?, r.varint("purge position")?);
        let delayed = match kind {
            1 => None,
            2 => Some((r.varint("purge due time")?, r.varint("purge sequence")?)),
            _ => return r.fail("kind of purge"),
        };
        Ok(Self {
            partition,
            from: Some(PurgeFrom {
                before,
                delayed,
                position,
            }),
        })
    }
}

/// Messages looked at per op.
const BUDGET: usize = 4_096;

impl Purge {
    pub(crate) fn apply(self, p: &mut Partition, step: &mut Step<'_>) -> Result<Reply, KvError> {
        let mut from = self.from.unwrap_or(PurgeFrom {
            before: p.state.sequence + 1,
            delayed: Some((0, 0)),
            position: 0,
        });
        let mut budget = BUDGET;
        let mut messages = 0;
        if let Some(at) = from.delayed {
            messages += purge_delayed(p, step, &mut from, at, &mut budget)?;
        }
        let mut done = false;
        if from.delayed.is_none() {
            let (removed, end) = purge_positions(p, step, &mut from, budget)?;
            messages += removed;
            done = end;
        }
        p.state.purged += messages;
        Ok(Reply::Purged {
            messages,
            next: (!done).then_some(from),
        })
    }
}

fn purge_delayed(
    p: &mut Partition,
    step: &mut Step<'_>,
    from: &mut PurgeFrom,
    (due, sequence): (u64, u64),
    budget: &mut usize,
) -> Result<u64, KvError> {
    let (start, end) = (p.keys.delayed(due, sequence), p.keys.kinds(b'e', b'e').0);
    let rows = kv::take(step.kv, &start, &end, *budget + 1)?;
    let mut messages = 0;
    for (key, value) in rows {
        let header = decode_single(&value).map_err(|e| corrupt("delayed message", p.id(), &e))?;
        if *budget == 0 {
            let rest = &key[key.len() - 16..];
            from.delayed = Some((crate::shard::keys::due(rest), header.sequence));
            return Ok(messages);
        }
        *budget -= 1;
        if header.sequence < from.before {
            p.remove_delayed(step, &key, &header);
            Shared::free(step, &header)?;
            messages += 1;
        }
    }
    from.delayed = None;
    Ok(messages)
}

fn purge_positions(
    p: &mut Partition,
    step: &mut Step<'_>,
    from: &mut PurgeFrom,
    budget: usize,
) -> Result<(u64, bool), KvError> {
    let mut messages = 0;
    // Each group is looked at.
    for _ in 0..budget.div_ceil(p.groups.len().max(1)) {
        let position = p.next_live(step.kv, from.position)?;
        from.position = position;
        if position >= p.state.tail {
            return Ok((messages, true));
        }
        from.position = position + 1;
        let header = p.header(step.kv, position)?;
        if header.sequence >= from.before {
            continue;
        }
        // What is retained goes too, but is not live.
        let was_live = !p.is_retained(step.kv, position)?;
        let taken = p.take_from_all(step, position)?;
        p.end_retained(step, position)?;
        messages += u64::from(taken && was_live);
    }
    Ok((messages, false))
}
