//! Walks through all messages of a partition that a group has not settled, a bounded piece at a
//! time, changing nothing.
//!
//! First come the positions that there were when the walk began, then the delayed messages, then
//! the positions of those that fell due meanwhile. So what is there from the beginning to the end
//! of a walk is met; one that falls due in between may be met twice; what came later is not met.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::config::Ordering;
use super::group::Look;
use super::header::{BLOCK, Header, decode_single};
use super::id::PartitionId;
use super::keys::{self, Keys};
use super::leased::Leased;
use super::location::Location;
use super::machine::ShardMachine;
use super::partition::{Shared, corrupt};
use super::peeked::{Browsed, MessageState, Peeked};
use super::place::Place;
use crate::codec::{DecodeError, Decoded, Put, Reader};
use crate::kv::{self, Kv, KvError};

/// How far a walk has come. Opaque to the caller, who hands it back as it got it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrowseFrom {
    stage: Stage,
    /// Messages with this sequence or a higher one came after the walk began.
    before: u64,
    /// Where the positions of this stage end; of delayed ones, where those of the first did.
    end: u64,
    /// The next position to look at.
    position: u64,
    /// Due time and sequence of the next delayed message to look at.
    delayed: (u64, u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Positions,
    Delayed,
    FallenDue,
}

const VERSION: u8 = 1;

impl BrowseFrom {
    /// The opaque form.
    pub fn encode(&self) -> Vec<u8> {
        let stage = match self.stage {
            Stage::Positions => 0,
            Stage::Delayed => 1,
            Stage::FallenDue => 2,
        };
        let mut out = vec![VERSION, stage];
        let (due, sequence) = self.delayed;
        for number in [self.before, self.end, self.position, due, sequence] {
            out.put_varint(number);
        }
        out
    }

    /// Reads the opaque form.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        r.version(VERSION, "version of a walk")?;
        let stage = Self::stage(&mut r)?;
        let from = Self {
            stage,
            before: r.varint("end of a walk")?,
            end: r.varint("last position of a walk")?,
            position: r.varint("position of a walk")?,
            delayed: (r.varint("due time of a walk")?, r.varint("sequence")?),
        };
        r.finish("end of a walk's form")?;
        Ok(from)
    }

    fn stage(r: &mut Reader<'_>) -> Decoded<Stage> {
        Ok(match r.u8("stage of a walk")? {
            0 => Stage::Positions,
            1 => Stage::Delayed,
            2 => Stage::FallenDue,
            _ => return r.fail("stage of a walk"),
        })
    }

    /// The same walk, behind a message of the piece that began here.
    #[must_use]
    pub fn behind(mut self, location: Location) -> Self {
        match location {
            Location::Position(position) => self.position = position.saturating_add(1),
            Location::Delayed { due, sequence } => {
                self.delayed = (due, sequence.saturating_add(1));
            }
        }
        self
    }
}

impl ShardMachine {
    /// A piece of a walk through what a group has not settled: at most `max` (at least 1) messages
    /// are looked at for it. It may hold none and yet not be the last one. `from` is None to
    /// begin. A partition or a group that is not here has no messages.
    pub fn browse(
        &self,
        kv: &dyn Kv,
        (partition, group): (PartitionId, u32),
        from: Option<BrowseFrom>,
        max: usize,
    ) -> Result<Browsed, KvError> {
        let look = self.partition(partition).and_then(|p| p.look(group));
        let Some(p) = look else {
            return Ok(Browsed::default());
        };
        let walk = Walk {
            p,
            kv,
            now: self.time(),
            leased: None,
            found: Vec::new(),
        };
        walk.run(from.unwrap_or_else(|| p.begin()), max.max(1))
    }

    /// Where a walk begins that is to meet what has this sequence or a higher one, and little else
    /// before it. None where the partition is not here.
    pub fn browse_from(
        &self,
        kv: &dyn Kv,
        partition: PartitionId,
        sequence: u64,
    ) -> Result<Option<BrowseFrom>, KvError> {
        let Some(p) = self.partition(partition) else {
            return Ok(None);
        };
        let block = p.first_block(kv, &|block| {
            let mut headers = block.headers.iter().rev();
            let in_order = headers.find(|header| !header.loose);
            in_order.map(|header| header.sequence >= sequence)
        })?;
        // At the end of the block before it there may be some that were delayed.
        let position = block.saturating_sub(1) * BLOCK;
        Ok(Some(BrowseFrom {
            position,
            ..p.begin()
        }))
    }
}

impl Shared {
    fn begin(&self) -> BrowseFrom {
        BrowseFrom {
            stage: Stage::Positions,
            before: self.state.sequence.saturating_add(1),
            end: self.state.tail,
            position: 0,
            delayed: (0, 0),
        }
    }
}

/// One piece of a walk.
struct Walk<'a> {
    p: Look<'a>,
    kv: &'a dyn Kv,
    now: u64,
    leased: Option<BTreeMap<u64, Leased>>,
    found: Vec<Peeked>,
}

