//! One partition: what is hot of it in memory, and its rows.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};

use bytes::Bytes;

use super::block::{Block, encode_settled};
use super::config::PartitionConfig;
use super::group::Slot;
use super::hot::Hot;
use super::id::{PartitionId, PayloadRef};
use super::keys::{self, Keys};
use super::lines::Line;
use super::outbox::{Numbers, rows_of};
use super::producer::Producer;
use super::reply::Event;
use super::side::Spans;
use super::state::{Phase, State};
use super::stream::Stream;
use super::timer::Timer;
use super::tracked::Tracked;
use crate::codec::{DecodeError, Reader};
use crate::kv::{Kv, KvError};

/// Bits of groups that weigh as much as a block in the caches.
const BITS_PER_BLOCK: usize = 64;

/// One entry being applied: the rows, its index and time, and what it gives beside replies.
pub(crate) struct Step<'a> {
    pub(crate) kv: &'a mut dyn Kv,
    pub(crate) index: u64,
    pub(crate) now: u64,
    pub(crate) events: Vec<Event>,
    pub(crate) freed: Vec<PayloadRef>,
}

/// A partition: what its groups share, and they.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) shared: Shared,
    pub(crate) groups: BTreeMap<u32, Slot>,
    /// Groups that may have to be written.
    pub(crate) touched: BTreeSet<u32>,
    /// Groups on their way through all positions.
    pub(crate) walking: BTreeSet<u32>,
    /// What the caches of the groups hold.
    group_weight: usize,
}

/// What the groups of a partition share. `state` is written back when it changed; the maps are
/// caches of rows, with what is not written yet.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) keys: Keys,
    pub(crate) config: PartitionConfig,
    pub(crate) state: State,
    stored: State,
    /// Leased messages of all groups.
    pub(crate) in_flight: u64,
    /// Which positions count for which groups.
    pub(crate) spans: Spans,
    pub(crate) blocks: Hot<Block>,
    /// All streams beside the base one, and those that may be empty.
    pub(crate) lines: Tracked<Stream, Line>,
    /// What was added and placed of all of them.
    pub(crate) line_sum: Line,
    pub(crate) emptied: Vec<Stream>,
    /// Bits of groups that blocks were asked for since the caches were emptied.
    pub(crate) bits_known: usize,
    pub(crate) producers: BTreeMap<Vec<u8>, Producer>,
    /// Producers that may have to be written.
    pub(crate) met: Vec<Vec<u8>>,
    /// All outboxes, not only hot ones.
    pub(crate) outboxes: BTreeMap<PartitionId, Numbers>,
}

impl Deref for Partition {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl DerefMut for Partition {
    fn deref_mut(&mut self) -> &mut Shared {
        &mut self.shared
    }
}

/// A row that cannot be read.
pub(crate) fn corrupt(what: &str, id: PartitionId, error: &DecodeError) -> KvError {
    KvError(format!("{what} of partition {id}: {error}"))
}

impl Partition {
    /// A partition without messages and groups.
    pub(crate) fn new(id: PartitionId, config: PartitionConfig) -> Self {
        let state = State {
            due_hint: u64::MAX,
            ..State::default()
        };
        let shared = Shared {
            keys: Keys(id),
            config,
            state,
            // Differs from the state, so that the first flush writes the row.
            stored: State::default(),
            in_flight: 0,
            spans: Spans::default(),
            blocks: Hot::new(),
            lines: Tracked::new(),
            line_sum: Line::default(),
            emptied: Vec::new(),
            bits_known: 0,
            producers: BTreeMap::new(),
            met: Vec::new(),
            outboxes: BTreeMap::new(),
        };
        Self {
            shared,
            groups: BTreeMap::new(),
            touched: BTreeSet::new(),
            walking: BTreeSet::new(),
            group_weight: 0,
        }
    }

