//! Counters and cursors of a partition and of its group: one row each.

use super::stats::Totals;
use crate::codec::{Decoded, Put, Reader};

/// What changes with messages that come and go, for all groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct State {
    /// It is being deleted; its rows go with the ticks.
    pub(crate) dropping: bool,
    /// Sequence of the newest message.
    pub(crate) sequence: u64,
    /// Position of the next message.
    pub(crate) tail: u64,
    /// Live messages, the delayed ones included: some group has never settled them.
    pub(crate) messages: u64,
    /// Bytes of live messages.
    pub(crate) bytes: u64,
    /// Delayed messages without position.
    pub(crate) delayed: u64,
    /// The expiry cursor: what is live before it was leased when its time to live was over, or has
    /// a timer of its own.
    pub(crate) expiry_cursor: u64,
    /// Due time under which the expiry cursor's timer is filed; 0: none.
    pub(crate) expiry_timer: u64,
    /// Nothing is due before this, ms; `u64::MAX`: nothing is.
    pub(crate) due_hint: u64,
    /// Producers that are remembered.
    pub(crate) producers: u64,
    /// Totals since the partition was created.
    pub(crate) sent: u64,
    pub(crate) purged: u64,
    /// Ids that are remembered.
    pub(crate) ids: u64,
    /// A total again.
    pub(crate) redriven: u64,
    /// Messages that all groups have settled once, and their bytes.
    pub(crate) retained: u64,
    pub(crate) retained_bytes: u64,
    /// Blocks with a side.
    pub(crate) sides: u64,
    /// Delayed messages that had their position before they were due, ever, and those not due yet.
    pub(crate) placed: u64,
    pub(crate) early: u64,
    /// The highest id of a group that there was.
    pub(crate) last_group: u64,
    /// Until when the rate is used up, in ns since 1970.
    pub(crate) rate_until: u64,
    /// The tail when the number of partitions grew last.
    pub(crate) grown_at: u64,
    /// Messages that are not gone and stand before that, or whose keys have a next home.
    pub(crate) leaving: u64,
    /// Until when one of them may be sent again and is known here, ms.
    pub(crate) leaving_until: u64,
}

/// What changes for one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Group {
    pub(crate) phase: Phase,
    /// Receipts of another epoch are stale.
    pub(crate) epoch: u64,
    /// The first position at which no receive has looked for the base stream.
    pub(crate) cursor: u64,
    /// Positions of all streams that do not wait any more.
    pub(crate) taken: u64,
    /// Messages with an `r` row.
    pub(crate) returned: u64,
    /// Messages with a `w` row.
    pub(crate) backing_off: u64,
    /// Leased messages.
    pub(crate) in_flight: u64,
    /// Messages behind another one of their key, that a receive has passed.
    pub(crate) blocked: u64,
    /// Number of the newest delivery.
    pub(crate) delivery: u64,
    /// Strict order: position + 1 of the message that all others wait for; 0: none.
    pub(crate) engaged: u64,
    /// Totals since the group was created.
    pub(crate) delivered: u64,
    pub(crate) redelivered: u64,
    pub(crate) acked: u64,
    pub(crate) nacked: u64,
    pub(crate) lease_expired: u64,
    pub(crate) dead_lettered: u64,
    pub(crate) dropped: u64,
    pub(crate) expired: u64,
    /// Positions before this one do not count for it.
    pub(crate) start: u64,
    /// Of `state.placed`, what is not ahead of the cursor or is due: it counts elsewhere.
    pub(crate) passed: u64,
    /// Of a group on its way: how far it has come.
    pub(crate) at: u64,
    /// And the position before which its way ends.
    pub(crate) end: u64,
    /// Until when its rate is used up, in ns since 1970.
    pub(crate) rate_until: u64,
}

/// Whether a group is on its way through all positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Phase {
    /// It is not.
    #[default]
    Settled,
    /// It settles what is before its cursor, and needs again what is not.
    Seeking,
    /// It is deleted: it gives up what it needs.
    Leaving,
}

const VERSION: u8 = 1;

impl State {
    fn fields(&mut self) -> [&mut u64; 23] {
        [
            &mut self.sequence,
            &mut self.tail,
            &mut self.messages,
            &mut self.bytes,
            &mut self.delayed,
            &mut self.expiry_cursor,
            &mut self.expiry_timer,
            &mut self.due_hint,
            &mut self.producers,
            &mut self.sent,
            &mut self.purged,
            &mut self.ids,
            &mut self.redriven,
            &mut self.retained,
            &mut self.retained_bytes,
            &mut self.sides,
            &mut self.placed,
            &mut self.early,
            &mut self.last_group,
            &mut self.rate_until,
            &mut self.grown_at,
            &mut self.leaving,
            &mut self.leaving_until,
        ]
    }