impl Walk<'_> {
    /// Goes through one stage, or a part of it.
    fn run(mut self, from: BrowseFrom, max: usize) -> Result<Browsed, KvError> {
        let mut next = from;
        match from.stage {
            Stage::Positions | Stage::FallenDue => {
                self.positions(&mut next, max)?;
                if next.position >= next.end {
                    next.stage = Stage::Delayed;
                }
            }
            Stage::Delayed => {
                if self.delayed(&mut next, max)? < max {
                    next.stage = Stage::FallenDue;
                    next.position = next.end;
                    next.end = self.p.state.tail;
                }
            }
        }
        let over = from.stage == Stage::FallenDue && next.stage != from.stage;
        Ok(Browsed {
            messages: self.found,
            from: Some(from),
            next: (!over).then_some(next),
        })
    }

    /// Looks at positions: at most `max` that are not settled, in at most `max` blocks.
    fn positions(&mut self, from: &mut BrowseFrom, max: usize) -> Result<(), KvError> {
        let (p, kv, end) = (self.p, self.kv, from.end);
        let (mut open, mut blocks) = (Vec::new(), 0);
        let (mut next, mut broken) = (end, Ok(()));
        p.visit_blocks(kv, from.position / BLOCK, &mut |number, block| {
            let first = number * BLOCK;
            if first >= end || blocks == max {
                next = first.min(end);
                return ControlFlow::Break(());
            }
            blocks += 1;
            let settled = p.settled(kv, (number, block)).unwrap_or_else(|error| {
                broken = Err(error);
                u64::MAX
            });
            for place in from.position.saturating_sub(first)..BLOCK.min(end - first) {
                let is_open = settled >> place & 1 == 0;
                let Some(header) = block.live(place).filter(|_| is_open) else {
                    continue;
                };
                if open.len() == max {
                    next = first + place;
                    return ControlFlow::Break(());
                }
                open.push((first + place, header, block.is_retained(place)));
            }
            ControlFlow::Continue(())
        })?;
        broken?;
        from.position = next;
        for (position, header, is_retained) in open {
            if header.sequence < from.before {
                let peeked = self.at(position, &header)?;
                let expires_at = peeked.expires_at.filter(|_| !is_retained);
                self.found.push(Peeked {
                    expires_at,
                    ..peeked
                });
            }
        }
        Ok(())
    }

    /// Looks at delayed messages, at most `max`. How many it looked at.
    fn delayed(&mut self, from: &mut BrowseFrom, max: usize) -> Result<usize, KvError> {
        let (due, sequence) = from.delayed;
        let start = self.p.keys.delayed(due, sequence);
        let (_, end) = self.p.keys.kinds(b'd', b'd' + 1);
        let rows = kv::take(self.kv, &start, &end, max)?;
        for (key, value) in &rows {
            let header = decode_single(value);
            let header = header.map_err(|e| corrupt("delayed message", self.p.id(), &e))?;
            let due = Keys::split(key).map_or(0, |(_, rest)| keys::due(rest));
            from.delayed = (due, header.sequence.saturating_add(1));
            if header.sequence < from.before {
                let ready = Header { due, ..header };
                self.found.push(Peeked {
                    location: Location::Delayed {
                        due,
                        sequence: header.sequence,
                    },
                    due: Some(due),
                    ..self.peeked(&ready, 0, MessageState::Delayed)
                });
            }
        }
        Ok(rows.len())
    }

    fn at(&mut self, position: u64, header: &Header) -> Result<Peeked, KvError> {
        let p = self.p;
        let place = p.place(self.kv, position, header)?;
        let waits = p.config.ordering == Ordering::Strict && p.group.engaged != 0;
        let mut due = header.due;
        let (mut failed, mut leased) = (0, None);
        let state = match place {
            Place::Waiting if waits => MessageState::Blocked,
            Place::Waiting | Place::Ahead => MessageState::Ready,
            Place::Early => MessageState::Delayed,
            Place::Blocked => MessageState::Blocked,
            Place::Returned(back) => {
                failed = back.delivery_count;
                MessageState::Ready
            }
            Place::BackingOff(back) => {
                (due, failed) = (back.due, back.delivery_count);
                MessageState::Delayed
            }
            Place::Leased => {
                let all = match self.leased.take() {
                    Some(all) => all,
                    None => p.leased(self.kv)?,
                };
                leased = all.get(&position).copied().or(Some(Leased::default()));
                failed = leased.map_or(0, |leased| leased.failed);
                self.leased = Some(all);
                MessageState::InFlight
            }
        };
        let before = p.attempts(self.kv, position, failed)?;
        let last = leased.map_or(before.last_delivered_at(), |leased| leased.at);
        let first = if failed == 0 {
            last
        } else {
            before.first_delivered_at
        };
        let delivery_count = failed + u32::from(leased.is_some());
        Ok(Peeked {
            location: Location::Position(position),
            due: Some(due).filter(|due| *due > self.now),
            first_delivered_at: first,
            last_delivered_at: last,
            ..self.peeked(header, delivery_count, state)
        })
    }

    fn peeked(&self, header: &Header, delivery_count: u32, state: MessageState) -> Peeked {
        Peeked {
            id: header.id(self.p.id()),
            sequence: header.sequence,
            location: Location::Position(0),
            key: Some(header.key).filter(|key| *key != 0),
            priority: header.priority,
            tenant: Some(header.tenant).filter(|tenant| *tenant != 0),
            payload: header.payload,
            enqueued_at: header.enqueued_at,
            expires_at: self.p.expiry(header),
            due: None,
            delivery_count,
            first_delivered_at: 0,
            last_delivered_at: 0,
            state,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_comes_back_and_its_bytes_are_frozen() {
        let from = BrowseFrom {
            stage: Stage::Delayed,
            before: 300,
            end: 5,
            position: 5,
            delayed: (7, 8),
        };
        let bytes = from.encode();
        assert_eq!(bytes, [1, 1, 0xac, 2, 5, 5, 7, 8]);
        assert_eq!(BrowseFrom::decode(&bytes), Ok(from));
        for wrong in [&bytes[..7], &[1, 3, 0, 0, 0, 0, 0], &[2, 0, 0, 0, 0, 0, 0]] {
            assert!(BrowseFrom::decode(wrong).is_err(), "{wrong:?}");
        }
    }
}
