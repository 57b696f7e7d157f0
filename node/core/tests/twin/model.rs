//! The dumb twin: every message in one list, every rule by walking it.

use std::collections::BTreeMap;

use bytes::Bytes;
use roadstead_core::shard::{
    Attempt, Attempts, EventKind, GroupConfig, MessageId, Ordering, OutboxReason, PartitionConfig,
    PartitionId, SessionId, Totals,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Waiting,
    Returned,
    BackingOff(u64),
    Leased {
        delivery: u64,
        slot: u16,
        deadline: u64,
        session: Option<SessionId>,
    },
    Blocked,
}

/// What a message is for one group that has not settled it.
#[derive(Debug, Clone)]
pub struct Mine {
    pub state: State,
    pub count: u32,
    /// All that failed, with all that was said.
    pub failed: Vec<Attempt>,
    /// When it was delivered last.
    pub at: u64,
}

impl Mine {
    pub fn new() -> Self {
        Self {
            state: State::Waiting,
            count: 0,
            failed: Vec::new(),
            at: 0,
        }
    }

    /// When it was delivered first and last, as far as these have failed; 0: never.
    pub fn times(&self) -> (u64, u64) {
        let at = |attempt: Option<&Attempt>| attempt.map_or(0, |it| it.delivered_at);
        (at(self.failed.first()), at(self.failed.last()))
    }

    /// What is kept of its attempts.
    pub fn attempts(&self) -> Attempts {
        let many = self.failed.len().saturating_sub(16);
        let mut newest = self.failed[many..].to_vec();
        let text = newest.iter().rposition(|it| !it.error.is_empty());
        for (n, attempt) in newest.iter_mut().enumerate() {
            let most = if Some(n) == text { 1_024 } else { 128 };
            attempt.error.truncate(most);
        }
        Attempts {
            first_delivered_at: self.times().0,
            newest,
        }
    }

    pub fn is_leased(&self) -> bool {
        matches!(self.state, State::Leased { .. })
    }
}

/// A lane, and a tenant as they take turns; 0: none.
pub type Stream = (u8, u64);

#[derive(Debug, Clone)]
pub struct Message {
    pub id: MessageId,
    pub sequence: u64,
    /// Its place in line; of a delayed one: none yet.
    pub position: usize,
    pub key: u64,
    pub body: Bytes,
    pub size: u64,
    pub enqueued_at: u64,
    pub ready_from: u64,
    /// Its own time to live; 0: none.
    pub ttl: u64,
    /// When it is due; 0: at once.
    pub due: u64,
    pub priority: u8,
    /// 0: none.
    pub tenant: u64,
    /// In which lane and for which tenant it goes.
    pub stream: Stream,
    /// It has its place in line before it is due.
    pub early: bool,
    /// Of the groups that have not settled it.
    pub of: BTreeMap<u32, Mine>,
    /// When the last group had settled it.
    pub settled_at: Option<u64>,
}

/// What ever got a place in line.
#[derive(Debug, Clone)]
pub struct Placed {
    pub sequence: u64,
    pub was_delayed: bool,
    pub at: u64,
}

/// A message in an outbox. The twin does not predict its number, it only checks that it stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaving {
    pub target: PartitionId,
    pub number: Option<u64>,
    /// In its partition; 0: not known.
    pub sequence: u64,
    pub id: MessageId,
    pub key: u64,
    pub body: Bytes,
    pub enqueued_at: u64,
    /// 0: at once.
    pub due: u64,
    /// 0: none.
    pub ttl: u64,
    pub priority: u8,
    pub tenant: u64,
    pub reason: OutboxReason,
    pub count: u32,
    pub at: u64,
    pub attempts: Attempts,
}

#[derive(Debug, Default, Clone)]
pub struct Producer {
    /// By number, the sequence; 0: it has moved.
    pub accepted: BTreeMap<u64, u64>,
    pub highest: u64,
    pub last_used: u64,
}

/// An id of an accepted message.
#[derive(Debug, Clone)]
pub struct Remembered {
    pub what: u128,
    pub sequence: u64,
    /// When it is forgotten.
    pub until: u64,
}

