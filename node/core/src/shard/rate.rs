//! How many messages a partition accepts from producers in a time, and what a rate is.
//!
//! Each message uses the rate up for as long as one message may take, one after another. What is
//! used up may reach ahead of the present time by the messages of one second, at least one: this
//! is the burst. So in any time t no more come than rate * t and the burst.

use super::id::PartitionId;
use super::machine::ShardMachine;
use super::partition::Shared;
use super::reply::Refusal;

const NS_PER_MS: u64 = 1_000_000;
const NS_PER_SECOND: u64 = 1_000_000_000;

/// A rate in ns. `until` is when it is used up until, in ns since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    /// How long a message uses it up, rounded up.
    message: u64,
    /// How far ahead it may be used up.
    burst: u64,
}

impl Rate {
    /// Of messages per 1,000 s; None: there is no limit.
    pub(crate) fn new(messages: u64) -> Option<Self> {
        let message = (messages != 0).then(|| (1_000 * NS_PER_SECOND).div_ceil(messages))?;
        Some(Self {
            message,
            burst: message.saturating_mul((messages / 1_000).max(1)),
        })
    }

    /// Messages of a burst.
    pub(crate) fn messages(self) -> u64 {
        self.burst / self.message
    }

    /// Until when it is used up after some more messages, in ns, and until when it may be.
    fn after(self, until: u64, now_ms: u64, messages: u64) -> (u64, u64) {
        let now = now_ms.saturating_mul(NS_PER_MS);
        let most = now.saturating_add(self.burst);
        (
            until
                .max(now)
                .saturating_add(self.message.saturating_mul(messages)),
            most,
        )
    }

    /// Until when it is used up after some more messages at `now`, in ms.
    pub(crate) fn used(self, until: u64, now: u64, messages: u64) -> u64 {
        self.after(until, now, messages).0
    }

    /// Messages that may come at `now`, in ms.
    pub(crate) fn room(self, until: u64, now: u64) -> u64 {
        let (until, most) = self.after(until, now, 0);
        most.saturating_sub(until) / self.message
    }

    /// How long it takes from `now` on until so many messages may come; both in ms.
    pub(crate) fn wait(self, until: u64, now: u64, messages: u64) -> u64 {
        let (until, most) = self.after(until, now, messages);
        until.saturating_sub(most).div_ceil(NS_PER_MS)
    }

    /// When one message may come, in ms since 1970.
    pub(crate) fn next(self, until: u64) -> u64 {
        let ahead = self.burst - self.message;
        until.saturating_sub(ahead).div_ceil(NS_PER_MS)
    }

    /// What was used up of another rate, as it weighs at `now`, in ms: no more than a burst.
    pub(crate) fn cut(self, until: u64, now: u64) -> u64 {
        until.min(now.saturating_mul(NS_PER_MS).saturating_add(self.burst))
    }
}

impl Shared {
    /// Messages that may come at once after a rest; None: any number.
    pub(crate) fn burst(&self) -> Option<u64> {
        Rate::new(self.config.rate).map(Rate::messages)
    }

    /// Whether so many more messages may come at `now`, in ms.
    pub(crate) fn has_rate_for(&self, messages: u64, now: u64) -> Result<(), Refusal> {
        if self.rate_wait(messages, now) == 0 {
            Ok(())
        } else {
            Err(Refusal::RateLimit)
        }
    }

    /// A message has come at `now`, in ms.
    pub(crate) fn use_rate(&mut self, now: u64) {
        if let Some(rate) = Rate::new(self.config.rate) {
            self.state.rate_until = rate.used(self.state.rate_until, now, 1);
        }
    }

    /// The rate has changed: of one that was lower it may be used up farther ahead than a burst.
    pub(crate) fn cut_rate(&mut self, now: u64) {
        if let Some(rate) = Rate::new(self.config.rate) {
            self.state.rate_until = rate.cut(self.state.rate_until, now);
        }
    }

    /// How long it takes until so many messages may come, in ms.
    fn rate_wait(&self, messages: u64, now: u64) -> u64 {
        Rate::new(self.config.rate)
            .map_or(0, |rate| rate.wait(self.state.rate_until, now, messages))
    }
}

impl ShardMachine {
    /// How long a producer should wait until so many messages may come, with others ahead of them
    /// that are to come first, in ms from `now` on (ms since 1970); 0: they may come. Of more than
    /// a burst: until a burst may come. Cheap.
    pub fn rate_wait_ms(
        &self,
        partition: PartitionId,
        (ahead, messages): (u64, u64),
        now: u64,
    ) -> u64 {
        self.partition(partition).map_or(0, |p| {
            let fit = p.burst().map_or(0, |most| messages.min(most));
            p.rate_wait(ahead.saturating_add(fit), now)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_what_comes_in_a_second_and_at_least_one_message() {
        let of = |message, burst| Some(Rate { message, burst });
        assert_eq!(Rate::new(0), None);
        assert_eq!(Rate::new(3_000), of(333_333_334, 1_000_000_002));
        assert_eq!(Rate::new(1_500), of(666_666_667, 666_666_667));
        assert_eq!(
            Rate::new(1),
            of(1_000 * NS_PER_SECOND, 1_000 * NS_PER_SECOND)
        );
        assert_eq!(Rate::new(10_000_000_000), of(100, NS_PER_SECOND));
        assert_eq!(Rate::new(u64::MAX), of(1, u64::MAX / 1_000));
    }

    #[test]
    fn times_and_numbers_that_are_too_high_do_no_harm() {
        let rate = Rate::new(1).expect("a limit");
        assert_eq!(rate.after(0, u64::MAX, u64::MAX), (u64::MAX, u64::MAX));
        assert_eq!(rate.used(u64::MAX, 0, 1), u64::MAX);
        assert_eq!(rate.room(u64::MAX, 0), 0);
        assert_eq!(rate.cut(u64::MAX, u64::MAX), u64::MAX);
    }

    #[test]
    fn there_is_room_again_when_it_is_said() {
        let rate = Rate::new(3_000).expect("a limit");
        let until = rate.used(0, 500, 3);
        assert_eq!((rate.room(0, 500), rate.room(until, 500)), (3, 0));
        assert_eq!(
            (rate.wait(until, 500, 1), rate.wait(until, 500, 2)),
            (334, 667)
        );
        let next = rate.next(until);
        assert_eq!(next, 834);
        assert_eq!((rate.room(until, next - 1), rate.room(until, next)), (0, 1));
        assert_eq!(
            rate.room(until, 1_501),
            3,
            "a rest of any length is worth a burst"
        );
        assert_eq!(rate.next(0), 0);
    }
}
