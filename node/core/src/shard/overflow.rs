//! What becomes of a message for which a queue has no room.

use std::ops::Range;

use super::group::View;
use super::id::DEFAULT_GROUP;
use super::keys;
use super::outbox::Lost;
use super::partition::{Partition, Step};
use super::place::Place;
use super::reply::{DeadLetterReason, Refusal};
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

/// Messages that make room for one message at most.
pub(crate) const DISPLACED_MAX: usize = 1_000;
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

    /// Whether there is room for one more message of `bytes`; makes it where the queue says so.
    pub(crate) fn make_room(
        &mut self,
        step: &mut Step<'_>,
        bytes: u32,
    ) -> Result<Result<(), Refusal>, KvError> {
        let bytes = u64::from(bytes);
        let alone_too_large = self.config.max_bytes != 0 && bytes > self.config.max_bytes;
        for _ in 0..DISPLACED_MAX {
            let Err(full) = self.has_room(1, bytes) else {
                return Ok(Ok(()));
            };
            if alone_too_large || !self.may_displace() {
                return Ok(Err(full));
            }
            let Some(position) = self.oldest_ready(step.kv)? else {
                return Ok(Err(full));
            };
            self.displace(step, position)?;
        }
        Ok(self.has_room(1, bytes))
    }

    fn may_displace(&self) -> bool {
        match self.config.overflow {
            Overflow::Reject => false,
            Overflow::DropOldest => true,
            Overflow::DeadLetterOldest => self.outbox_pending() < LEAVING_MAX,
        }
    }

    /// Position of the oldest live message that is receivable for all groups that need it, or
    /// would be if none of its key stood before it. It is among the first of some group.
    fn oldest_ready(&mut self, kv: &dyn Kv) -> Result<Option<u64>, KvError> {
        let groups: Vec<u32> = self.groups.keys().copied().collect();
        let looks = (LOOK_MAX / groups.len().max(1)).max(1);
        let mut oldest = None;
        for group in groups {
            for came_back in [true, false] {
                let mut from = 0;
                for _ in 0..looks {
                    let before = oldest.unwrap_or(u64::MAX);
                    let next = self.next_ready(kv, group, came_back, from..before)?;
                    let Some(position) = next else { break };
                    if self.may_be_displaced(kv, position)? {
                        oldest = Some(position);
                        break;
                    }
                    from = position + 1;
                }
            }
        }
        Ok(oldest)
    }

    /// The first position of a range that came back to a group, or that waits for it.
    fn next_ready(
        &mut self,
        kv: &dyn Kv,
        group: u32,
        came_back: bool,
        range: Range<u64>,
    ) -> Result<Option<u64>, KvError> {
        let Some(slot) = self.groups.get_mut(&group) else {
            return Ok(None);
        };
        let mut view = View::new(&mut self.shared, slot);
        if came_back {
            if view.group.returned == 0 {
                return Ok(None);
            }
            let (from, end) = (
                view.keys.returned(range.start),
                view.keys.returned(range.end),
            );
            return Ok(kv::first(kv, &from, &end)?.map(|(key, _)| keys::tail(&key)));
        }
        let from = range.start.max(view.group.cursor);
        if view.look().waiting() == 0 || from >= range.end {
            return Ok(None);
        }
        let position = view.next_open(kv, from)?;
        Ok(Some(position).filter(|it| *it < range.end.min(view.state.tail)))
    }

    fn may_be_displaced(&mut self, kv: &dyn Kv, position: u64) -> Result<bool, KvError> {
        if self.is_retained(kv, position)? {
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
        let out = self.take_out(step, position, None)?;
        let lost = Lost {
            reason: DeadLetterReason::Overflow,
            delivery_count: out.delivery_count,
            error: out.error,
        };
        match self.view(DEFAULT_GROUP) {
            Some(mut view) => view.lose(step, &out.removed, lost),
            None => out.removed.free(step),
        }
    }
}
