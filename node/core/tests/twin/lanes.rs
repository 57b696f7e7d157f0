//! Which messages the twin delivers next: first the lane, then the tenant or
//! the slot, then the message.

use roadstead_core::shard::{KeySlots, Ordering, TenantWeight};

use super::model::{Message, Mine, Partition, State, Stream};

/// What goes next.
struct Next {
    stream: Stream,
    /// Messages at most; None: its turn is not counted.
    left: Option<u64>,
    /// Slots that had their turn, where keys are sticky.
    round: Option<u64>,
    /// Where the next message of another lane stands.
    before: Option<(u64, u8)>,
}

/// A tenant as it takes turns.
fn turn_of(tenant: u64) -> u64 {
    if tenant == 0 {
        0
    } else {
        tenant % ((1 << 24) - 2) + 1
    }
}

/// The bit of a stream's slot.
fn slot_bit((_, slot): Stream) -> u64 {
    1 << (slot - 1)
}

impl Partition {
    /// In which lane and for which tenant, or slot, a message goes: the first of its key decides.
    pub fn stream_of(&self, m: &Message) -> Stream {
        let mut same = self.messages.iter().filter(|other| other.key == m.key);
        match (self.config.ordering, same.next()) {
            (Ordering::Strict, _) => (0, 0),
            (Ordering::PerKey, Some(first)) => first.stream,
            _ if self.config.sticky_keys => (m.priority, (m.key >> 58) + 1),
            _ => (m.priority, turn_of(m.tenant)),
        }
    }

    fn weight(&self, (_, tenant): Stream) -> u64 {
        let weights = self.config.weights.iter();
        let mut own = weights.filter(|of: &&TenantWeight| turn_of(of.tenant) == tenant);
        own.next().map_or(1, |of| u64::from(of.weight))
    }

    fn rank(&self, m: &Message) -> (u64, u8) {
        let behind = 9 - m.stream.0;
        (
            m.ready_from + u64::from(behind) * self.config.aging_ms,
            behind,
        )
    }

    /// Messages of a stream that came back, or that wait, in order.
    fn of_stream(&self, group: u32, stream: Stream, state: State) -> Vec<&Message> {
        let open = self.open(group);
        let open = open.filter(|(m, mine)| m.stream == stream && mine.state == state);
        open.map(|(m, _)| m).collect()
    }

    /// Whose turn it is in a lane, of those slots.
    fn tenant_of(&self, group: u32, lane: u8, slots: KeySlots) -> Option<Next> {
        let ready = |m: &Message, mine: &Mine| match mine.state {
            State::Returned => true,
            State::Waiting => !m.early,
            _ => false,
        };
        let open = self.open(group).filter(|(m, mine)| ready(m, mine));
        let mut streams: Vec<_> = open.map(|(m, _)| m.stream).collect();
        streams.retain(|stream| stream.0 == lane);
        if self.config.sticky_keys {
            streams.retain(|stream| slots.0 >> (stream.1 - 1) & 1 == 1);
        }
        streams.sort_unstable();
        streams.dedup();
        let before = None;
        let &first = streams.first()?;
        if streams.len() == 1 {
            return Some(Next {
                stream: first,
                left: None,
                round: None,
                before,
            });
        }
        let turns = &self.groups[&group].turns;
        let (last, left) = turns.get(&lane).copied().unwrap_or_default();
        if self.config.sticky_keys {
            let next = streams.iter().find(|stream| left & slot_bit(**stream) == 0);
            return Some(Next {
                stream: next.copied().unwrap_or(first),
                left: Some(1),
                round: Some(if next.is_none() {
                    left & !slots.0
                } else {
                    left
                }),
                before,
            });
        }
        if left > 0 && streams.contains(&last) {
            return Some(Next {
                stream: last,
                left: Some(left.min(self.weight(last))),
                round: None,
                before,
            });
        }
        let next = streams.iter().find(|stream| **stream > last);
        let stream = next.copied().unwrap_or(first);
        Some(Next {
            stream,
            left: Some(self.weight(stream)),
            round: None,
            before,
        })
    }

    /// What is not due yet and stands before the first that waits in a stream is passed.
    fn pass_early(&mut self, group: u32, stream: Stream) {
        let waiting = self.of_stream(group, stream, State::Waiting);
        let Some(first) = waiting.iter().position(|m| !m.early) else {
            return;
        };
        let early = waiting[..first].iter();
        let early: Vec<_> = early.map(|m| (m.sequence, m.key, m.due)).collect();
        for (sequence, key, due) in early {
            let state = if self.engaged(group, key) {
                State::Blocked
            } else {
                State::BackingOff(due)
            };
            self.message(group, sequence).state = state;
        }
    }

    fn choose(&mut self, group: u32, slots: KeySlots) -> Option<Next> {
        if self.config.aging_ms == 0 {
            let mut lanes = (0..=9).rev();
            return lanes.find_map(|lane| self.tenant_of(group, lane, slots));
        }
        let mut heads = Vec::new();
        for lane in 0..=9 {
            let Some(next) = self.tenant_of(group, lane, slots) else {
                continue;
            };
            let returned = self.of_stream(group, next.stream, State::Returned);
            let mut head = returned.first().map(|m| self.rank(m));
            if head.is_none() {
                self.pass_early(group, next.stream);
                let waiting = self.of_stream(group, next.stream, State::Waiting);
                let waiting = waiting.iter().find(|m| !m.early);
                head = waiting.map(|m| self.rank(m));
            }
            heads.push((head.expect("it has something"), lane));
        }
        heads.sort_unstable();
        let (_, lane) = *heads.first()?;
        let before = heads.get(1).map(|(head, _)| *head);
        let next = self.tenant_of(group, lane, slots)?;
        Some(Next { before, ..next })
    }

    /// What came back, else the first that waits and may go.
    pub fn next_to_go(&mut self, group: u32, slots: KeySlots, max: u64) -> Option<Vec<u64>> {
        if self.config.ordering == Ordering::Strict && self.engaged(group, 0) {
            let back = self.of_stream(group, (0, 0), State::Returned);
            return back.first().map(|m| vec![m.sequence]);
        }
        loop {
            let next = self.choose(group, slots)?;
            let stream = next.stream;
            let max = next.left.unwrap_or(max).min(max);
            let back = self.of_stream(group, stream, State::Returned).into_iter();
            let back = back.take_while(|m| next.before.is_none_or(|before| self.rank(m) < before));
            let back: Vec<u64> = back.take(max as usize).map(|m| m.sequence).collect();
            let count = back.len().max(1) as u64;
            self.took(group, &next, 0);
            if !back.is_empty() {
                self.took(group, &next, count);
                return Some(back);
            }
            self.pass_early(group, stream);
            let waiting = self.of_stream(group, stream, State::Waiting);
            let first = waiting.iter().find(|m| !m.early).expect("it has something");
            let (sequence, key) = (first.sequence, first.key);
            if self.config.ordering != Ordering::PerKey || !self.engaged(group, key) {
                self.took(group, &next, count);
                return Some(vec![sequence]);
            }
            self.message(group, sequence).state = State::Blocked;
        }
    }

    fn took(&mut self, group: u32, next: &Next, count: u64) {
        let Some(left) = next.left else { return };
        let left = match next.round {
            Some(round) if count == 0 => round,
            Some(round) => round | slot_bit(next.stream),
            None => left - count,
        };
        let turns = &mut self.groups.get_mut(&group).expect("it is there").turns;
        turns.insert(next.stream.0, (next.stream, left));
    }
}