    pub(crate) fn encode(mut self) -> Vec<u8> {
        encode(u8::from(self.dropping), &mut self.fields())
    }

    pub(crate) fn decode(value: &[u8]) -> Decoded<Self> {
        let mut r = Reader::new(value);
        r.version(VERSION, "version of counters")?;
        let mut state = Self::default();
        state.dropping = decode(&mut r, &mut state.fields())? != 0;
        r.finish("end of counters")?;
        Ok(state)
    }
}

impl Group {
    /// Whether it is on its way, and has not come to a position.
    pub(crate) fn is_ahead(&self, position: u64) -> bool {
        self.phase != Phase::Settled && (self.at..self.end).contains(&position)
    }

    fn fields(&mut self) -> [&mut u64; 22] {
        [
            &mut self.epoch,
            &mut self.cursor,
            &mut self.taken,
            &mut self.returned,
            &mut self.backing_off,
            &mut self.in_flight,
            &mut self.blocked,
            &mut self.delivery,
            &mut self.engaged,
            &mut self.delivered,
            &mut self.redelivered,
            &mut self.acked,
            &mut self.nacked,
            &mut self.lease_expired,
            &mut self.dead_lettered,
            &mut self.dropped,
            &mut self.expired,
            &mut self.start,
            &mut self.passed,
            &mut self.at,
            &mut self.end,
            &mut self.rate_until,
        ]
    }

    pub(crate) fn encode(mut self) -> Vec<u8> {
        let phase = match self.phase {
            Phase::Settled => 0,
            Phase::Seeking => 1,
            Phase::Leaving => 2,
        };
        encode(phase, &mut self.fields())
    }

    pub(crate) fn decode(value: &[u8]) -> Decoded<Self> {
        let mut r = Reader::new(value);
        r.version(VERSION, "version of counters")?;
        let mut group = Self::default();
        group.phase = match decode(&mut r, &mut group.fields())? {
            0 => Phase::Settled,
            1 => Phase::Seeking,
            2 => Phase::Leaving,
            _ => return r.fail("phase of group"),
        };
        r.finish("end of counters")?;
        Ok(group)
    }
}

fn encode(head: u8, fields: &mut [&mut u64]) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    out.push(VERSION);
    out.push(head);
    for field in fields {
        out.put_varint(**field);
    }
    out
}

fn decode(r: &mut Reader<'_>, fields: &mut [&mut u64]) -> Decoded<u8> {
    let head = r.u8("head of counters")?;
    for field in fields {
        **field = r.varint("counter")?;
    }
    Ok(head)
}

/// Totals of a group, those of its partition included.
pub(crate) fn totals(state: &State, group: &Group) -> Totals {
    Totals {
        sent: state.sent,
        delivered: group.delivered,
        redelivered: group.redelivered,
        acked: group.acked,
        nacked: group.nacked,
        lease_expired: group.lease_expired,
        dead_lettered: group.dead_lettered,
        dropped: group.dropped,
        expired: group.expired,
        purged: state.purged,
        redriven: state.redriven,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_and_their_bytes_are_frozen() {
        let mut state = State {
            dropping: true,
            ..State::default()
        };
        for (n, field) in state.fields().into_iter().enumerate() {
            *field = n as u64 + 1;
        }
        assert_eq!(
            state.encode(),
            [
                1, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
                22, 23,
            ]
        );
        assert_eq!(State::decode(&state.encode()), Ok(state));
        let mut group = Group {
            phase: Phase::Leaving,
            ..Group::default()
        };
        for (n, field) in group.fields().into_iter().enumerate() {
            *field = n as u64 + 1;
        }
        assert_eq!(
            group.encode(),
            [
                1, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22
            ]
        );
        assert_eq!(Group::decode(&group.encode()), Ok(group));
        assert_eq!((state.redriven, state.rate_until), (13, 20));
        assert_eq!((group.epoch, group.end, group.rate_until), (1, 21, 22));
    }

    #[test]
    fn a_short_row_is_refused() {
        assert!(State::decode(&[1, 0, 1]).is_err());
        assert!(Group::decode(&[2]).is_err());
        let row = Group::default().encode();
        let damaged = [&row[..1], &[3], &row[2..]].concat();
        assert!(Group::decode(&damaged).is_err());
    }
}
