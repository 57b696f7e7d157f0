//! What becomes of a message for which a queue has no room.

use std::ops::Range;

use super::config::DeadLetterTarget;
use super::group::View;
use super::id::DEFAULT_GROUP;
use super::keys;
use super::outbox::Lost;
use super::partition::{Partition, Step};
use super::place::Place;
use super::reply::{DeadLetterReason, Refusal};
use super::stream::Stream;
use crate::codec::{Decoded, Reader};
use crate::kv::{self, Kv, KvError};

/// What becomes of a message that would go beyond `max_messages` or `max_bytes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overflow {
    /// It is refused.
    #[default]
    Reject,
    /// It is taken, and the oldest that is ready goes for good.
    DropOldest,
    /// It is taken, and the oldest that is ready goes to the dead-letter queue; for good where
    /// there is none.
    DeadLetterOldest,
}

impl Overflow {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Reject => 0,
            Self::DropOldest => 1,
            Self::DeadLetterOldest => 2,
        }
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        match r.u8("overflow policy")? {
            0 => Ok(Self::Reject),
            1 => Ok(Self::DropOldest),
            2 => Ok(Self::DeadLetterOldest),
            _ => r.fail("overflow policy"),
        }
    }
}

/// Messages that make room for those of one op at most.
pub(crate) const DISPLACED_MAX: usize = 4_096;
/// Messages on their way to a dead-letter queue while which no more are sent there to make room:
/// what a queue may hold is bounded, also when its dead-letter queue takes nothing.
pub(crate) const LEAVING_MAX: u64 = 10_000;
/// Positions looked at for the oldest one, by all groups together.
const LOOK_MAX: usize = 256;

impl Partition {
    /// Whether `messages` more of `bytes` in all keep within the limits.
    pub(crate) fn has_room(&self, messages: u64, bytes: u64) -> Result<(), Refusal> {
        let (state, config) = (&self.state, &self.config);
        let count = state.messages.saturating_add(messages);
        if config.max_messages != 0 && count > config.max_messages {
            return Err(Refusal::MessageLimit);
        }
        if config.max_bytes != 0 && state.bytes.saturating_add(bytes) > config.max_bytes {
            return Err(Refusal::ByteLimit);
        }
        Ok(())
    }

    /// Whether there is room for one more message of `bytes`; makes it where the queue says so, by
    /// at most `budget` messages, none of a higher lane than `priority`. None goes where they would
    /// not make room enough.
    pub(crate) fn make_room(
        &mut self,
        step: &mut Step<'_>,
        (bytes, priority): (u32, u8),
        budget: &mut usize,
    ) -> Result<Result<(), Refusal>, KvError> {
        let bytes = u64::from(bytes);
        let Err(full) = self.has_room(1, bytes) else {
            return Ok(Ok(()));
        };
        let alone_too_large = self.config.max_bytes != 0 && bytes > self.config.max_bytes;
        if alone_too_large || self.config.overflow == Overflow::Reject {
            return Ok(Err(full));
        }
        let Some(displaced) = self.who_makes_room(step, (bytes, priority), *budget)? else {
            return Ok(Err(full));
        };
        *budget -= displaced.len();
        for position in displaced {
            self.displace(step, position)?;
        }
        Ok(self.has_room(1, bytes))
    }

    /// The oldest messages of the lowest lanes that make room for one of `bytes`; None: there are
    /// not enough.
    fn who_makes_room(
        &mut self,
        step: &Step<'_>,
        (bytes, priority): (u64, u8),
        budget: usize,
    ) -> Result<Option<Vec<u64>>, KvError> {
        let (mut messages, mut total) = (self.state.messages, self.state.bytes);
        let (mut displaced, mut after, mut lane) = (Vec::new(), 0, 0);
        loop {
            let (most, most_bytes) = (self.config.max_messages, self.config.max_bytes);
            let fits = (most == 0 || messages < most)
                && (most_bytes == 0 || total.saturating_add(bytes) <= most_bytes);
            if fits {
                return Ok(Some(displaced));
            }
            if displaced.len() == budget || !self.may_displace(displaced.len()) {
                return Ok(None);
            }
            let Some(position) = self.oldest_ready(step, (lane, after))? else {
                if lane >= priority || self.lines.is_empty() {
                    return Ok(None);
                }
                (lane, after) = (lane + 1, 0);
                continue;
            };
            let header = self.header(step.kv, position)?;
            messages -= 1;
            total = total.saturating_sub(u64::from(header.payload.len));
            displaced.push(position);
            after = position + 1;
        }
    }

