//! Ids of messages, remembered so that a message that is sent again is not added again.
//!
//! An id is one row from the message's acceptance to the end of the window, whatever becomes of
//! the message meanwhile: it may be acked, dead-lettered, expired or purged. The ids of one send
//! end together, so they share rows that say when: up to 64 in one. Ticks and sends forget them;
//! one whose window is over is new again also while its rows are still there.

use super::keys;
use super::outbox::rows_of;
use super::partition::{Shared, Step, corrupt};
use super::reply::Refusal;
use crate::codec::{Decoded, Put, Reader};
use crate::kv::{self, Kv, KvError};

/// Ids per row of those that end together.
const TOGETHER: usize = 64;
/// Bytes of an id in a row.
const ID_BYTES: usize = 16;
/// Rows of those that end together that are read at once.
const ROWS: usize = 16;
/// Ids that a send forgets at most: more than it can add.
const PER_SEND: usize = 1_024;

const VERSION: u8 = 1;

/// An id that was accepted, and the sequence of its message.
pub(crate) type NewId = (u128, u64);

impl Shared {
    /// The sequence of the message with this id, if it is remembered at `now`.
    pub(crate) fn remembered(
        &self,
        kv: &dyn Kv,
        id: u128,
        now: u64,
    ) -> Result<Option<u64>, KvError> {
        let known = self.row_of_id(kv, id)?;
        Ok(known.and_then(|(sequence, until)| (until > now).then_some(sequence)))
    }

    /// Sequence and end of the window of an id that has a row.
    fn row_of_id(&self, kv: &dyn Kv, id: u128) -> Result<Option<(u64, u64)>, KvError> {
        let Some(row) = kv.get(&self.keys.remembered(id))? else {
            return Ok(None);
        };
        let read = decode_remembered(&row);
        read.map(Some)
            .map_err(|e| corrupt("remembered id", self.id(), &e))
    }

    /// Whether one more id may be remembered, of `max_ids`; None: there is none to remember.
    pub(crate) fn has_room_for_id(&self, max_ids: Option<u64>) -> Result<(), Refusal> {
        match max_ids {
            Some(max) if self.state.ids >= max => Err(Refusal::IdLimit),
            _ => Ok(()),
        }
    }

    /// Remembers an id that is not remembered now. [`file_ids`](Self::file_ids) must follow.
    pub(crate) fn remember_id(
        &mut self,
        step: &mut Step<'_>,
        (id, sequence): NewId,
    ) -> Result<(), KvError> {
        let is_new = self.row_of_id(step.kv, id)?.is_none();
        let mut row = vec![VERSION];
        row.put_varint(sequence);
        row.put_varint(self.window_end(step.now));
        step.kv.put(&self.keys.remembered(id), row.into());
        self.state.ids += u64::from(is_new);
        Ok(())
    }

    fn window_end(&self, now: u64) -> u64 {
        let window = self.config.deduplication.map_or(0, |it| it.window_ms);
        now.saturating_add(window)
    }

    /// Files when ids that were accepted together are forgotten.
    pub(crate) fn file_ids(&mut self, step: &mut Step<'_>, ids: &[NewId]) {
        let due = self.window_end(step.now);
        for together in ids.chunks(TOGETHER) {
            let row = encode_ids(together.iter().map(|(id, _)| *id));
            let first = together.first().map_or(0, |(_, sequence)| *sequence);
            step.kv.put(&self.keys.forgetting(due, first), row.into());
            self.due_by(due);
        }
    }

    /// Forgets some of the ids whose window is over: more than a send can add.
    pub(crate) fn forget_for_send(&mut self, step: &mut Step<'_>) -> Result<(), KvError> {
        if self.state.ids > 0 && self.state.due_hint <= step.now {
            self.forget_ids(step, PER_SEND)?;
        }
        Ok(())
    }

