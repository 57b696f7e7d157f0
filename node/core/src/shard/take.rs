//! How a receive finds messages: first those that came back, then from the cursor on.

use super::breaker::{Breaker, Outcome};
use super::config::{Delivery, Ordering};
use super::delivery::{Returned, Slot};
use super::group::{Look, View};
use super::header::{BLOCK, Header};
use super::id::SessionId;
use super::keys;
use super::lanes::{Lanes, Run};
use super::partition::{Step, corrupt};
use super::reply::{Delivered, Received};
use super::state::Phase;
use super::sticky::KeySlots;
use crate::kv::{self, KvError};

/// Headers and blocks looked at per receive; the next one goes on from there.
const SCAN_MAX: u64 = 4_096;
/// Bytes of what one receive delivers at most once, about: nothing of it can be delivered later.
const AT_MOST_ONCE_BYTES: usize = 2 << 20;
/// Rows of returned messages read at a time while lanes alternate.
const ALTERNATING: u64 = 16;

/// One receive being carried out.
pub(crate) struct Take {
    max: usize,
    deadline: u64,
    /// Deliveries are acked by being made.
    at_most_once: bool,
    bytes: usize,
    messages: Vec<Delivered>,
    slots: Vec<Slot>,
}

impl Take {
    pub(crate) fn new(
        p: &View<'_>,
        now: u64,
        (max, lease_ms): (u32, u64),
        at_most_once: bool,
    ) -> Self {
        let at_most_once = at_most_once || p.config.delivery == Delivery::AtMostOnce;
        let look = p.look();
        let pending = p.group.returned + p.group.blocked + look.waiting();
        let room = if look.delivers() {
            look.room_in_flight(at_most_once)
        } else {
            0
        };
        let room = room.min(look.room_in_rate(now));
        let max = u64::from(max).min(room).min(pending) as usize;
        let messages = Vec::with_capacity(max);
        let slots = Vec::with_capacity(if at_most_once { 0 } else { max });
        let deadline = if at_most_once { now } else { now + lease_ms };
        Self {
            max,
            deadline,
            at_most_once,
            bytes: 0,
            messages,
            slots,
        }
    }

    pub(crate) fn run(
        mut self,
        p: &mut View<'_>,
        step: &mut Step<'_>,
        (session, slots): (Option<SessionId>, KeySlots),
    ) -> Result<Received, KvError> {
        let (mut scan, mut lanes) = (SCAN_MAX, Lanes::new(slots));
        while self.messages.len() < self.max {
            let Some(mut run) = lanes.choose(p, step, &mut scan)? else {
                break;
            };
            if p.look().returned_in(run.stream) > 0 {
                self.take_returned(p, step, &mut run)?;
            } else if scan > 0 && !strict_waits(p) {
                self.scan_block(p, step, (&mut run, &mut scan))?;
            } else {
                break;
            }
            run.note(p);
        }
        let more = scan == 0 && self.messages.len() < self.max;
        p.use_delivery_rate(step.now, self.messages.len() as u64);
        let slots = std::mem::take(&mut self.slots);
        let delivery = if slots.is_empty() {
            0
        } else {
            p.deliver(step, session, slots)
        };
        Ok(Received {
            partition: p.id(),
            group: p.keys.group,
            delivery,
            epoch: p.group.epoch as u32,
            messages: self.messages,
            more,
        })
    }

    fn take_returned(
        &mut self,
        p: &mut View<'_>,
        step: &mut Step<'_>,
        run: &mut Run,
    ) -> Result<(), KvError> {
        let (from, end) = p.keys.all_returned(run.stream);
        let max = run.left.min((self.max - self.messages.len()) as u64);
        // Where another lane may go before the next one, most of what is read is read in vain.
        let most = if run.alternates() { ALTERNATING } else { max };
        let rows = kv::take(step.kv, &from, &end, max.min(most) as usize)?;
        if rows.is_empty() {
            return Err(p.miscounted("came back", run.stream));
        }
        for (key, value) in rows {
            let position = keys::tail(&key);
            let back = Returned::decode(&value);
            let back = back.map_err(|e| corrupt("returned message", p.id(), &e))?;
            let header = p.header(step.kv, position)?;
            if run.is_over(&header) {
                break;
            }
            step.kv.delete(&key);
            p.uncount_returned(run.stream);
            run.left -= 1;
            self.found(p, step, (position, &header), back)?;
        }
        Ok(())
    }

