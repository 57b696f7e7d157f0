//! How messages come in.

use super::config::Ordering;
use super::header::{Header, encode_single};
use super::partition::{Shared, Step};
use super::sticky::slot_of_key;
use super::stream::Stream;
use super::timer::Timer;
use crate::kv::KvError;

impl Shared {
    /// Adds a message and gives it a position. Where order is strict and it is delayed,
    /// `strict_advance` must follow.
    #[inline]
    pub(crate) fn add(&mut self, step: &mut Step<'_>, header: Header) -> Result<(), KvError> {
        self.count_in(&header);
        self.position(step, header)
    }

    /// Adds a message that is not receivable before `due`.
    pub(crate) fn add_by(
        &mut self,
        step: &mut Step<'_>,
        header: Header,
        due: u64,
    ) -> Result<(), KvError> {
        if due <= step.now {
            return self.add(step, header);
        }
        if self.config.ordering == Ordering::None {
            self.add_delayed(step, header, due);
            return Ok(());
        }
        self.add(step, Header { due, ..header })
    }

    fn count_in(&mut self, header: &Header) {
        self.state.sequence = header.sequence;
        self.state.messages += 1;
        self.state.bytes += u64::from(header.payload.len);
        self.state.sent += 1;
    }

    /// Gives a message a position.
    #[inline]
    fn position(&mut self, step: &mut Step<'_>, mut header: Header) -> Result<(), KvError> {
        if header.priority != 0
            || header.tenant != 0
            || self.config.sticky_keys
            || !self.lines.is_empty()
        {
            header.stream = self.stream_of(step, &header)?;
        }
        let position = self.append(step.kv, header)?;
        self.count_line(header.stream, position);
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

    /// In which stream a message goes.
    #[cold]
    fn stream_of(&mut self, step: &Step<'_>, header: &Header) -> Result<Stream, KvError> {
        let own = if self.config.sticky_keys {
            Stream::of_slot(header.priority, slot_of_key(header.key))
        } else {
            Stream::new(header.priority, header.tenant)
        };
        let stream = match self.config.ordering {
            Ordering::None => own,
            Ordering::PerKey => self.stream_of_key(step.kv, header.key, own)?,
            Ordering::Strict => Stream::BASE,
        };
        Ok(self.told_apart(stream))
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
        let in_line_since = step.now;
        self.position(
            step,
            Header {
                in_line_since,
                ..header
            },
        )
    }

    /// Removes a delayed message. What becomes of its payload is for the caller.
    pub(crate) fn remove_delayed(&mut self, step: &mut Step<'_>, key: &[u8], header: &Header) {
        step.kv.delete(key);
        self.state.delayed -= 1;
        self.state.messages -= 1;
        self.state.bytes -= u64::from(header.payload.len);
    }
}
