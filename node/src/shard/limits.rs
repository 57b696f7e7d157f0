//! Limits of deliveries as a leader keeps them: what the groups of a partition share of its room in
//! flight, by turns, and which of them wait for their rate. Pure.

use std::collections::BTreeMap;

use roadstead_core::shard::{PartitionId, Receive};

use super::consumer::{Consumer, Line};
use super::consumers::{Asked, Consumers, lines_of};
use super::waiting::Ready;

/// Of all lines of a shard.
#[derive(Debug, Default)]
pub(super) struct Limits {
    rooms: BTreeMap<PartitionId, Room>,
    /// Lines whose rate is used up, and until when, in ms of the cluster's time.
    slowed: BTreeMap<Line, u64>,
}

/// Of one partition.
#[derive(Debug, Default)]
struct Room {
    /// Leases asked for in entries that are being written, for all groups.
    asked: u64,
    /// The group that was asked for last: the next one comes first.
    last: u32,
    /// Somebody was not asked for because of `asked`.
    waits: bool,
}

impl Limits {
    /// Lines in the order in which they are to be served. Among those of one partition the group
    /// that was served last comes last, or one that always fills the room would starve others.
    pub(super) fn in_turn(&self, mut lines: Vec<Line>) -> Vec<Line> {
        // The first and the last one may be of the same partition, else its lines stand together.
        let ends = [lines.first(), lines.last()].map(|line| line.map(|line| line.0));
        let together = lines.windows(2).any(|two| two[0].0 == two[1].0);
        if !together && (lines.len() < 2 || ends[0] != ends[1]) {
            return lines;
        }
        let mut of: BTreeMap<PartitionId, Vec<usize>> = BTreeMap::new();
        for (n, (partition, _)) in lines.iter().enumerate() {
            if self.rooms.contains_key(partition) {
                of.entry(*partition).or_default().push(n);
            }
        }
        for (partition, places) in of.iter().filter(|(_, places)| places.len() > 1) {
            let last = self.rooms[partition].last;
            let mut groups: Vec<u32> = places.iter().map(|n| lines[*n].1).collect();
            groups.sort_unstable_by_key(|group| (*group <= last, *group));
            for (n, group) in places.iter().zip(groups) {
                lines[*n].1 = group;
            }
        }
        lines
    }

    /// What may be asked for, of what is there, where so many are asked for already.
    pub(super) fn left(&mut self, line: Line, there: Ready, asked: u64) -> Ready {
        let by_rate = there.by_rate.saturating_sub(asked);
        let leased = there.leased.min(by_rate);
        let mut free = there.room;
        if let Some(room) = self.rooms.get_mut(&line.0) {
            free = free.saturating_sub(room.asked);
            room.waits |= free < leased;
        }
        Ready {
            leased: leased.min(free),
            at_most_once: there.at_most_once.min(by_rate),
            ..there
        }
    }

    /// These were asked for.
    pub(super) fn asked(&mut self, line: Line, asked: &[Asked]) {
        let leases: u64 = asked.iter().map(|asked| leases(&asked.receive)).sum();
        if leases > 0 {
            let room = self.rooms.entry(line.0).or_default();
            room.asked += leases;
            room.last = line.1;
        }
    }

    /// A receive was answered. Whether other groups of the partition are to be looked at: what came
    /// of it was counted twice, as asked for and as leased, since it was applied.
    pub(super) fn answered(&mut self, receive: &Receive) -> bool {
        let Some(room) = self.rooms.get_mut(&receive.partition) else {
            return false;
        };
        let leases = leases(receive);
        room.asked = room.asked.saturating_sub(leases);
        leases > 0 && std::mem::take(&mut room.waits)
    }

    /// Nothing is asked for in the line until then.
    pub(super) fn slow(&mut self, line: Line, until_ms: u64) {
        self.slowed.insert(line, until_ms);
    }

    pub(super) fn is_slowed(&self, line: Line) -> bool {
        self.slowed.contains_key(&line)
    }

    /// Something has happened in the line: it is to be looked at.
    pub(super) fn look_again(&mut self, line: Line) {
        self.slowed.remove(&line);
    }

    /// The lines that are not slowed any more.
    pub(super) fn over(&mut self, time_ms: u64) -> Vec<Line> {
        let due = self.slowed.extract_if(.., |_, until| *until <= time_ms);
        due.map(|(line, _)| line).collect()
    }

    /// When the first of them is not slowed any more.
    pub(super) fn next_over(&self) -> Option<u64> {
        self.slowed.values().copied().min()
    }

    /// Nobody waits in the line, and its partition has others or not.
    pub(super) fn forget(&mut self, line: Line, others: bool) {
        self.slowed.remove(&line);
        if !others {
            self.rooms.remove(&line.0);
        }
    }

    /// Forgets all: another node leads.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Consumers {
    /// Whose rate has room at this time is looked at again; in ms of the cluster's time.
    pub fn look_at_rates(&mut self, time_ms: u64) {
        self.dirty.extend(self.limits.over(time_ms));
    }

    /// When to look at rates again.
    pub fn rates_due_ms(&self) -> Option<u64> {
        self.limits.next_over()
    }

    /// Nobody waits in a line any more.
    pub(super) fn forget(&mut self, line: Line) {
        self.lines.remove(&line);
        let others = self.lines.range(lines_of(line.0)).next().is_some();
        self.limits.forget(line, others);
    }

    /// Asks for those who wait in one line, as far as something is left there.
    pub(super) fn serve(&mut self, line: Line, applied: &Ready, left: &mut Ready) -> Vec<Asked> {
        let mut asked = Vec::new();
        let Some(waiting) = self.lines.get_mut(&line) else {
            return asked;
        };
        if left.by_slot.is_some() {
            waiting.share(line.0, &self.all);
        }
        let tiers = waiting.tiers(&self.all);
        for tier in &tiers {
            loop {
                let served = waiting.serve(&mut self.all, *tier, (line, applied), left);
                let more = tier.goes_first() && !served.is_empty() && left.at_most_once > 0;
                asked.extend(served);
                if !more {
                    break;
                }
            }
        }
        if let Some(by_slot) = &left.by_slot {
            // Nobody else can take what is in the slots of one that has no credit here.
            for id in &waiting.consumers {
                let waits = |consumer: &&mut Consumer| {
                    !consumer.wish.one_time
                        && !consumer.wants()
                        && waiting.shares.left(*id, by_slot) > 0
                        && tiers.iter().any(|tier| tier.has(*id, consumer))
                };
                if let Some(consumer) = self.all.get_mut(id).filter(waits) {
                    consumer.starve(line);
                }
            }
        } else if left.at_most_once > 0 && waiting.asked == 0 {
            for id in &waiting.consumers {
                let served = |consumer: &&mut Consumer| {
                    left.by(consumer.wish.at_most_once) > 0
                        && tiers.iter().any(|tier| tier.has(*id, consumer))
                };
                if let Some(consumer) = self.all.get_mut(id).filter(served) {
                    consumer.starve(line);
                }
            }
        }
        if !asked.is_empty() {
            self.last = Some(line);
            self.limits.asked(line, &asked);
        }
        asked
    }
}

fn leases(receive: &Receive) -> u64 {
    if receive.at_most_once {
        0
    } else {
        u64::from(receive.max)
    }
}

#[cfg(test)]
#[path = "limits_tests.rs"]
mod tests;
