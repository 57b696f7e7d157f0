//! One consumer group of a partition: what is hot of it in memory, and the two ways to see it
//! together with what the groups share.

use std::ops::{Deref, DerefMut};

use super::breaker::Breaker;
use super::delivery::Delivered;
use super::group_config::GroupConfig;
use super::hot::Hot;
use super::id::MessageId;
use super::keys::GroupKeys;
use super::partition::{Partition, Shared, Step, corrupt};
use super::reply::{Event, EventKind};
use super::standing::Standing;
use super::state::{Group, Phase};
use crate::kv::{Kv, KvError};

/// A group. `group` is written back when it changed; the map is a cache of rows, with what is not
/// written yet.
#[derive(Debug)]
pub(crate) struct Slot {
    keys: GroupKeys,
    group: Group,
    stored: Group,
    setting: GroupConfig,
    breaker: Breaker,
    stored_breaker: Breaker,
    standing: Standing,
    deliveries: Hot<CachedDelivery>,
    /// What its caches hold, as it was counted last.
    weight: usize,
}

/// A delivery and whether its row must be written.
#[derive(Debug)]
pub(crate) struct CachedDelivery {
    pub(crate) batch: Delivered,
    pub(crate) dirty: bool,
}

impl Slot {
    /// A group that is new.
    pub(crate) fn new(keys: GroupKeys, group: Group) -> Self {
        Self {
            keys,
            group,
            // Differs from the state, so that the first flush writes the row.
            stored: Group {
                epoch: u64::MAX,
                ..group
            },
            setting: GroupConfig::default(),
            breaker: Breaker::default(),
            stored_breaker: Breaker::default(),
            standing: Standing::new(),
            deliveries: Hot::new(),
            weight: 0,
        }
    }

    /// The group whose row this is.
    pub(crate) fn open(kv: &dyn Kv, keys: GroupKeys, row: &[u8]) -> Result<Self, KvError> {
        let group = Group::decode(row).map_err(|e| corrupt("group", keys.0, &e))?;
        let breaker = Breaker::open(kv, keys)?;
        Ok(Self {
            stored: group,
            breaker,
            stored_breaker: breaker,
            standing: Standing::open(kv, keys)?,
            ..Self::new(keys, group)
        })
    }

    /// Where it is.
    pub(crate) fn group(&self) -> &Group {
        &self.group
    }

    /// Where it is in the streams.
    pub(crate) fn standing(&mut self) -> &mut Standing {
        &mut self.standing
    }

    /// What it has asked for.
    pub(crate) fn setting(&self) -> &GroupConfig {
        &self.setting
    }

    /// What it asks for from now on.
    pub(crate) fn set(&mut self, setting: GroupConfig) {
        self.setting = setting;
    }

    /// Writes what is cached to the rows, and forgets it.
    pub(crate) fn write_back(&mut self, kv: &mut dyn Kv) {
        self.flush_deliveries(kv);
        self.deliveries.clear();
    }

    fn flush_deliveries(&mut self, kv: &mut dyn Kv) {
        let keys = self.keys;
        self.deliveries.touched(|number, delivery| {
            if std::mem::take(&mut delivery.dirty) {
                kv.put(&keys.delivery(number), delivery.batch.encode().into());
            }
        });
    }

    /// Writes what changed to the rows. By how much its caches have grown since it was asked.
    pub(crate) fn flush(&mut self, kv: &mut dyn Kv) -> isize {
        self.flush_deliveries(kv);
        self.standing.flush(kv, self.keys);
        if self.group != self.stored {
            kv.put(&self.keys.group(), self.group.encode().into());
            self.stored = self.group;
        }
        if self.breaker != self.stored_breaker {
            self.breaker.write(kv, self.keys);
            self.stored_breaker = self.breaker;
        }
        let weight = std::mem::replace(&mut self.weight, self.deliveries.len());
        self.weight.cast_signed() - weight.cast_signed()
    }

