//! Which stream a receive goes on with: first the lane, by priority and age, then the tenant.
//!
//! With aging, a message stands as though it had come so much earlier for each step of its
//! priority: the lane goes first whose head has come first then, and nothing waits behind what
//! comes a certain time later. Without aging the highest lane goes first that has something.
//! The tenants of a lane that have something take turns of as many messages as they have weight;
//! where keys are sticky, each slot that the receive is for gives one message in a round.

use super::config::Ordering;
use super::group::View;
use super::header::Header;
use super::keys;
use super::partition::Step;
use super::sticky::KeySlots;
use super::stream::{MAX_PRIORITY, Stream};
use super::tenants::{TenantWeight, Turn};
use crate::kv::{self, KvError};

/// Where a message stands among those of other lanes: the lower one goes first.
type Rank = (u64, u8);

/// What a receive may take from one stream before it has to choose again.
#[derive(Clone, Copy)]
pub(crate) struct Run {
    pub(crate) stream: Stream,
    /// Messages at most.
    pub(crate) left: u64,
    /// It is its tenant's turn, or its slot's, which is counted.
    is_turn: bool,
    /// Where keys are sticky: the slots that had their turn in this round.
    round: Option<KeySlots>,
    /// A message of another lane stands here.
    before: Option<Rank>,
    aging_ms: u64,
}

/// What a receive knows of the lanes.
pub(crate) struct Lanes {
    slots: KeySlots,
    known: [Known; MAX_PRIORITY as usize + 1],
}

/// What a lane gives next.
#[derive(Clone, Copy)]
enum Known {
    /// To be looked up.
    Unknown,
    /// Nothing, as far as was looked.
    Nothing,
    /// A message of this stream.
    Run(Run),
    /// The same, and it stands here.
    At(Run, Rank),
}

fn rank(header: &Header, lane: u8, aging_ms: u64) -> Rank {
    let behind = MAX_PRIORITY - lane;
    let later = aging_ms.saturating_mul(u64::from(behind));
    (header.ready_from().saturating_add(later), behind)
}

impl Run {
    /// Whether a message of another lane goes before this one of the stream.
    pub(crate) fn is_over(&self, header: &Header) -> bool {
        let own = || rank(header, self.stream.lane(), self.aging_ms);
        self.before.is_some_and(|before| before < own())
    }

    /// Whether a message of another lane may go before the next one.
    pub(crate) fn alternates(&self) -> bool {
        self.before.is_some()
    }

    /// Notes the turn.
    pub(crate) fn note(&self, p: &mut View<'_>) {
        if self.is_turn {
            let stream = self.stream;
            let left = match (self.round, stream.key_slot()) {
                (Some(mut round), Some(slot)) => {
                    if self.left == 0 {
                        round.add(slot);
                    }
                    round.0
                }
                _ => self.left,
            };
            *p.standing.turns.change(stream.lane()) = Turn { stream, left };
        }
    }
}

impl Lanes {
    /// Of the streams of these slots, where keys are sticky.
    pub(crate) fn new(slots: KeySlots) -> Self {
        Self {
            slots,
            known: [Known::Unknown; MAX_PRIORITY as usize + 1],
        }
    }

    /// What goes next; None: nothing does, as far as was looked.
    pub(crate) fn choose(
        &mut self,
        p: &mut View<'_>,
        step: &mut Step<'_>,
        scan: &mut u64,
    ) -> Result<Option<Run>, KvError> {
        if p.lines.is_empty() {
            let some = p.group.returned + p.look().waiting() > 0;
            return Ok(some.then(|| alone(Stream::BASE)));
        }
        if p.config.aging_ms == 0 {
            let mut lanes = (0..=MAX_PRIORITY).rev();
            return Ok(lanes.find_map(|lane| next_of(p, lane, self.slots)));
        }
        let mut some = 0;
        for (lane, known) in (0..).zip(&mut self.known) {
            if let Known::Unknown = known {
                *known = next_of(p, lane, self.slots).map_or(Known::Nothing, Known::Run);
            }
            some += usize::from(!matches!(known, Known::Nothing));
        }
        let only = self.known.iter_mut().find_map(|known| match *known {
            Known::Run(run) if some == 1 => {
                *known = Known::Unknown;
                Some(run)
            }
            _ => None,
        });
        if only.is_some() {
            return Ok(only);
        }
        self.find_heads(p, step, scan)?;
        Ok(self.first())
    }

    /// Looks where the messages stand that the lanes give next.
    fn find_heads(
        &mut self,
        p: &mut View<'_>,
        step: &mut Step<'_>,
        scan: &mut u64,
    ) -> Result<(), KvError> {
        let aging_ms = p.config.aging_ms;
        // The highest first: what it may look at is not used up by a lane with a long way to go.
        for known in self.known.iter_mut().rev() {
            if let Known::Run(run) = *known {
                let head = p.head_of(step, run.stream, scan)?;
                let head = head.map(|header| rank(&header, run.stream.lane(), aging_ms));
                let run = Run { aging_ms, ..run };
                *known = head.map_or(Known::Nothing, |head| Known::At(run, head));
            }
        }
        Ok(())
    }

