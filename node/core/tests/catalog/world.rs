//! A catalog, driven op by op.

use roadstead_core::catalog::*;
use roadstead_core::kv::MemoryKv;

pub struct World {
    kv: MemoryKv,
    pub machine: CatalogMachine,
    log: Vec<bytes::Bytes>,
}

pub fn node(id: u64) -> NodeInfo {
    NodeInfo {
        node_id: id,
        name: format!("node-{id}"),
        peer_address: format!("node-{id}:7702"),
        client_address: format!("node-{id}:7701"),
        zone: String::new(),
        binary_version: "0.1.0".into(),
        command_version: 1,
        boot: Boot::default(),
    }
}

pub fn bootstrap(id: &str) -> Op {
    let founders = vec![node(1), node(2), node(3)];
    Op::Bootstrap(Bootstrap {
        cluster_id: id.into(),
        founders,
        shards: 4,
        replication_factor: 3,
    })
}

pub fn create(name: &str, spec: QueueSpec) -> Op {
    Op::CreateQueue(CreateQueue {
        name: QueueName::new("shop", name),
        spec,
    })
}

pub fn update(name: &str, spec: QueueSpec) -> Op {
    let name = QueueName::new("shop", name);
    Op::UpdateQueue(UpdateQueue {
        name,
        spec,
        expected_generation: 0,
    })
}

pub fn delete(name: &str) -> Op {
    Op::DeleteQueue(DeleteQueue {
        name: QueueName::new("shop", name),
    })
}

pub fn finish(queue: u64, undo: bool) -> Op {
    Op::FinishDelete(FinishDelete { queue, undo })
}

pub fn with_dead_letter(name: &str) -> QueueSpec {
    QueueSpec {
        dead_letter: Some(name.into()),
        ..QueueSpec::default()
    }
}

impl World {
    pub fn empty() -> Self {
        let kv = MemoryKv::new();
        let machine = CatalogMachine::open(&kv).expect("no rows");
        Self {
            kv,
            machine,
            log: Vec::new(),
        }
    }

    pub fn founded() -> Self {
        let mut world = Self::empty();
        assert_eq!(world.apply(bootstrap("c1")), Reply::Founded(true));
        world
    }

    /// Applies one op; afterwards the rows alone, and the log alone, give the same catalog.
    pub fn apply(&mut self, op: Op) -> Reply {
        let entry = encode_entry(1_000 + self.log.len() as u64, &[op]);
        self.log.push(entry.clone());
        let index = self.log.len() as u64;
        let applied = self
            .machine
            .apply(&mut self.kv, index, &entry)
            .expect("it is whole");
        let mut replayed = (MemoryKv::new(), CatalogMachine::default());
        for (n, entry) in self.log.iter().enumerate() {
            replayed
                .1
                .apply(&mut replayed.0, n as u64 + 1, entry)
                .expect("it is whole");
        }
        assert_eq!(replayed.0, self.kv);
        let opened = CatalogMachine::open(&self.kv).expect("its own rows");
        assert_eq!(format!("{opened:?}"), format!("{:?}", self.machine));
        applied
            .replies
            .into_iter()
            .next()
            .expect("one reply per op")
    }

    pub fn refused(&mut self, op: Op) -> Refusal {
        match self.apply(op) {
            Reply::Refused(refusal) => refusal,
            other => unreachable!("not refused: {other:?}"),
        }
    }

    pub fn queue(&mut self, op: Op) -> Queue {
        match self.apply(op) {
            Reply::Queue { queue, .. } => *queue,
            other => unreachable!("no queue: {other:?}"),
        }
    }
}