    /// Whether one more may go beside `others`.
    fn may_displace(&self, others: usize) -> bool {
        let leaving = |to: DeadLetterTarget| self.outbox_pending_to(to.queue) + others as u64;
        match (self.config.overflow, self.config.dead_letter) {
            (Overflow::Reject, _) => false,
            (Overflow::DeadLetterOldest, Some(to)) => leaving(to) < LEAVING_MAX,
            (Overflow::DropOldest | Overflow::DeadLetterOldest, _) => true,
        }
    }

    /// Position, from `after` on, of the oldest live message of a lane that is receivable for all
    /// groups that need it, or would be if none of its key stood before it. It is among the first
    /// of some group.
    fn oldest_ready(
        &mut self,
        step: &Step<'_>,
        (lane, after): (u8, u64),
    ) -> Result<Option<u64>, KvError> {
        let kv: &dyn Kv = &*step.kv;
        let groups: Vec<u32> = self.groups.keys().copied().collect();
        let mut places = Vec::new();
        for group in groups {
            let Some(look) = self.look(group) else {
                continue;
            };
            let streams: Vec<_> = look
                .ready_in(lane, Stream::BASE)
                .map(|(stream, _)| stream)
                .collect();
            let both = |stream| [true, false].map(|came_back| (group, stream, came_back));
            places.extend(streams.into_iter().flat_map(both));
        }
        let looks = (2 * LOOK_MAX / places.len().max(1)).max(1);
        let mut oldest = None;
        for place in places {
            let mut from = after;
            for _ in 0..looks {
                let before = oldest.unwrap_or(u64::MAX);
                let next = self.next_ready(kv, place, from..before)?;
                let Some(position) = next else { break };
                if self.may_be_displaced(step, position)? {
                    oldest = Some(position);
                    break;
                }
                from = position + 1;
            }
        }
        Ok(oldest)
    }

    /// The first position of a range that came back to a group, or that waits for it, in a stream.
    fn next_ready(
        &mut self,
        kv: &dyn Kv,
        (group, stream, came_back): (u32, Stream, bool),
        range: Range<u64>,
    ) -> Result<Option<u64>, KvError> {
        let Some(slot) = self.groups.get_mut(&group) else {
            return Ok(None);
        };
        let mut view = View::new(&mut self.shared, slot);
        if came_back {
            if view.look().returned_in(stream) == 0 {
                return Ok(None);
            }
            let (from, end) = (
                view.keys.returned(stream, range.start),
                view.keys.returned(stream, range.end),
            );
            return Ok(kv::first(kv, &from, &end)?.map(|(key, _)| keys::tail(&key)));
        }
        let from = range.start.max(view.look().spot(stream).cursor);
        if view.look().waiting_in(stream) == 0 || from >= range.end {
            return Ok(None);
        }
        let position = view.next_open(kv, stream, from)?;
        Ok(Some(position).filter(|it| *it < range.end.min(view.state.tail)))
    }

    fn may_be_displaced(&mut self, step: &Step<'_>, position: u64) -> Result<bool, KvError> {
        let kv: &dyn Kv = &*step.kv;
        // In strict order what is delayed has its place in line already.
        if self.header(kv, position)?.due > step.now || self.is_retained(kv, position)? {
            return Ok(false);
        }
        let free = self.let_go(kv, position, &mut |_, place| {
            let ready = matches!(place, Place::Waiting | Place::Ahead | Place::Returned(_));
            Ok(ready)
        })?;
        Ok(free == Some(true))
    }

    /// A message goes for all groups; the default one counts it.
    fn displace(&mut self, step: &mut Step<'_>, position: u64) -> Result<(), KvError> {
        let out = self.take_out(step, position, &[])?;
        let lost = Lost {
            reason: DeadLetterReason::Overflow,
            delivery_count: out.delivery_count,
            attempts: out.attempts,
        };
        match self.view(DEFAULT_GROUP) {
            Some(mut view) => view.lose(step, &out.removed, lost),
            None => out.removed.free(step),
        }
    }
}