    /// The partition whose state row this is.
    pub(crate) fn open(kv: &dyn Kv, id: PartitionId, state: &[u8]) -> Result<Self, KvError> {
        let mut partition = Self::new(id, PartitionConfig::default());
        let state = State::decode(state).map_err(|e| corrupt("state", id, &e))?;
        if let Some(row) = kv.get(&keys::config(id))? {
            let config = PartitionConfig::decode(&mut Reader::new(&row));
            partition.config = config.map_err(|e| corrupt("configuration", id, &e))?;
        } else if !state.dropping {
            return Err(KvError(format!(
                "partition {id} has a state and no configuration"
            )));
        }
        partition.load_lines(kv)?;
        for (key, row) in rows_of(&partition, kv, b'g', usize::MAX)? {
            let group = Keys::split(&key).and_then(|(_, rest)| keys::group(rest));
            let Some(group) = group else {
                return Err(KvError(format!("key of a group of partition {id}")));
            };
            let slot = Slot::open(kv, Keys(id).of(group), &row)?;
            if slot.group().phase != Phase::Settled {
                partition.walking.insert(group);
            }
            partition.groups.insert(group, slot);
        }
        partition.groups_changed();
        partition.set_groups();
        partition.sum_in_flight();
        partition.state = state;
        partition.stored = state;
        partition.load_outboxes(kv)?;
        Ok(partition)
    }

    /// Writes what changed to the rows.
    pub(crate) fn flush(&mut self, kv: &mut dyn Kv) {
        self.shared.flush(kv);
        self.flush_lines(kv);
        for group in std::mem::take(&mut self.touched) {
            if let Some(slot) = self.groups.get_mut(&group) {
                let grown = slot.flush(kv);
                self.group_weight = self.group_weight.saturating_add_signed(grown);
            }
        }
    }

    /// How much is cached, in blocks or what is as large.
    pub(crate) fn weight(&self) -> usize {
        let bits = self.bits_known / BITS_PER_BLOCK;
        self.blocks.len() + bits + self.producers.len() + self.group_weight
    }

    /// Forgets what is in rows anyway. Only after `flush`.
    pub(crate) fn evict(&mut self) {
        self.blocks.clear();
        self.bits_known = 0;
        self.producers.clear();
        self.groups.values_mut().for_each(Slot::evict);
        self.group_weight = 0;
    }
}

impl Shared {
    pub(crate) fn id(&self) -> PartitionId {
        self.keys.0
    }

    fn flush(&mut self, kv: &mut dyn Kv) {
        let (keys, state) = (self.keys, &mut self.state);
        self.blocks.touched(|number, block| {
            if std::mem::take(&mut block.dirty) {
                kv.put(&keys.block(number), Bytes::copy_from_slice(block.encoded()));
            }
            block.changed_bits(&mut |group, settled| {
                let key = keys.of(group).settled(number);
                kv.put(&key, encode_settled(settled).into());
            });
            if std::mem::take(&mut block.side_dirty) {
                let settled = block.settled;
                if let Some(side) = block.side.take_if(|side| side.is_needless(settled)) {
                    drop(side);
                    kv.delete(&keys.side(number));
                    state.sides -= 1;
                } else if let Some(side) = &block.side {
                    kv.put(&keys.side(number), side.encode().into());
                }
            }
        });
        for id in self.met.drain(..) {
            if let Some(producer) = self.producers.get_mut(&id) {
                producer.flush(keys, &id, kv);
            }
        }
        if self.state != self.stored {
            kv.put(&keys::state(self.id()), self.state.encode().into());
            self.stored = self.state;
        }
    }

    /// Files a timer.
    pub(crate) fn file(&mut self, kv: &mut dyn Kv, due: u64, timer: Timer) {
        kv.put(&timer.key(self.keys, due), Bytes::from_static(&[1]));
        self.due_by(due);
    }

    /// Takes a timer out again.
    pub(crate) fn unfile(&self, kv: &mut dyn Kv, due: u64, timer: Timer) {
        kv.delete(&timer.key(self.keys, due));
    }

    /// Something falls due then.
    pub(crate) fn due_by(&mut self, due: u64) {
        self.state.due_hint = self.state.due_hint.min(due);
    }
}
