//! Partitions that grow in number: what the twin makes of it, and what the histories have reached.

use proptest::{prop_assert, prop_assert_eq};
use roadstead_core::shard::*;

use super::config::Config;
use super::model::{Effects, Leaving, Partition};
use super::world::{Check, World};

/// The numbers of partitions that a queue has, one after the other.
const GROWTH: [u32; 4] = [1, 2, 3, 8];

impl World {
    /// The present number of partitions, and those before; it may grow.
    pub fn partitions_of(&mut self, partition: PartitionId, config: &Config) -> (u32, Vec<u32>) {
        let times = self.growth.entry(partition.queue).or_default();
        *times = (*times + usize::from(config.grows)).min(GROWTH.len() - 1);
        (GROWTH[*times], GROWTH[..*times].to_vec())
    }
}

impl Partition {
    fn has_grown(&self) -> bool {
        self.config.ordering == Ordering::PerKey && !self.config.earlier.is_empty()
    }

    /// Where a key belonged by each number of partitions.
    fn belonged(&self, key: u64) -> Vec<u32> {
        let counts = self.config.earlier.iter().chain([&self.config.partitions]);
        counts.map(|count| partition_of_key(key, *count)).collect()
    }

    /// Where it belongs behind this partition.
    fn next_home(&self, key: u64) -> Option<u32> {
        let belonged = self.belonged(key);
        let here = |home: &u32| *home == self.id.partition;
        let last = belonged.iter().rposition(here)?;
        belonged.get(last + 1).copied().filter(|_| self.has_grown())
    }

    fn lives(&self, key: u64) -> bool {
        self.messages.iter().any(|m| m.key == key)
    }

    pub fn has_moved(&self, key: u64) -> bool {
        self.next_home(key).is_some() && !self.lives(key)
    }

    /// Whether a refusal holds up what follows.
    pub fn holds_up(&self, refusal: Refusal) -> bool {
        let limits = [Refusal::MessageLimit, Refusal::ByteLimit, Refusal::IdLimit];
        limits.contains(&refusal) || (refusal == Refusal::RateLimit && self.has_grown())
    }

    /// Sends a message on that came from another partition, if its key is to be looked for there.
    pub fn sends_on(&mut self, source: PartitionId, m: &MovedMessage, fx: &Effects) -> bool {
        let Some(key) = m.key.filter(|key| self.has_grown() && !self.lives(*key)) else {
            return false;
        };
        let belonged = self.belonged(key);
        if !belonged.contains(&self.id.partition) {
            return false;
        }
        let asked = source.queue == self.id.queue || belonged[0] == self.id.partition;
        let next = if asked {
            self.next_home(key)
        } else {
            Some(belonged[0])
        };
        let Some(partition) = next else {
            return false;
        };
        self.sent_on += 1;
        self.outbox.push(Leaving {
            target: PartitionId {
                partition,
                ..self.id
            },
            number: None,
            // Nothing else has it: what failed in several groups may come several times.
            sequence: u64::MAX - self.sent_on,
            id: m.id,
            key,
            body: m.body.clone(),
            enqueued_at: m.enqueued_at,
            due: m.due,
            ttl: m.ttl_ms,
            priority: m.priority.min(MAX_PRIORITY),
            tenant: m.tenant.unwrap_or(0),
            reason: OutboxReason::Sent,
            count: 0,
            at: fx.now,
            attempts: Attempts::default(),
        });
        true
    }
}

/// Who sends may leave a partition out only where nothing of keys with a next home is.
pub fn left(world: &World, p: &Partition) -> Check {
    let among = world.machine.left_among(p.id);
    if among != 0 {
        prop_assert_eq!(among, p.config.partitions);
        let leaving = |key: u64| p.next_home(key).is_some();
        prop_assert!(p.messages.iter().all(|m| !leaving(m.key)), "some are left");
    }
    Ok(())
}

/// What came by an outbox and went on by another one.
pub fn cover_grown(world: &mut World) {
    let on = |p: &Partition| {
        let on = |m: &Leaving| m.target.queue == p.id.queue && m.id.queue != p.id.queue;
        p.outbox.iter().any(on)
    };
    let left = |p: &Partition| p.has_grown() && world.machine.left_among(p.id) != 0;
    let partitions = || world.twin.partitions.values();
    let reached = [
        ("on to the next home", partitions().any(on)),
        ("left", partitions().any(left)),
    ];
    for (name, _) in reached.into_iter().filter(|(_, reached)| *reached) {
        world.count(format!("grown: {name}"));
    }
}