/// Where the circuit breaker of a group is.
#[derive(Debug, Clone, PartialEq)]
pub enum Circuit {
    /// With when the window began, and whether each of its outcomes was a failure.
    Closed(u64, Vec<bool>),
    Open(u64),
    HalfOpen,
}

impl Default for Circuit {
    fn default() -> Self {
        Self::Closed(0, Vec::new())
    }
}

#[derive(Debug, Clone, Default)]
pub struct Group {
    pub setting: GroupConfig,
    pub epoch: u64,
    pub delivery: u64,
    pub breaker: Circuit,
    /// What its rate has yet to wait for, in ns, and when that was, in ms.
    pub debt: (u128, u64),
    /// Of each lane: whose turn it is, and how many messages it may take yet.
    pub turns: BTreeMap<u8, (Stream, u64)>,
    /// What is not of the whole partition.
    pub totals: Totals,
}

#[derive(Debug, Clone)]
pub struct Partition {
    pub id: PartitionId,
    pub config: PartitionConfig,
    pub groups: BTreeMap<u32, Group>,
    pub last_group: u32,
    /// In order of position; the delayed ones are not among them, those that are retained are.
    pub messages: Vec<Message>,
    pub delayed: Vec<Message>,
    pub line: Vec<Placed>,
    pub outbox: Vec<Leaving>,
    pub accepted: BTreeMap<PartitionId, u64>,
    pub producers: BTreeMap<Bytes, Producer>,
    pub ids: Vec<Remembered>,
    pub sequence: u64,
    pub sent: u64,
    pub purged: u64,
    pub redriven: u64,
    /// Messages that came from elsewhere and went on.
    pub sent_on: u64,
    pub dropping: bool,
    /// What the rate limit has yet to wait for, in ns, and when that was, in ms.
    pub debt: (u128, u64),
    /// Of an atomic batch that is tried: its new messages so far.
    pub asked: Option<u64>,
}

/// What an entry does beside its replies.
#[derive(Debug, Default)]
pub struct Effects {
    pub now: u64,
    pub freed: Vec<Bytes>,
    pub events: Vec<(PartitionId, u32, MessageId, EventKind)>,
}

impl Partition {
    pub fn new(id: PartitionId, config: PartitionConfig) -> Self {
        Self {
            id,
            config,
            groups: BTreeMap::new(),
            last_group: 0,
            messages: Vec::new(),
            delayed: Vec::new(),
            line: Vec::new(),
            outbox: Vec::new(),
            accepted: BTreeMap::new(),
            producers: BTreeMap::new(),
            ids: Vec::new(),
            sequence: 0,
            sent: 0,
            purged: 0,
            redriven: 0,
            sent_on: 0,
            dropping: false,
            debt: (0, 0),
            asked: None,
        }
    }

    /// What some group has never settled.
    pub fn live(&self) -> impl Iterator<Item = &Message> {
        let live = |m: &&Message| m.settled_at.is_none();
        self.messages.iter().filter(live).chain(&self.delayed)
    }

    pub fn bytes(&self) -> u64 {
        self.live().map(|m| m.size).sum()
    }

    /// What a group has not settled.
    pub fn open(&self, group: u32) -> impl Iterator<Item = (&Message, &Mine)> {
        self.messages
            .iter()
            .filter_map(move |m| Some((m, m.of.get(&group)?)))
    }

    pub fn in_flight(&self, group: u32) -> u64 {
        self.open(group)
            .filter(|(_, mine)| mine.is_leased())
            .count() as u64
    }

    /// The message of this key (strict: of the partition) that the others wait for.
    pub fn engaged(&self, group: u32, key: u64) -> bool {
        let strict = self.config.ordering == Ordering::Strict;
        self.open(group)
            .any(|(m, mine)| (strict || m.key == key) && holds_key(mine))
    }

    pub fn expires_at(&self, m: &Message) -> Option<u64> {
        let ttls = [self.config.ttl_ms, m.ttl];
        let shortest = ttls.into_iter().filter(|ttl| *ttl != 0).min();
        let shortest = shortest.filter(|_| m.settled_at.is_none());
        shortest.map(|ttl| m.ready_from + ttl)
    }

