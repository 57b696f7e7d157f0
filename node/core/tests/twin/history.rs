//! Random histories: what happens, in terms that stay meaningful when the history is shrunk.

use proptest::bool::weighted;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::Index;
use roadstead_core::clock::YEAR_MS;
use roadstead_core::shard::{MAX_DIGEST_BYTES, MAX_DIGEST_ROWS, Ordering};

use super::config::{Config, DeadLetter, config, ordering};

/// Stands for a group that there is not.
pub const UNKNOWN: usize = 99;
/// Partitions of the shard in a history.
pub const SLOTS: usize = 4;

#[derive(Debug, Clone)]
pub struct Entry {
    /// Cluster time that passes before it, ms.
    pub passes: u64,
    pub events: Vec<Happening>,
    /// The machine is opened anew from its rows after it.
    pub reopen: bool,
}

#[derive(Debug, Clone)]
pub enum Happening {
    Configure {
        slot: usize,
        config: Config,
        stale: bool,
    },
    Drop {
        slot: usize,
        only_if_empty: bool,
    },
    Send {
        slot: usize,
        producer: Option<(u8, u64)>,
        messages: Vec<Sent>,
        atomic: bool,
    },
    Receive {
        slot: usize,
        group: usize,
        session: u128,
        max: u32,
        lease: Option<u64>,
        once: bool,
        slots: Option<u64>,
    },
    Settle {
        slot: usize,
        picks: Vec<(Index, Settled)>,
    },
    /// With the slots that outputs go to.
    Complete {
        slot: usize,
        picks: Vec<Index>,
        outputs: Vec<(Index, Sent)>,
    },
    Release {
        slot: usize,
        session: u128,
    },
    Tick,
    Shuttle {
        pick: Index,
        max: usize,
        accept: bool,
        gap: bool,
        done: bool,
    },
    Purge {
        slot: usize,
    },
    Redrive {
        slot: usize,
        to: DeadLetter,
        /// Which message, and whether it is changed.
        picks: Vec<(Index, bool)>,
    },
    Delete {
        slot: usize,
        pick: Index,
        forced: bool,
    },
    Seek {
        slot: usize,
        group: usize,
        to: Begin,
    },
    /// Of the rows from one of those that are there on.
    Digest {
        from: Option<Index>,
        rows: u32,
        bytes: u32,
    },
}

/// Where a group begins anew.
#[derive(Debug, Clone, Copy)]
pub enum Begin {
    Beginning,
    End,
    /// The sequence of a message that was sent, or a higher one.
    Sequence(Index),
    /// So many ms ago.
    Ago(u64),
}

#[derive(Debug, Clone)]
pub struct Sent {
    pub key: Option<u8>,
    pub delay: u64,
    /// Not before the present time, less 10, and this has passed; 0: at once.
    pub not_before: u64,
    pub ttl: u64,
    /// The id that its producer gives, of few.
    pub id: Option<u8>,
    /// What it says: of few, so that a content comes again; 0: what nothing else says.
    pub content: u8,
    pub len: usize,
    pub priority: u8,
    pub tenant: Option<u8>,
}

#[derive(Debug, Clone, Copy)]
pub enum Settled {
    Ack,
    Nack {
        delay: Option<u64>,
        error: bool,
        unstarted: bool,
    },
    Reject {
        error: bool,
    },
    Extend {
        lease: u64,
    },
}

fn sent() -> impl Strategy<Value = Sent> {
    let key = prop_oneof![1 => Just(None), 6 => (0_u8..3).prop_map(Some)];
    let delay = prop_oneof![5 => Just(0_u64), 1 => Just(5), 1 => Just(40), 1 => Just(3_000)];
    let not_before = prop_oneof![12 => Just(0_u64), 2 => 1_u64..60, 1 => Just(2 * YEAR_MS)];
    let ttl = prop_oneof![5 => Just(0_u64), 1 => 1_u64..100, 1 => Just(800)];
    let same = (
        proptest::option::weighted(0.4, 0_u8..2),
        prop_oneof![2 => Just(0_u8), 1 => 1_u8..3],
    );
    // Many have neither.
    let lane = prop_oneof![
        5 => Just(0_u8), 2 => Just(1), 2 => Just(4), 2 => Just(9), 1 => Just(200),
    ];
    let lane = prop_oneof![
        3 => (lane, proptest::option::weighted(0.4, 0_u8..3)),
        2 => Just((0, None)),
    ];
    (key, delay, not_before, ttl, same, (6_usize..16, lane)).prop_map(
        |(key, delay, not_before, ttl, (id, content), (len, (priority, tenant)))| Sent {
            key,
            delay,
            not_before,
            ttl,
            id,
            content,
            len,
            priority,
            tenant,
        },
    )
}

fn settled() -> impl Strategy<Value = Settled> {
    let delay = prop_oneof![2 => Just(0_u64), 1 => Just(1), 1 => Just(20), 1 => Just(500)];
    prop_oneof![
        4 => Just(Settled::Ack),
        3 => (of(delay), any::<bool>(), weighted(0.25))
            .prop_map(|(delay, error, unstarted)| Settled::Nack { delay, error, unstarted }),
        1 => any::<bool>().prop_map(|error| Settled::Reject { error }),
        1 => prop_oneof![Just(0_u64), Just(15), Just(4_000)]
            .prop_map(|lease| Settled::Extend { lease }),
    ]
}

