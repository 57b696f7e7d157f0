//! How many messages of a partition a consumer group gets in a time.
//!
//! A rate as that of what is accepted (`rate.rs`), used up by every delivery, also by one at most
//! once and by one that is not the first of its message.

use super::group::{Look, View};
use super::id::PartitionId;
use super::machine::ShardMachine;
use super::rate::Rate;
use super::stats::RateState;

impl View<'_> {
    /// So many messages were delivered at `now`, in ms.
    pub(crate) fn use_delivery_rate(&mut self, now: u64, messages: u64) {
        if let Some(rate) = Rate::new(self.setting.rate).filter(|_| messages > 0) {
            self.group.rate_until = rate.used(self.group.rate_until, now, messages);
        }
    }

    /// Its rate is another one from `now` on, in ms.
    pub(crate) fn cut_delivery_rate(&mut self, messages: u64, now: u64) {
        if let Some(rate) = Rate::new(messages) {
            self.group.rate_until = rate.cut(self.group.rate_until, now);
        }
    }
}

impl Look<'_> {
    /// Messages that its rate lets it have at `now`, in ms.
    pub(crate) fn room_in_rate(&self, now: u64) -> u64 {
        let rate = Rate::new(self.setting.rate);
        rate.map_or(u64::MAX, |rate| rate.room(self.group.rate_until, now))
    }

    /// How far its rate is used up; None: it has none.
    pub(crate) fn rate_state(&self) -> Option<RateState> {
        let rate = Rate::new(self.setting.rate)?;
        Some(RateState {
            next_at: rate.next(self.group.rate_until),
            burst: rate.messages(),
        })
    }
}

impl ShardMachine {
    /// Messages that the rate of a group lets it have at `now` (ms since 1970), and when it lets it
    /// have one, in ms since 1970; None: it has no rate, or is not here. Cheap.
    pub fn delivery_rate(
        &self,
        partition: PartitionId,
        group: u32,
        now: u64,
    ) -> Option<(u64, u64)> {
        let look = self.partition(partition)?.look(group)?;
        let state = look.rate_state()?;
        Some((look.room_in_rate(now), state.next_at))
    }
}
