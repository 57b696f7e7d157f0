//! How messages come in.

use super::config::Ordering;
use super::header::{Header, encode_single};
use super::partition::{Shared, Step};
use super::reply::Refusal;
use super::timer::Timer;
use crate::kv::KvError;

impl Shared {
    /// Whether one more message of `bytes` keeps within the limits.
    pub(crate) fn has_room(&self, bytes: u32) -> Result<(), Refusal> {
        let (state, config) = (&self.state, &self.config);
        if config.max_messages != 0 && state.messages >= config.max_messages {
            return Err(Refusal::MessageLimit);
        }
        let total = state.bytes.saturating_add(u64::from(bytes));
        if config.max_bytes != 0 && total > config.max_bytes {
            return Err(Refusal::ByteLimit);
        }
        Ok(())
    }

    /// Adds a message and gives it a position. Where order is strict and it is
    /// delayed, `strict_advance` must follow.
    pub(crate) fn add(&mut self, step: &mut Step<'_>, header: Header) -> Result<(), KvError> {
        self.count_in(&header);
        self.position(step, header)
    }

    fn count_in(&mut self, header: &Header) {
        self.state.sequence = header.sequence;
        self.state.messages += 1;
        self.state.bytes += u64::from(header.payload.len);
        self.state.sent += 1;
    }

    /// Gives a message a position.
    fn position(&mut self, step: &mut Step<'_>, header: Header) -> Result<(), KvError> {
        let position = self.append(step.kv, header)?;
        if self.config.ordering == Ordering::PerKey {
            self.key_added(step, position, &header);
        }
        if self.state.expiry_timer == 0 && self.config.ttl_ms != 0 {
            let due = step.now.saturating_add(self.config.ttl_ms);
            self.file_expiry_cursor(step, due);
        }
        if let Some(due) = header.own_expiry() {
            self.file(step.kv, due, Timer::Expiry(position));
        }
        Ok(())
    }

    /// Adds a message that gets its position when it falls due.
    pub(crate) fn add_delayed(&mut self, step: &mut Step<'_>, header: Header, due: u64) {
        self.count_in(&header);
        self.state.delayed += 1;
        Self::hold(step, header.payload);
        let held = Header {
            loose: true,
            ..header
        };
        step.kv.put(
            &self.keys.delayed(due, header.sequence),
            encode_single(&held).into(),
        );
        self.due_by(due);
    }

    /// A delayed message has fallen due.
    pub(crate) fn promote(
        &mut self,
        step: &mut Step<'_>,
        key: &[u8],
        header: Header,
    ) -> Result<(), KvError> {
        step.kv.delete(key);
        self.state.delayed -= 1;
        let ready_from = step.now;
        self.position(
            step,
            Header {
                ready_from,
                ..header
            },
        )
    }

    /// Removes a delayed message for good.
    pub(crate) fn remove_delayed(
        &mut self,
        step: &mut Step<'_>,
        key: &[u8],
        header: &Header,
    ) -> Result<(), KvError> {
        step.kv.delete(key);
        self.state.delayed -= 1;
        self.state.messages -= 1;
        self.state.bytes -= u64::from(header.payload.len);
        Self::free(step, header)
    }
}