fn begin() -> impl Strategy<Value = Begin> {
    prop_oneof![
        2 => Just(Begin::Beginning),
        1 => Just(Begin::End),
        3 => any::<Index>().prop_map(Begin::Sequence),
        3 => prop_oneof![0_u64..100, 0_u64..3_000].prop_map(Begin::Ago),
    ]
}

fn few_rows() -> impl Strategy<Value = u32> {
    prop_oneof![1_u32..6, Just(MAX_DIGEST_ROWS)]
}

fn few_bytes() -> impl Strategy<Value = u32> {
    prop_oneof![1_u32..600, Just(MAX_DIGEST_BYTES)]
}

/// Boxed: what generates is moved about, and large.
fn happening() -> impl Strategy<Value = Happening> {
    // The first slot gets half of the traffic, so that histories go deep.
    let slot = || prop_oneof![3 => Just(0_usize), 1 => 1..SLOTS];
    let group = || prop_oneof![40 => 0_usize..4, 1 => Just(UNKNOWN)];
    let session = || 0_u128..3;
    let number = prop_oneof![8 => 0_u64..12, 1 => 1_000_u64..1_100, 1 => Just(5_000)];
    let lease = of(prop_oneof![Just(0_u64), Just(30), Just(2_000)]);
    prop_oneof![
        2 => (slot(), config(), weighted(0.1))
            .prop_map(|(slot, config, stale)| Happening::Configure { slot, config, stale }).boxed(),
        8 => (slot(), of((0_u8..2, number)), vec(sent(), 1..5), weighted(0.2))
            .prop_map(|(slot, producer, messages, atomic)| {
                Happening::Send { slot, producer, messages, atomic }
            })
            .boxed(),
        10 => (slot(), group(), session(), 1_u32..6, (lease, weighted(0.15), of(any::<u64>())))
            .prop_map(|(slot, group, session, max, (lease, once, slots))| {
                Happening::Receive { slot, group, session, max, lease, once, slots }
            })
            .boxed(),
        1 => (slot(), group(), begin())
            .prop_map(|(slot, group, to)| Happening::Seek { slot, group, to })
            .boxed(),
        8 => (slot(), vec((any::<Index>(), settled()), 1..5))
            .prop_map(|(slot, picks)| Happening::Settle { slot, picks }).boxed(),
        2 => (slot(), vec(any::<Index>(), 1..3), vec((any::<Index>(), sent()), 0..3))
            .prop_map(|(slot, picks, outputs)| Happening::Complete { slot, picks, outputs })
            .boxed(),
        1 => (slot(), session())
            .prop_map(|(slot, session)| Happening::Release { slot, session })
            .boxed(),
        6 => Just(Happening::Tick).boxed(),
        3 => (any::<Index>(), 1_usize..4, any::<bool>(), weighted(0.1), any::<bool>())
            .prop_map(|(pick, max, accept, gap, done)| {
                Happening::Shuttle { pick, max, accept, gap, done }
            })
            .boxed(),
        1 => slot().prop_map(|slot| Happening::Purge { slot }).boxed(),
        2 => (slot(), redriven_to(), vec((any::<Index>(), weighted(0.3)), 1..4))
            .prop_map(|(slot, to, picks)| Happening::Redrive { slot, to, picks })
            .boxed(),
        2 => (slot(), any::<Index>(), any::<bool>())
            .prop_map(|(slot, pick, forced)| Happening::Delete { slot, pick, forced })
            .boxed(),
        2 => (of(any::<Index>()), few_rows(), few_bytes())
            .prop_map(|(from, rows, bytes)| Happening::Digest { from, rows, bytes }).boxed(),
    ]
}

fn redriven_to() -> impl Strategy<Value = DeadLetter> {
    prop_oneof![
        4 => Just(DeadLetter::Pair),
        2 => Just(DeadLetter::Other),
        1 => Just(DeadLetter::Gone),
    ]
}

fn entry() -> impl Strategy<Value = Entry> {
    let passes = prop_oneof![
        4 => Just(0_u64),
        4 => 1_u64..20,
        3 => 20_u64..100,
        2 => 900_u64..6_000,
        1 => Just(700_000),
    ];
    let rare = (0..SLOTS, any::<bool>()).prop_map(|(slot, only_if_empty)| Happening::Drop {
        slot,
        only_if_empty,
    });
    let event = prop_oneof![60 => happening().boxed(), 1 => rare.boxed()];
    (passes, vec(event, 1..4), weighted(0.05)).prop_map(|(passes, events, reopen)| Entry {
        passes,
        events,
        reopen,
    })
}

/// First configurations, one per slot, and what happens then.
pub fn history() -> impl Strategy<Value = (Vec<(Ordering, Config)>, Vec<Entry>)> {
    let configs = vec((ordering(), config()), SLOTS);
    (configs, vec(entry(), 1..60))
}