    /// The lane whose message stands first, up to where that of the second one stands.
    fn first(&mut self) -> Option<Run> {
        let heads = self.known.iter().filter_map(|known| match known {
            Known::At(run, head) => Some((*head, *run)),
            _ => None,
        });
        let (mut first, mut second): (Option<(Rank, Run)>, Option<Rank>) = (None, None);
        for (head, run) in heads {
            if first.is_none_or(|(first, _)| head < first) {
                second = first.replace((head, run)).map(|(head, _)| head);
            } else if second.is_none_or(|second| head < second) {
                second = Some(head);
            }
        }
        let (_, run) = first?;
        // What it gives changes where it stands.
        self.known[usize::from(run.stream.lane())] = Known::Unknown;
        let before = second;
        Some(Run { before, ..run })
    }
}

/// A stream that has no other beside it.
fn alone(stream: Stream) -> Run {
    Run {
        stream,
        left: u64::MAX,
        is_turn: false,
        round: None,
        before: None,
        aging_ms: 0,
    }
}

/// The slot of a lane whose turn it is, of these. Each gives one message in a round, and a round is
/// over for those of one receive when none of them that has something is left in it.
fn next_slot(p: &View<'_>, lane: u8, slots: KeySlots) -> Option<Run> {
    let look = p.look();
    let ready = look.ready_in(lane, Stream::BASE);
    let ready = ready.map(|(stream, _)| stream);
    let ready: Vec<Stream> = ready.filter(|stream| slots.takes(*stream)).collect();
    let (first, others) = ready.split_first()?;
    if others.is_empty() {
        return Some(alone(*first));
    }
    let mut round = KeySlots(p.standing.turns.get(lane).left);
    let is_left = |stream: &&Stream| stream.key_slot().is_some_and(|slot| !round.has(slot));
    let next = ready.iter().find(is_left).copied();
    if next.is_none() {
        round.0 &= !slots.0;
    }
    Some(Run {
        left: 1,
        is_turn: true,
        round: Some(round),
        ..alone(next.unwrap_or(*first))
    })
}

/// The tenant of a lane whose turn it is, or the slot.
fn next_of(p: &View<'_>, lane: u8, slots: KeySlots) -> Option<Run> {
    if p.config.sticky_keys {
        return next_slot(p, lane, slots);
    }
    let (look, turn) = (p.look(), p.standing.turns.get(lane));
    let mut ready = look.ready_in(lane, turn.stream);
    let (next, _) = ready.next()?;
    if ready.next().is_none() {
        return Some(alone(next));
    }
    let goes_on = turn.left > 0 && look.is_ready(turn.stream);
    let weight = |stream| TenantWeight::of_stream(&p.config.weights, stream);
    let (stream, left) = if goes_on {
        (turn.stream, turn.left.min(weight(turn.stream)))
    } else {
        (next, weight(next))
    };
    Some(Run {
        left,
        is_turn: true,
        ..alone(stream)
    })
}

impl View<'_> {
    /// The counters of a stream say that messages are there, and none is.
    pub(crate) fn miscounted(&self, how: &str, stream: Stream) -> KvError {
        let (partition, group, number) = (self.id(), self.keys.group, stream.number());
        KvError(format!(
            "partition {partition}: messages {how} in stream {number} of group {group}, by their \
             count, and there are none"
        ))
    }

    /// The message that a stream gives next: the first one that came back, else the first one that
    /// waits. Those before it that are not due are passed.
    fn head_of(
        &mut self,
        step: &mut Step<'_>,
        stream: Stream,
        scan: &mut u64,
    ) -> Result<Option<Header>, KvError> {
        if self.look().returned_in(stream) > 0 {
            let (from, end) = self.keys.all_returned(stream);
            if let Some((key, _)) = kv::first(step.kv, &from, &end)? {
                return Ok(Some(self.header(step.kv, keys::tail(&key))?));
            }
        }
        while self.look().waiting_in(stream) > 0 && *scan > 0 {
            let cursor = self.look().spot(stream).cursor;
            let position = self.next_within(step.kv, (stream, cursor), scan)?;
            if position >= self.state.tail {
                return Err(self.miscounted("wait", stream));
            }
            self.set_cursor(stream, position);
            let header = self.open(step.kv, position)?;
            let Some(header) = header.filter(|header| header.stream == stream) else {
                continue;
            };
            let keyed = self.config.ordering == Ordering::PerKey;
            if !keyed || !self.is_early(step.kv, position, &header)? {
                return Ok(Some(header));
            }
            self.set_cursor(stream, position + 1);
            self.stop_waiting(stream);
            self.pass_early(step, position, &header)?;
        }
        Ok(None)
    }
}
