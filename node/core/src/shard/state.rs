//! Counters and cursors of a partition and of its group: one row each.

use super::reply::Totals;
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
    /// Live messages, the delayed ones included.
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
    pub(crate) expired: u64,
    pub(crate) purged: u64,
    /// Ids that are remembered.
    pub(crate) ids: u64,
    /// A total again.
    pub(crate) redriven: u64,
}

/// What changes for one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Group {
    /// Receipts of another epoch are stale.
    pub(crate) epoch: u64,
    /// The first position that no receive has looked at.
    pub(crate) cursor: u64,
    /// Positions from the cursor on that do not wait: settled, or counted below already.
    pub(crate) holes: u64,
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
}

const VERSION: u8 = 1;

impl State {
    fn fields(&mut self) -> [&mut u64; 14] {
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
            &mut self.expired,
            &mut self.purged,
            &mut self.ids,
            &mut self.redriven,
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
    fn fields(&mut self) -> [&mut u64; 16] {
        [
            &mut self.epoch,
            &mut self.cursor,
            &mut self.holes,
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
        ]
    }

    pub(crate) fn encode(mut self) -> Vec<u8> {
        encode(0, &mut self.fields())
    }

    pub(crate) fn decode(value: &[u8]) -> Decoded<Self> {
        let mut r = Reader::new(value);
        r.version(VERSION, "version of counters")?;
        let mut group = Self::default();
        decode(&mut r, &mut group.fields())?;
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
        expired: state.expired,
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
            [1, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]
        );
        assert_eq!(State::decode(&state.encode()), Ok(state));
        let mut group = Group::default();
        for (n, field) in group.fields().into_iter().enumerate() {
            *field = n as u64 + 1;
        }
        assert_eq!(
            group.encode(),
            [1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]
        );
        assert_eq!(Group::decode(&group.encode()), Ok(group));
        assert_eq!((state.ids, state.redriven), (13, 14));
        assert_eq!((group.epoch, group.dropped), (1, 16));
    }

    #[test]
    fn a_short_row_is_refused() {
        assert!(State::decode(&[1, 0, 1]).is_err());
        assert!(Group::decode(&[2]).is_err());
    }
}
