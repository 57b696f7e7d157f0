//! What becomes of a message for which a queue has no room.

use super::delivery::Returned;
use super::group::View;
use super::id::DEFAULT_GROUP;
use super::keys;
use super::outbox::Failed;
use super::partition::{Partition, Step};
use super::place::Place;
use super::reply::{DeadLetterReason, Refusal};
use crate::codec::{Decoded, Reader};
use crate::kv::KvError;

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
/// Positions looked at for the oldest one that waits.
const LOOK_MAX: usize = 64;

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
            let Some(mut view) = self.view(DEFAULT_GROUP) else {
                return Ok(Err(full));
            };
            let Some((position, place)) = view.oldest_ready(step)? else {
                return Ok(Err(full));
            };
            view.displace(step, position, place)?;
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
}

impl View<'_> {
    /// The oldest message that is receivable, or would be if none of its key stood before it.
    fn oldest_ready(&mut self, step: &Step<'_>) -> Result<Option<(u64, Place)>, KvError> {
        let mut oldest = None;
        if let Some((key, row)) = self.look().rows(step.kv, b'r', 1)?.pop() {
            let back = Returned::decode(&row);
            let back =
                back.map_err(|e| super::partition::corrupt("returned message", self.id(), &e))?;
            oldest = Some((keys::tail(&key), Place::Returned(back)));
        }
        let mut from = self.group.cursor;
        for _ in 0..LOOK_MAX {
            let position = self.next_live(step.kv, from)?;
            let Some(header) = self.live(step.kv, position)? else {
                break;
            };
            if oldest.is_some_and(|(back, _)| back < position) {
                break;
            }
            if self.look().place(step.kv, position, &header)? == Place::Waiting {
                return Ok(Some((position, Place::Waiting)));
            }
            from = position + 1;
        }
        Ok(oldest)
    }

    fn displace(
        &mut self,
        step: &mut Step<'_>,
        position: u64,
        place: Place,
    ) -> Result<(), KvError> {
        let back = self.leave_place(step, position, place);
        let failed = Failed {
            position,
            back,
            reason: DeadLetterReason::Overflow,
            error: None,
        };
        self.fail(step, &failed)
    }
}