    /// Forgets ids whose window is over, at most `max`. How many it looked at.
    pub(crate) fn forget_ids(&mut self, step: &mut Step<'_>, max: usize) -> Result<usize, KvError> {
        let end = self.keys.forgetting(step.now.saturating_add(1), 0);
        let (from, _) = self.keys.kinds(b'j', b'k');
        let mut looked_at = 0;
        while looked_at < max {
            let rows = kv::take(step.kv, &from, &end, ROWS)?;
            if rows.is_empty() {
                break;
            }
            for (key, row) in rows {
                looked_at += self.forget_row(step, (&key, &row), max - looked_at)?;
                if looked_at == max {
                    break;
                }
            }
        }
        Ok(looked_at)
    }

    /// Forgets ids that end together, at most `max`. How many it looked at.
    fn forget_row(
        &mut self,
        step: &mut Step<'_>,
        (key, row): (&[u8], &[u8]),
        max: usize,
    ) -> Result<usize, KvError> {
        let ids = decode_ids(row).map_err(|e| corrupt("ids", self.id(), &e))?;
        let due = keys::Keys::split(key).map_or(0, |(_, rest)| keys::due(rest));
        let now = ids.len().min(max);
        for id in &ids[..now] {
            // One that came again after its window ends later.
            let ends = self.row_of_id(step.kv, *id)?.map(|(_, until)| until);
            if ends == Some(due) {
                step.kv.delete(&self.keys.remembered(*id));
                self.state.ids -= 1;
            }
        }
        if now == ids.len() {
            step.kv.delete(key);
        } else {
            let rest = encode_ids(ids[now..].iter().copied());
            step.kv.put(key, rest.into());
        }
        Ok(now)
    }

    /// When the first id is forgotten, ms; `u64::MAX`: none is remembered.
    pub(crate) fn first_forgotten(&self, kv: &dyn Kv) -> Result<u64, KvError> {
        if self.state.ids == 0 {
            return Ok(u64::MAX);
        }
        let row = rows_of(self, kv, b'j', 1)?.pop();
        let due = row.and_then(|(key, _)| keys::Keys::split(&key).map(|(_, rest)| keys::due(rest)));
        Ok(due.unwrap_or(u64::MAX))
    }
}

/// Sequence, and the end of the window.
fn decode_remembered(row: &[u8]) -> Decoded<(u64, u64)> {
    let mut r = Reader::new(row);
    r.version(VERSION, "version of remembered id")?;
    let both = (r.varint("sequence")?, r.varint("end of window")?);
    r.finish("end of remembered id")?;
    Ok(both)
}

fn encode_ids(ids: impl Iterator<Item = u128>) -> Vec<u8> {
    let mut row = Vec::with_capacity(1 + TOGETHER * ID_BYTES);
    row.push(VERSION);
    ids.for_each(|id| row.put_u128(id));
    row
}

fn decode_ids(row: &[u8]) -> Decoded<Vec<u128>> {
    let mut r = Reader::new(row);
    r.version(VERSION, "version of ids")?;
    let mut ids = Vec::with_capacity(r.remaining() / ID_BYTES);
    while !r.is_empty() {
        if ids.len() == TOGETHER {
            return r.fail("a row of at most 64 ids");
        }
        ids.push(r.u128("id")?);
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_and_their_bytes_are_frozen() {
        let row = encode_ids([1, 0x0203].into_iter());
        let mut expected = vec![1];
        expected.extend([0; 15]);
        expected.push(1);
        expected.extend([0; 14]);
        expected.extend([2, 3]);
        assert_eq!(row, expected);
        assert_eq!(decode_ids(&row), Ok(vec![1, 0x0203]));
        assert!(decode_ids(&row[..row.len() - 1]).is_err());
        assert!(decode_ids(&encode_ids(0..65)).is_err());
        assert_eq!(decode_remembered(&[1, 0xac, 2, 9]), Ok((300, 9)));
        for damaged in [&[1, 1][..], &[1, 1, 1, 1], &[2, 1, 1]] {
            assert!(decode_remembered(damaged).is_err());
        }
    }
}