    /// Goes on from the cursor to the end of its block at most.
    fn scan_block(
        &mut self,
        p: &mut View<'_>,
        step: &mut Step<'_>,
        (run, scan): (&mut Run, &mut u64),
    ) -> Result<(), KvError> {
        let stream = run.stream;
        let (cursor, mut waiting) = (p.look().spot(stream).cursor, p.look().waiting_in(stream));
        let position = p.next_within(step.kv, (stream, cursor), scan)?;
        if position >= p.state.tail {
            return Err(p.miscounted("wait", stream));
        }
        p.set_cursor(stream, position);
        let returned = p.group.returned;
        let number = position / BLOCK;
        let end = p.state.tail.min((number + 1) * BLOCK);
        for position in position..end {
            // Removing a message (at most once) may have moved the cursor on, or brought one back.
            let moved = p.look().spot(stream).cursor != position || p.group.returned != returned;
            // What is behind the last one that waits is not due yet.
            let over = moved || waiting == 0 || run.left == 0;
            if over || self.messages.len() == self.max || strict_waits(p) || *scan == 0 {
                break;
            }
            let header = p.open(step.kv, position)?;
            let Some(header) = header.filter(|header| header.stream == stream) else {
                p.set_cursor(stream, position + 1);
                continue;
            };
            let early = p.is_early(step.kv, position, &header)?;
            if !early && run.is_over(&header) {
                break;
            }
            p.set_cursor(stream, position + 1);
            p.stop_waiting(stream);
            *scan -= 1;
            if early {
                p.pass_early(step, position, &header)?;
                continue;
            }
            waiting -= 1;
            if self.may_go(p, step, position, &header)? {
                run.left -= 1;
                self.found(p, step, (position, &header), Returned::default())?;
            }
        }
        Ok(())
    }

    /// Whether the message that the cursor has come to may be delivered; if so, it is engaged.
    fn may_go(
        &self,
        p: &mut View<'_>,
        step: &mut Step<'_>,
        position: u64,
        header: &Header,
    ) -> Result<bool, KvError> {
        match p.config.ordering {
            Ordering::None => {}
            Ordering::Strict => p.group.engaged = position + 1,
            Ordering::PerKey => {
                if p.look().head(step.kv, header.key)?.is_some() {
                    p.group.blocked += 1;
                    return Ok(false);
                }
                if !self.at_most_once {
                    p.engage(step.kv, header.key, position);
                }
            }
        }
        Ok(true)
    }

    fn found(
        &mut self,
        p: &mut View<'_>,
        step: &mut Step<'_>,
        (position, header): (u64, &Header),
        back: Returned,
    ) -> Result<(), KvError> {
        let (failed, delivery_count) = (back.delivery_count, back.delivery_count.saturating_add(1));
        p.group.delivered += 1;
        p.group.redelivered += u64::from(failed > 0);
        let (first_delivered_at, last_delivered_at) = match failed {
            0 => (0, 0),
            _ => p.look().times(step.kv, position)?,
        };
        self.messages.push(Delivered {
            slot: self.messages.len() as u16,
            delivery_count,
            id: header.id(p.id()),
            sequence: header.sequence,
            payload: header.payload,
            enqueued_at: header.enqueued_at,
            deadline: self.deadline,
            priority: header.priority,
            first_delivered_at,
            last_delivered_at,
        });
        if self.at_most_once {
            p.note_outcome(step, position, Outcome::Success)?;
            p.remove(step, position, failed)?.free(step)?;
            p.group.acked += 1;
            self.bytes += header.payload.len as usize;
            if self.bytes >= AT_MOST_ONCE_BYTES {
                self.max = self.messages.len();
            }
        } else {
            let deadline = self.deadline;
            self.slots.push(Slot {
                position,
                deadline,
                delivery_count,
                live: true,
            });
        }
        Ok(())
    }
}

/// Order is strict and a message is engaged: what waits must wait.
fn strict_waits(p: &View<'_>) -> bool {
    p.config.ordering == Ordering::Strict && p.group.engaged != 0
}

impl Look<'_> {
    /// Messages that wait.
    pub(crate) fn waiting(&self) -> u64 {
        self.state.tail - self.group.taken - self.early()
    }

    /// Messages ahead of the cursors that are not due yet.
    pub(crate) fn early(&self) -> u64 {
        self.state.placed - self.group.passed
    }

    /// Whether it gets deliveries at present.
    pub(crate) fn delivers(&self) -> bool {
        let is_open = matches!(*self.breaker, Breaker::Open(_));
        !self.setting.paused && !is_open && self.group.phase == Phase::Settled
    }
}
