//! A shard with one partition, in memory.

use roadstead_core::kv::MemoryKv;
use roadstead_core::shard::*;

pub const PARTITION: PartitionId = PartitionId {
    queue: 1,
    partition: 0,
};

pub struct World {
    pub kv: MemoryKv,
    pub machine: ShardMachine,
    index: u64,
    /// Cluster time, ms since 1970.
    pub now: u64,
}

impl World {
    /// With a partition as it is configured.
    pub fn new(config: PartitionConfig) -> Self {
        let kv = MemoryKv::new();
        let mut world = Self {
            machine: ShardMachine::open(&kv).expect("no rows"),
            kv,
            index: 0,
            now: 1_000_000,
        };
        let reply = world.apply(&Op::Configure(Configure {
            partition: PARTITION,
            config,
        }));
        assert_eq!(reply, Reply::Configured(true));
        world
    }

    /// Applies an entry of one op.
    pub fn apply(&mut self, op: &Op) -> Reply {
        self.index += 1;
        let mut entry = EntryBuilder::new(self.now);
        entry.push(op);
        let applied = self
            .machine
            .apply(&mut self.kv, self.index, &entry.finish());
        applied.expect("it is whole").replies.remove(0)
    }
}