    /// Forgets what is in rows anyway. Only after `flush`.
    pub(crate) fn evict(&mut self) {
        self.deliveries.clear();
        self.weight = 0;
    }
}

/// A group with what the groups of its partition share, to change both.
pub(crate) struct View<'a> {
    shared: &'a mut Shared,
    pub(crate) keys: GroupKeys,
    pub(crate) group: &'a mut Group,
    pub(crate) setting: GroupConfig,
    pub(crate) breaker: &'a mut Breaker,
    pub(crate) standing: &'a mut Standing,
    pub(crate) deliveries: &'a mut Hot<CachedDelivery>,
}

impl<'a> View<'a> {
    pub(crate) fn new(shared: &'a mut Shared, slot: &'a mut Slot) -> Self {
        Self {
            shared,
            keys: slot.keys,
            group: &mut slot.group,
            setting: slot.setting,
            breaker: &mut slot.breaker,
            standing: &mut slot.standing,
            deliveries: &mut slot.deliveries,
        }
    }

    pub(crate) fn look(&self) -> Look<'_> {
        Look {
            shared: self.shared,
            keys: self.keys,
            group: self.group,
            setting: self.setting,
            breaker: self.breaker,
            standing: self.standing,
        }
    }

    pub(crate) fn event(&self, step: &mut Step<'_>, message: MessageId, kind: EventKind) {
        step.events.push(Event {
            partition: self.id(),
            group: self.keys.group,
            message,
            kind,
        });
    }
}

impl Deref for View<'_> {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        self.shared
    }
}

impl DerefMut for View<'_> {
    fn deref_mut(&mut self) -> &mut Shared {
        self.shared
    }
}

/// A group with what the groups of its partition share, to read.
#[derive(Clone, Copy)]
pub(crate) struct Look<'a> {
    shared: &'a Shared,
    pub(crate) keys: GroupKeys,
    pub(crate) group: &'a Group,
    pub(crate) setting: GroupConfig,
    pub(crate) breaker: &'a Breaker,
    pub(crate) standing: &'a Standing,
}

impl<'a> Look<'a> {
    pub(crate) fn new(shared: &'a Shared, slot: &'a Slot) -> Self {
        Self {
            shared,
            keys: slot.keys,
            group: &slot.group,
            setting: slot.setting,
            breaker: &slot.breaker,
            standing: &slot.standing,
        }
    }
}

impl Deref for Look<'_> {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        self.shared
    }
}

impl Partition {
    /// A group that is not being deleted, to read.
    pub(crate) fn look(&self, group: u32) -> Option<Look<'_>> {
        let slot = self.groups.get(&group)?;
        let slot = Some(slot).filter(|slot| slot.group.phase != Phase::Leaving)?;
        Some(Look::new(&self.shared, slot))
    }

    /// A group that is not being deleted, to change it.
    pub(crate) fn view(&mut self, group: u32) -> Option<View<'_>> {
        let slot = self.groups.get_mut(&group)?;
        let slot = Some(slot).filter(|slot| slot.group.phase != Phase::Leaving)?;
        self.touched.insert(group);
        Some(View::new(&mut self.shared, slot))
    }

    /// A group that is not on its way, to change it: what it has delivered still stands.
    pub(crate) fn settled_view(&mut self, group: u32) -> Option<View<'_>> {
        let view = self.view(group)?;
        (view.group.phase == Phase::Settled).then_some(view)
    }

    /// Does something for every group that is not being deleted, in order of their ids.
    pub(crate) fn for_each_group(
        &mut self,
        act: &mut dyn FnMut(&mut View<'_>) -> Result<(), KvError>,
    ) -> Result<(), KvError> {
        for (group, slot) in &mut self.groups {
            if slot.group.phase == Phase::Leaving {
                continue;
            }
            self.touched.insert(*group);
            act(&mut View::new(&mut self.shared, slot))?;
        }
        Ok(())
    }
}
