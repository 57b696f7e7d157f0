//! Moves messages to other queues, by way of the outbox.

use bytes::Bytes;

use super::send::{LoggedPayload, put_payload, read_payload};
use crate::codec::{Decoded, Put, Reader};
use crate::kv::KvError;
use crate::shard::attempts::Attempts;
use crate::shard::config::DeadLetterTarget;
use crate::shard::depart::Departure;
use crate::shard::id::{DEFAULT_GROUP, PartitionId, put_partition, read_partition};
use crate::shard::location::{Location, put_location, read_location};
use crate::shard::partition::{Partition, Step};
use crate::shard::reply::{Event, EventKind, OutboxReason, Refusal, Removal, Reply};
use crate::shard::withdraw::Withdrawn;

/// Moves per op at most.
pub const MAX_REDRIVE: usize = 1_000;

/// Moves messages that no group leases to other queues, for all groups; answered move by move.
///
/// A message keeps its id, its time of acceptance and its ordering key; of its deliveries nothing
/// goes with it. One that is only retained stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redrive {
    /// The partition that they leave.
    pub partition: PartitionId,
    /// 1..=1,000 moves, carried out in this order.
    pub moves: Vec<Move>,
}

/// One message that is to move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// Where it stands.
    pub location: Location,
    /// Where it goes. Refused, with all moves of the op, when that is the queue that it is in.
    pub to: DeadLetterTarget,
    /// What it says from now on; None: what it says.
    pub payload: Option<NewPayload>,
}

/// What a message that moves says from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPayload {
    /// Header block, opaque to the core.
    pub header: Bytes,
    /// Body.
    pub body: Bytes,
}

// Frozen: this bit is in logs. The others are reserved.
const HAS_PAYLOAD: u8 = 1;

impl Redrive {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_partition(out, self.partition);
        out.put_varint(self.moves.len() as u64);
        for one in &self.moves {
            out.push(if one.payload.is_some() {
                HAS_PAYLOAD
            } else {
                0
            });
            put_location(out, one.location);
            out.put_varint(one.to.queue);
            out.put_varint(u64::from(one.to.partitions));
            if let Some(payload) = &one.payload {
                put_payload(out, &payload.header, &payload.body);
            }
        }
    }

    /// Bytes that this op adds to an entry, at most.
    pub fn encoded_len_max(&self) -> usize {
        let new = |one: &Move| {
            let payload = one.payload.as_ref();
            payload.map_or(0, |new| new.header.len() + new.body.len() + 16)
        };
        self.moves.iter().map(|one| new(one) + 40).sum::<usize>() + 32
    }
}

/// A [`Redrive`] as logged.
#[derive(Debug)]
pub(crate) struct LoggedRedrive {
    pub(crate) partition: PartitionId,
    pub(crate) moves: Vec<LoggedMove>,
}

/// A [`Move`] as logged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LoggedMove {
    location: Location,
    to: DeadLetterTarget,
    payload: Option<LoggedPayload>,
}

impl LoggedRedrive {
    pub(super) fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        let partition = read_partition(r)?;
        let count = r.count(5, "number of moves")?;
        let mut moves = Vec::with_capacity(count);
        for _ in 0..count {
            moves.push(LoggedMove::decode(r)?);
        }
        Ok(Self { partition, moves })
    }

    pub(crate) fn apply(&self, p: &mut Partition, step: &mut Step<'_>) -> Result<Reply, KvError> {
        if self.moves.is_empty() || self.moves.len() > MAX_REDRIVE {
            return Ok(Reply::Refused(Refusal::BadCount));
        }
        if self.moves.iter().any(|one| one.to.queue == p.id().queue) {
            return Ok(Reply::Refused(Refusal::SameQueue));
        }
        let mut outcomes = Vec::with_capacity(self.moves.len());
        for one in &self.moves {
            outcomes.push(one.apply(p, step)?);
        }
        Ok(Reply::Redriven(outcomes))
    }
}

impl LoggedMove {
    fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        let flags = r.u8("move flags")?;
        if flags & !HAS_PAYLOAD != 0 {
            return r.fail("move flags");
        }
        Ok(Self {
            location: read_location(r)?,
            to: DeadLetterTarget {
                queue: r.varint("queue of move")?,
                partitions: r.varint_u32("partitions of move")?.max(1),
            },
            payload: if flags & HAS_PAYLOAD == 0 {
                None
            } else {
                Some(read_payload(r)?)
            },
        })
    }

    fn apply(&self, p: &mut Partition, step: &mut Step<'_>) -> Result<Removal, KvError> {
        let out = match p.withdraw(step, self.location, &[])? {
            Withdrawn::Out(out) => out,
            Withdrawn::Leased => return Ok(Removal::Leased),
            Withdrawn::Kept | Withdrawn::Gone => return Ok(Removal::Gone),
        };
        let departure = Departure {
            to: self.to,
            payload: self.payload.map(|new| new.at(step.index)),
            reason: OutboxReason::Redriven,
            delivery_count: out.delivery_count,
            attempts: Attempts::default(),
        };
        let target = p.depart(step, &out.removed, departure)?;
        p.state.redriven += 1;
        step.events.push(Event {
            partition: p.id(),
            group: DEFAULT_GROUP,
            message: out.removed.header.id(p.id()),
            kind: EventKind::Redriven(target),
        });
        Ok(Removal::Done)
    }
}
