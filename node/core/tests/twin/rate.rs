//! What the twin knows of rate limits, of what is accepted and of what a group gets: buckets that
//! leak.

use roadstead_core::shard::*;

use super::model::{Group, Partition};
use super::world::World;

const SECOND: u128 = 1_000_000_000;

/// What a message puts into the bucket, and what the bucket holds; both in ns.
fn bucket(rate: u64) -> Option<(u128, u128)> {
    let rate = u128::from(rate);
    let drop = (rate != 0).then(|| (1_000 * SECOND).div_ceil(rate))?;
    Some((drop, drop * (rate / 1_000).max(1)))
}

/// What is in a bucket that held so much then.
fn level((level, at): (u128, u64), now: u64) -> u128 {
    level.saturating_sub(u128::from(now - at) * 1_000_000)
}

impl Group {
    /// Messages that it may get by its rate.
    pub fn room_in_rate(&self, now: u64) -> u64 {
        let room = |(drop, holds)| ((holds - level(self.debt, now)) / drop) as u64;
        bucket(self.setting.rate).map_or(u64::MAX, room)
    }

    /// When it may get one.
    pub fn next_by_rate(&self) -> Option<u64> {
        let (drop, holds) = bucket(self.setting.rate)?;
        let (level, at) = self.debt;
        let over = (level + drop).saturating_sub(holds);
        Some(at + over.div_ceil(1_000_000) as u64)
    }

    pub fn use_rate(&mut self, now: u64) {
        if let Some((drop, _)) = bucket(self.setting.rate) {
            self.debt = (level(self.debt, now) + drop, now);
        }
    }

    /// What does not fit into its new bucket runs over.
    pub fn change_bucket(&mut self, rate: u64, now: u64) {
        if let Some((_, holds)) = bucket(rate) {
            self.debt = (level(self.debt, now).min(holds), now);
        }
    }
}

impl Partition {
    fn bucket(&self) -> Option<(u128, u128)> {
        bucket(self.config.rate)
    }

    fn level(&self, now: u64) -> u128 {
        level(self.debt, now)
    }

    /// Whether one more message of an atomic batch is too many ever.
    pub fn is_over_rate(&mut self) -> bool {
        let bucket = self.bucket();
        let (Some(asked), Some((drop, holds))) = (&mut self.asked, bucket) else {
            return false;
        };
        *asked += 1;
        u128::from(*asked) * drop > holds
    }

    pub fn room_in_rate(&self, now: u64) -> Result<(), Refusal> {
        match self.bucket() {
            Some((drop, holds)) if self.level(now) + drop > holds => Err(Refusal::RateLimit),
            _ => Ok(()),
        }
    }

    pub fn use_rate(&mut self, now: u64) {
        if let Some((drop, _)) = self.bucket() {
            self.debt = (self.level(now) + drop, now);
        }
    }

    /// The bucket is another one: what does not fit into it runs over.
    pub fn change_bucket(&mut self, now: u64) {
        if let Some((_, holds)) = self.bucket() {
            self.debt = (self.level(now).min(holds), now);
        }
    }
}

impl World {
    /// Counts what a rate limit did, and what it did not look at.
    pub fn cover_rate(&mut self, op: &Op, reply: &Reply) {
        let partition = match op {
            Op::Send(op) => op.partition,
            Op::Accept(op) => op.target,
            _ => return,
        };
        let limited = |p: &&Partition| p.config.rate != 0;
        let Some(p) = self.twin.partitions.get(&partition).filter(limited) else {
            return;
        };
        let (order, used_up) = (p.config.ordering, p.room_in_rate(self.now).is_err());
        let mut reached = Vec::new();
        match (op, reply) {
            (Op::Send(op), Reply::Sent(outcomes)) => {
                for outcome in outcomes {
                    let name = match outcome {
                        SendOutcome::Accepted { .. } => "Accepted".to_owned(),
                        SendOutcome::Duplicate { .. } if used_up => "Duplicate".to_owned(),
                        SendOutcome::Refused(why) => format!("{why:?}"),
                        SendOutcome::Duplicate { .. } | SendOutcome::Moved => continue,
                    };
                    let how = if op.atomic { " of a batch" } else { "" };
                    reached.push(format!("rate {name}{how} {order:?}"));
                }
            }
            (Op::Accept(op), Reply::Accepted { stopped: None, .. })
                if used_up && !op.messages.is_empty() =>
            {
                reached.push(format!("rate of outboxes {order:?}"));
            }
            _ => {}
        }
        for name in reached {
            self.count(name);
        }
    }
}
