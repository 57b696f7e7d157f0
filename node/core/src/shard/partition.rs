//! One partition: what is hot of it in memory, and its rows.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::config::PartitionConfig;
use super::delivery::Delivered;
use super::header::{Block, encode_settled};
use super::hot::Hot;
use super::id::{MessageId, PartitionId, PayloadRef};
use super::keys::{self, Keys};
use super::outbox::Numbers;
use super::producer::Producer;
use super::reply::{Event, EventKind};
use super::state::{Group, State};
use super::timer::Timer;
use crate::codec::{DecodeError, Reader};
use crate::kv::{Kv, KvError};

/// One entry being applied: the rows, its index and time, and what it gives beside replies.
pub(crate) struct Step<'a> {
    pub(crate) kv: &'a mut dyn Kv,
    pub(crate) index: u64,
    pub(crate) now: u64,
    pub(crate) events: Vec<Event>,
    pub(crate) freed: Vec<PayloadRef>,
}

/// A partition. `state` and `group` are written back when they changed; the maps are caches of
/// rows, with what is not written yet.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) keys: Keys,
    pub(crate) config: PartitionConfig,
    pub(crate) state: State,
    pub(crate) group: Group,
    stored: (State, Group),
    pub(crate) blocks: Hot<Block>,
    pub(crate) deliveries: Hot<CachedDelivery>,
    pub(crate) producers: BTreeMap<Vec<u8>, Producer>,
    /// Producers that may have to be written.
    pub(crate) met: Vec<Vec<u8>>,
    /// All outboxes, not only hot ones.
    pub(crate) outboxes: BTreeMap<PartitionId, Numbers>,
}

/// A delivery and whether its row must be written.
#[derive(Debug)]
pub(crate) struct CachedDelivery {
    pub(crate) batch: Delivered,
    pub(crate) dirty: bool,
}

/// A row that cannot be read.
pub(crate) fn corrupt(what: &str, id: PartitionId, error: &DecodeError) -> KvError {
    KvError(format!("{what} of partition {id}: {error}"))
}

impl Partition {
    /// A partition without messages.
    pub(crate) fn new(id: PartitionId, config: PartitionConfig) -> Self {
        let state = State {
            due_hint: u64::MAX,
            ..State::default()
        };
        Self {
            keys: Keys(id),
            config,
            state,
            group: Group::default(),
            // Differs from the state, so that the first flush writes both rows.
            stored: (
                State::default(),
                Group {
                    epoch: u64::MAX,
                    ..Group::default()
                },
            ),
            blocks: Hot::new(),
            deliveries: Hot::new(),
            producers: BTreeMap::new(),
            met: Vec::new(),
            outboxes: BTreeMap::new(),
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
        if let Some(row) = kv.get(&partition.keys.group())? {
            partition.group = Group::decode(&row).map_err(|e| corrupt("group", id, &e))?;
        }
        partition.state = state;
        partition.stored = (partition.state, partition.group);
        partition.load_outboxes(kv)?;
        Ok(partition)
    }

    pub(crate) fn id(&self) -> PartitionId {
        self.keys.0
    }

    /// Messages from the cursor on that wait.
    pub(crate) fn waiting(&self) -> u64 {
        self.state.tail - self.group.cursor - self.group.holes
    }

    /// Writes what changed to the rows.
    pub(crate) fn flush(&mut self, kv: &mut dyn Kv) {
        let keys = self.keys;
        self.blocks.touched(|number, block| {
            if std::mem::take(&mut block.dirty) {
                kv.put(&keys.block(number), Bytes::copy_from_slice(block.encoded()));
            }
            if std::mem::take(&mut block.settled_dirty) {
                kv.put(&keys.settled(number), encode_settled(block.settled).into());
            }
        });
        self.deliveries.touched(|number, delivery| {
            if std::mem::take(&mut delivery.dirty) {
                kv.put(&keys.delivery(number), delivery.batch.encode().into());
            }
        });
        for id in self.met.drain(..) {
            if let Some(producer) = self.producers.get_mut(&id) {
                producer.flush(keys, &id, kv);
            }
        }
        if self.state != self.stored.0 {
            kv.put(&keys::state(self.id()), self.state.encode().into());
        }
        if self.group != self.stored.1 && !self.state.dropping {
            kv.put(&self.keys.group(), self.group.encode().into());
        }
        self.stored = (self.state, self.group);
    }

    /// How much is cached, in blocks or what is as large.
    pub(crate) fn weight(&self) -> usize {
        self.blocks.len() + self.deliveries.len() + self.producers.len()
    }

    /// Forgets what is in rows anyway. Only after `flush`.
    pub(crate) fn evict(&mut self) {
        self.blocks.clear();
        self.deliveries.clear();
        self.producers.clear();
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

    pub(crate) fn event(&self, step: &mut Step<'_>, message: MessageId, kind: EventKind) {
        let group = super::id::DEFAULT_GROUP;
        step.events.push(Event {
            partition: self.id(),
            group,
            message,
            kind,
        });
    }
}
