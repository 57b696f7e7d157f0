//! Which stream a receive goes on with: first the lane, by priority and age, then the tenant.
//!
//! With aging, a message stands as though it had come so much earlier for each step of its
//! priority: the lane goes first whose head has come first then, and nothing waits behind what
//! comes a certain time later. Without aging the highest lane goes first that has something.
//! The tenants of a lane that have something take turns of as many messages as they have weight.

use super::config::Ordering;
use super::group::View;
use super::header::Header;
use super::keys;
use super::partition::Step;
use super::stream::{MAX_PRIORITY, Stream};
use super::tenants::{TenantWeight, Turn};
use crate::kv::{self, KvError};

/// Where a message stands among those of other lanes: the lower one goes first.
type Rank = (u64, u8);

/// What a receive may take from one stream before it has to choose again.
pub(crate) struct Run {
    pub(crate) stream: Stream,
    /// Messages at most.
    pub(crate) left: u64,
    /// It is its tenant's turn, which is counted.
    is_turn: bool,
    /// A message of another lane stands here.
    before: Option<Rank>,
    aging_ms: u64,
}

/// What a receive knows of the lanes, from the highest on: it has to look again, or not.
pub(crate) struct Lanes {
    heads: [Head; MAX_PRIORITY as usize + 1],
}

#[derive(Clone, Copy)]
enum Head {
    Unknown,
    Nothing,
    At(Rank),
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

    /// Notes the turn.
    pub(crate) fn note(&self, p: &mut View<'_>) {
        if self.is_turn {
            let (stream, left) = (self.stream, self.left);
            *p.standing.turns.change(stream.lane()) = Turn { stream, left };
        }
    }
}

impl Lanes {
    pub(crate) fn new() -> Self {
        Self {
            heads: [Head::Unknown; MAX_PRIORITY as usize + 1],
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
        let lanes = (0..=MAX_PRIORITY).rev();
        if p.config.aging_ms == 0 {
            return Ok(lanes.filter_map(|lane| next_of(p, lane)).next());
        }
        let (mut first, mut second): (Option<Rank>, Option<Rank>) = (None, None);
        for lane in lanes {
            let Some(head) = self.head(p, step, (lane, &mut *scan))? else {
                continue;
            };
            if first.is_none_or(|first| head < first) {
                second = first.replace(head);
            } else if second.is_none_or(|second| head < second) {
                second = Some(head);
            }
        }
        let Some((_, behind)) = first else {
            return Ok(None);
        };
        // What it gives changes where it stands.
        self.heads[usize::from(behind)] = Head::Unknown;
        let run = next_of(p, MAX_PRIORITY - behind);
        let (before, aging_ms) = (second, p.config.aging_ms);
        Ok(run.map(|run| Run {
            before,
            aging_ms,
            ..run
        }))
    }

    /// Where the message stands that a lane gives next.
    fn head(
        &mut self,
        p: &mut View<'_>,
        step: &mut Step<'_>,
        (lane, scan): (u8, &mut u64),
    ) -> Result<Option<Rank>, KvError> {
        let known = &mut self.heads[usize::from(MAX_PRIORITY - lane)];
        if let Head::Unknown = known {
            let head = match next_of(p, lane) {
                Some(run) => p.head_of(step, run.stream, scan)?,
                None => None,
            };
            let head = head.map(|header| rank(&header, lane, p.config.aging_ms));
            *known = head.map_or(Head::Nothing, Head::At);
        }
        Ok(match known {
            Head::At(rank) => Some(*rank),
            Head::Nothing | Head::Unknown => None,
        })
    }
}

/// A stream that has no other beside it.
fn alone(stream: Stream) -> Run {
    Run {
        stream,
        left: u64::MAX,
        is_turn: false,
        before: None,
        aging_ms: 0,
    }
}

/// The tenant of a lane whose turn it is.
fn next_of(p: &View<'_>, lane: u8) -> Option<Run> {
    let turn = p.standing.turns.get(lane);
    let (mut first, mut next, mut goes_on, mut count) = (None, None, false, 0);
    for (stream, _) in p.look().ready_in(lane) {
        first = first.or(Some(stream));
        if stream > turn.stream {
            next = next.or(Some(stream));
        }
        goes_on |= stream == turn.stream && turn.left > 0;
        count += 1;
    }
    let first = first?;
    if count == 1 {
        return Some(alone(first));
    }
    let (stream, left) = if goes_on {
        (turn.stream, turn.left)
    } else {
        let stream = next.unwrap_or(first);
        (stream, TenantWeight::of_stream(&p.config.weights, stream))
    };
    Some(Run {
        left,
        is_turn: true,
        ..alone(stream)
    })
}

impl View<'_> {
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