    /// Adds a message at the end of the line.
    pub fn enter(&mut self, mut m: Message, now: u64, was_delayed: bool) {
        m.early = self.config.ordering == Ordering::PerKey && m.due != 0;
        m.position = self.line.len();
        m.stream = self.stream_of(&m);
        m.of = self
            .groups
            .keys()
            .map(|group| (*group, Mine::new()))
            .collect();
        self.line.push(Placed {
            sequence: m.sequence,
            was_delayed,
            at: now,
        });
        self.messages.push(m);
    }

    /// Strict order: a delayed message that has come to the front backs off.
    pub fn settle_front(&mut self, group: u32, now: u64) {
        if self.config.ordering != Ordering::Strict || self.engaged(group, 0) {
            return;
        }
        let mut open = self.messages.iter_mut();
        let front = open.find_map(|m| Some((m.due, m.of.get_mut(&group)?)));
        if let Some((due, mine)) = front
            && mine.state == State::Waiting
            && due > now
        {
            mine.state = State::BackingOff(due);
        }
    }

    pub fn settle_fronts(&mut self, now: u64) {
        for group in self.groups.keys().copied().collect::<Vec<_>>() {
            self.settle_front(group, now);
        }
    }

    pub fn at(&self, sequence: u64) -> usize {
        let mut all = self.messages.iter();
        all.position(|m| m.sequence == sequence)
            .expect("it is there")
    }

    /// A group has settled a message; the next one of its key may go.
    pub fn remove(&mut self, group: u32, sequence: u64, fx: &mut Effects) -> (Message, Mine) {
        let (m, mine) = self.settle(group, sequence, fx);
        if self.config.ordering == Ordering::PerKey && !self.engaged(group, m.key) {
            let same = |other: &&mut Message| other.key == m.key && other.of.contains_key(&group);
            let next = self.messages.iter_mut().find(same);
            let next = next.and_then(|m| Some((m.due, m.of.get_mut(&group)?)));
            if let Some((due, next)) = next.filter(|(_, next)| next.state == State::Blocked) {
                next.state = if due > fx.now {
                    State::BackingOff(due)
                } else {
                    State::Returned
                };
            }
        }
        self.settle_front(group, fx.now);
        (m, mine)
    }

    /// A group has settled a message, whatever others of its key do.
    pub fn settle(&mut self, group: u32, sequence: u64, fx: &mut Effects) -> (Message, Mine) {
        let at = self.at(sequence);
        let m = &mut self.messages[at];
        let mine = m.of.remove(&group).expect("it has not settled it");
        let copy = m.clone();
        if m.of.is_empty() {
            m.settled_at = Some(fx.now);
            if self.config.retain_ms == 0 {
                self.gone(sequence, fx);
            }
        }
        (copy, mine)
    }

    /// A message is no more; its payload is freed unless an outbox names it.
    pub fn gone(&mut self, sequence: u64, fx: &mut Effects) {
        let at = self.at(sequence);
        let gone = self.messages.remove(at);
        self.forget(gone, fx);
    }

    /// A message's payload is freed unless an outbox names it.
    pub fn forget(&self, gone: Message, fx: &mut Effects) {
        let named = |m: &Leaving| m.sequence == gone.sequence && m.body == gone.body;
        if !self.outbox.iter().any(named) {
            fx.freed.push(gone.body);
        }
    }

    pub fn message(&mut self, group: u32, sequence: u64) -> &mut Mine {
        let at = self.at(sequence);
        let mine = self.messages[at].of.get_mut(&group);
        mine.expect("the group has not settled it")
    }

    pub fn totals(&mut self, group: u32) -> &mut Totals {
        &mut self.groups.get_mut(&group).expect("it is there").totals
    }
}

fn holds_key(mine: &Mine) -> bool {
    matches!(
        mine.state,
        State::Leased { .. } | State::Returned | State::BackingOff(_)
    )
}
