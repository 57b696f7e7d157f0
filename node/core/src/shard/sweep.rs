//! How the rows of a deleted partition go: a bounded piece with every tick.

use super::header::decode_single;
use super::keys;
use super::partition::{Partition, Shared, Step, corrupt};
use crate::kv::{self, KvError};

impl Partition {
    /// Deletes rows, in about `max` steps. How many it took, and whether the partition is gone.
    ///
    /// Outboxes stay until their targets have everything.
    pub(crate) fn sweep(
        &mut self,
        step: &mut Step<'_>,
        max: usize,
    ) -> Result<(usize, bool), KvError> {
        self.flush(step.kv);
        self.evict();
        self.groups.clear();
        self.lines.clear();
        self.walking.clear();
        let mut steps = 0;
        let kinds = [(b'a', b'o'), (b'p', b'x'), (b'y', b'z' + 1)];
        for (from, end) in kinds.map(|(from, end)| self.keys.kinds(from, end)) {
            for (key, value) in kv::take(step.kv, &from, &end, max - steps.min(max))? {
                if steps >= max {
                    return Ok((steps, false));
                }
                steps += 1 + self.sweep_row(step, &key, &value)?;
                step.kv.delete(&key);
            }
        }
        if steps >= max {
            return Ok((steps, false));
        }
        self.state.due_hint = u64::MAX;
        if self.outbox_pending() > 0 {
            return Ok((steps + 1, false));
        }
        let (from, end) = self.keys.kinds(b'x', b'x' + 1);
        for (key, _) in kv::take(step.kv, &from, &end, usize::MAX)? {
            step.kv.delete(&key);
        }
        step.kv.delete(&keys::state(self.id()));
        Ok((steps + 1, true))
    }

    /// Frees the payloads that a row names. How many.
    fn sweep_row(&self, step: &mut Step<'_>, key: &[u8], value: &[u8]) -> Result<usize, KvError> {
        match keys::Keys::split(key).map(|(kind, _)| kind) {
            Some(b'd') => {
                let header = decode_single(value);
                let header = header.map_err(|e| corrupt("delayed message", self.id(), &e))?;
                Shared::free(step, &header)?;
                Ok(1)
            }
            Some(b'm') => {
                let Some(block) = self.read_block(step.kv, keys::tail(key))? else {
                    return Ok(0);
                };
                let places = 0..block.headers.len() as u64;
                let live: Vec<_> = places.filter_map(|place| block.live(place)).collect();
                for header in &live {
                    Shared::free(step, header)?;
                }
                Ok(live.len())
            }
            _ => Ok(0),
        }
    }
}
