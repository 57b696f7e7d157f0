//! The catalog: who may do what, what is refused and why, and that rows bring everything back.

use roadstead_core::catalog::*;
use roadstead_core::kv::MemoryKv;
use roadstead_core::shard::{DeadLetterTarget, Ordering};

struct World {
    kv: MemoryKv,
    machine: CatalogMachine,
    log: Vec<bytes::Bytes>,
}

fn node(id: u64) -> NodeInfo {
    NodeInfo {
        node_id: id,
        name: format!("node-{id}"),
        peer_address: format!("node-{id}:7702"),
        client_address: format!("node-{id}:7701"),
        zone: String::new(),
        binary_version: "0.1.0".into(),
        command_version: 1,
        boot: 1,
    }
}

fn bootstrap(id: &str) -> Op {
    let founders = vec![node(1), node(2), node(3)];
    Op::Bootstrap(Bootstrap {
        cluster_id: id.into(),
        founders,
        shards: 4,
        replication_factor: 3,
    })
}

fn create(name: &str, spec: QueueSpec) -> Op {
    Op::CreateQueue(CreateQueue {
        name: QueueName::new("shop", name),
        spec,
    })
}

fn update(name: &str, spec: QueueSpec) -> Op {
    let name = QueueName::new("shop", name);
    Op::UpdateQueue(UpdateQueue {
        name,
        spec,
        expected_generation: 0,
    })
}

fn with_dead_letter(name: &str) -> QueueSpec {
    QueueSpec {
        dead_letter: Some(name.into()),
        ..QueueSpec::default()
    }
}

impl World {
    fn empty() -> Self {
        let kv = MemoryKv::new();
        let machine = CatalogMachine::open(&kv).expect("no rows");
        Self {
            kv,
            machine,
            log: Vec::new(),
        }
    }

    fn founded() -> Self {
        let mut world = Self::empty();
        assert_eq!(world.apply(bootstrap("c1")), Reply::Founded(true));
        world
    }

    /// Applies one op; afterwards the rows alone, and the log alone, give the same catalog.
    fn apply(&mut self, op: Op) -> Reply {
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

    fn refused(&mut self, op: Op) -> Refusal {
        match self.apply(op) {
            Reply::Refused(refusal) => refusal,
            other => panic!("not refused: {other:?}"),
        }
    }

    fn queue(&mut self, op: Op) -> Queue {
        match self.apply(op) {
            Reply::Queue { queue, .. } => *queue,
            other => panic!("no queue: {other:?}"),
        }
    }
}

#[test]
fn a_cluster_is_founded_once() {
    let mut world = World::empty();
    assert_eq!(
        world.refused(create("q", QueueSpec::default())),
        Refusal::NotFounded
    );
    assert_eq!(world.apply(bootstrap("c1")), Reply::Founded(true));
    assert_eq!(world.apply(bootstrap("c1")), Reply::Founded(false));
    assert_eq!(
        world.refused(bootstrap("c2")),
        Refusal::OtherCluster("c1".into())
    );
    assert_eq!(world.machine.placements().len(), 5);
    assert!(
        world
            .machine
            .placements()
            .values()
            .all(|p| p.voters == [1, 2, 3] && p.founding)
    );
    assert_eq!(world.machine.members().len(), 3);
}

#[test]
fn a_bootstrap_that_cannot_be_is_refused() {
    let good = |change: fn(&mut Bootstrap)| {
        let Op::Bootstrap(mut op) = bootstrap("c1") else {
            panic!("it is one")
        };
        change(&mut op);
        Op::Bootstrap(op)
    };
    for bad in [
        good(|op| op.cluster_id.clear()),
        good(|op| op.shards = 0),
        good(|op| op.shards = 257),
        good(|op| op.replication_factor = 2),
        good(|op| op.replication_factor = 5),
        good(|op| op.founders[0].node_id = 2),
        good(|op| op.founders[0].node_id = 0),
    ] {
        assert!(matches!(
            World::empty().refused(bad),
            Refusal::BadBootstrap(_)
        ));
    }
}

#[test]
fn queues_get_ids_shards_and_revisions_that_are_never_used_again() {
    let mut world = World::founded();
    let first = world.queue(create(
        "a",
        QueueSpec {
            partitions: 3,
            ..QueueSpec::default()
        },
    ));
    let second = world.queue(create(
        "b",
        QueueSpec {
            partitions: 2,
            ..QueueSpec::default()
        },
    ));
    assert_eq!(
        (first.id, first.generation, first.shards),
        (1, 1, vec![1, 2, 3])
    );
    assert_eq!((second.id, second.shards), (2, vec![4, 1]));
    assert!(second.revision > first.revision);
    let again = world.apply(create(
        "b",
        QueueSpec {
            partitions: 2,
            ..QueueSpec::default()
        },
    ));
    assert!(matches!(again, Reply::Queue { changed: false, .. }));
    let other = create(
        "b",
        QueueSpec {
            partitions: 4,
            ..QueueSpec::default()
        },
    );
    assert_eq!(world.refused(other), Refusal::Exists("shop/b".into()));
    world.apply(Op::DeleteQueue(DeleteQueue {
        name: QueueName::new("shop", "b"),
    }));
    assert_eq!(
        world.refused(create("b", QueueSpec::default())),
        Refusal::Deleting("shop/b".into())
    );
    world.apply(Op::FinishDelete(FinishDelete {
        queue: 2,
        undo: false,
    }));
    assert_eq!(world.queue(create("b", QueueSpec::default())).id, 3);
}

#[test]
fn a_deletion_can_be_taken_back() {
    let mut world = World::founded();
    let made = world.queue(create("a", QueueSpec::default()));
    world.apply(Op::DeleteQueue(DeleteQueue {
        name: made.name.clone(),
    }));
    assert!(world.machine.page("", None, 9).is_empty());
    world.apply(Op::FinishDelete(FinishDelete {
        queue: made.id,
        undo: true,
    }));
    let back = world.machine.queue(&made.name).expect("it is back");
    assert_eq!(back.state, QueueState::Active);
    assert!(
        back.revision > made.revision,
        "its partitions must hear of it"
    );
    // Of one that serves, nothing is to be finished.
    world.apply(Op::FinishDelete(FinishDelete {
        queue: made.id,
        undo: false,
    }));
    assert!(world.machine.queue(&made.name).is_some());
}

#[test]
fn what_cannot_change_in_place_is_refused_with_the_field() {
    let mut world = World::founded();
    let keyed = QueueSpec {
        partitions: 2,
        ordering: Ordering::PerKey,
        ..QueueSpec::default()
    };
    world.queue(create("keyed", keyed.clone()));
    world.queue(create(
        "plain",
        QueueSpec {
            partitions: 2,
            ..QueueSpec::default()
        },
    ));
    let field = |refusal| match refusal {
        Refusal::Immutable { field, .. } => field,
        other => panic!("{other:?}"),
    };
    let none = QueueSpec {
        ordering: Ordering::None,
        ..keyed.clone()
    };
    assert_eq!(field(world.refused(update("keyed", none))), "ordering");
    let more = QueueSpec {
        partitions: 3,
        ..keyed
    };
    assert_eq!(field(world.refused(update("keyed", more))), "partitions");
    assert_eq!(
        field(world.refused(update("plain", QueueSpec::default()))),
        "partitions"
    );
    let grown = world.queue(update(
        "plain",
        QueueSpec {
            partitions: 3,
            ..QueueSpec::default()
        },
    ));
    assert_eq!((grown.generation, grown.shards.len()), (2, 3));
    let stale = Op::UpdateQueue(UpdateQueue {
        name: grown.name,
        spec: grown.spec,
        expected_generation: 1,
    });
    assert_eq!(
        world.refused(stale),
        Refusal::WrongGeneration {
            expected: 1,
            present: 2
        }
    );
    assert_eq!(
        world.refused(update("gone", QueueSpec::default())),
        Refusal::NoQueue("shop/gone".into())
    );
}

#[test]
fn a_bad_specification_is_refused_with_everything_that_is_wrong() {
    let mut world = World::founded();
    let spec = QueueSpec {
        partitions: 0,
        max_deliveries: 0,
        ..with_dead_letter("a b")
    };
    let Refusal::Invalid(violations) = world.refused(create("no way", spec)) else {
        panic!("not refused as invalid")
    };
    let fields: Vec<_> = violations.iter().map(|v| v.field).collect();
    let expected = [
        "queue.name",
        "partitions",
        "retries.max_deliveries",
        "dead_letter.queue",
    ];
    assert_eq!(fields, expected);
    let own = world.refused(create("self", with_dead_letter("self")));
    assert!(
        own.to_string().contains("its own dead-letter queue"),
        "{own}"
    );
}

#[test]
fn a_queue_follows_its_dead_letter_queue_and_never_drops_for_want_of_it() {
    let mut world = World::founded();
    assert_eq!(
        world.refused(create("q", with_dead_letter("dead"))),
        Refusal::NoDeadLetterQueue("shop/dead".into())
    );
    world.queue(create("dead", QueueSpec::default()));
    let q = world.queue(create("q", with_dead_letter("dead")));
    assert_eq!(
        q.dead_letter,
        Some(DeadLetterTarget {
            queue: 1,
            partitions: 1
        })
    );
    assert_eq!(q.partition_config().dead_letter, q.dead_letter);
    let target = |world: &World| {
        world
            .machine
            .queue(&q.name)
            .map(|q| (q.dead_letter, q.revision))
    };
    world.queue(update(
        "dead",
        QueueSpec {
            partitions: 2,
            ..QueueSpec::default()
        },
    ));
    let (grown, revision) = target(&world).expect("it is there");
    assert_eq!(
        grown,
        Some(DeadLetterTarget {
            queue: 1,
            partitions: 2
        })
    );
    assert!(revision > q.revision);
    // Deleted: failed messages wait for it. Made anew: they go there.
    world.apply(Op::DeleteQueue(DeleteQueue {
        name: QueueName::new("shop", "dead"),
    }));
    world.apply(Op::FinishDelete(FinishDelete {
        queue: 1,
        undo: false,
    }));
    assert_eq!(target(&world).expect("it is there").0, grown);
    let anew = world.queue(create("dead", QueueSpec::default()));
    let expected = Some(DeadLetterTarget {
        queue: anew.id,
        partitions: 1,
    });
    assert_eq!(target(&world).expect("it is there").0, expected);
}

#[test]
fn limits_are_shared_by_the_partitions_and_never_overshot() {
    let mut world = World::founded();
    let spec = QueueSpec {
        partitions: 3,
        max_messages: 10,
        max_bytes: 10_000_000,
        max_in_flight: 7,
        ..QueueSpec::default()
    };
    let config = world.queue(create("q", spec)).partition_config();
    let shares = (config.max_messages, config.max_bytes, config.max_in_flight);
    assert_eq!(shares, (3, 3_333_333, 2));
}

#[test]
fn pages_follow_one_another() {
    let mut world = World::founded();
    for name in ["b", "a", "c"] {
        world.queue(create(name, QueueSpec::default()));
    }
    let name = QueueName::new("zoo", "a");
    let spec = QueueSpec::default();
    world.queue(Op::CreateQueue(CreateQueue { name, spec }));
    let names = |world: &World, namespace: &str, after: Option<&QueueName>, max| {
        let page = world.machine.page(namespace, after, max);
        page.iter().map(|q| q.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(
        names(&world, "", None, 9),
        ["shop/a", "shop/b", "shop/c", "zoo/a"]
    );
    assert_eq!(names(&world, "shop", None, 2), ["shop/a", "shop/b"]);
    let after = QueueName::new("shop", "b");
    assert_eq!(names(&world, "shop", Some(&after), 2), ["shop/c"]);
    assert_eq!(names(&world, "", Some(&after), 2), ["shop/c", "zoo/a"]);
    assert_eq!(names(&world, "zoo", Some(&after), 2), ["zoo/a"]);
}

#[test]
fn members_join_drain_and_leave_in_that_order() {
    let mut world = World::founded();
    world.apply(Op::AddMember(AddMember {
        node: node(4),
        fence: 5,
    }));
    let drain = |fence| {
        Op::DrainMember(DrainMember {
            node_id: 4,
            drain: true,
            fence,
        })
    };
    assert_eq!(
        world.refused(drain(4)),
        Refusal::Fenced { got: 4, newest: 5 }
    );
    assert_eq!(world.apply(drain(0)), Reply::Done);
    assert!(world.machine.members()[&4].draining);
    let placement = Placement {
        voters: vec![1, 2, 4],
        learners: vec![],
        founding: true,
    };
    let place = |placement| {
        Op::SetPlacement(SetPlacement {
            group: 1,
            placement,
        })
    };
    assert_eq!(world.apply(place(placement)), Reply::Done);
    assert!(
        !world.machine.placements()[&1].founding,
        "a group is founded once"
    );
    let remove = Op::RemoveMember(RemoveMember {
        node_id: 4,
        fence: 0,
    });
    assert_eq!(
        world.refused(remove.clone()),
        Refusal::StillPlaced { node: 4, group: 1 }
    );
    let without = Placement {
        voters: vec![1, 2, 3],
        learners: vec![],
        founding: false,
    };
    assert_eq!(world.apply(place(without)), Reply::Done);
    assert_eq!(world.apply(remove.clone()), Reply::Done);
    assert_eq!(world.apply(remove), Reply::Done);
    let gone = Op::UpdateMember(UpdateMember { node: node(4) });
    assert_eq!(world.refused(gone), Refusal::NoMember(4));
    for (voters, learners) in [(vec![], vec![1]), (vec![1, 1], vec![]), (vec![1], vec![1])] {
        let bad = Placement {
            voters,
            learners,
            founding: false,
        };
        assert!(matches!(
            world.refused(place(bad)),
            Refusal::BadPlacement { .. }
        ));
    }
    let stranger = Placement {
        voters: vec![9],
        learners: vec![],
        founding: false,
    };
    assert_eq!(world.refused(place(stranger)), Refusal::NoMember(9));
}

#[test]
fn a_copied_disk_is_told_by_its_boot_counter() {
    let mut world = World::founded();
    let booted = |boot| {
        Op::UpdateMember(UpdateMember {
            node: NodeInfo { boot, ..node(1) },
        })
    };
    assert_eq!(world.apply(booted(3)), Reply::Done);
    assert_eq!(
        world.refused(booted(2)),
        Refusal::OldBoot {
            node: 1,
            got: 2,
            known: 3
        }
    );
    assert_eq!(world.machine.members()[&1].node.boot, 3);
}

#[test]
fn a_version_is_finalized_when_every_member_can_apply_it() {
    let mut world = World::founded();
    let finalize = || Op::FinalizeVersion(FinalizeVersion { version: 2 });
    let newer = |id| {
        Op::UpdateMember(UpdateMember {
            node: NodeInfo {
                command_version: 2,
                ..node(id)
            },
        })
    };
    world.apply(newer(1));
    world.apply(newer(2));
    assert_eq!(
        world.refused(finalize()),
        Refusal::VersionTooHigh {
            version: 2,
            node: 3,
            knows: 1
        }
    );
    world.apply(newer(3));
    assert_eq!(world.apply(finalize()), Reply::Done);
    world.apply(Op::FinalizeVersion(FinalizeVersion { version: 1 }));
    assert_eq!(world.machine.cluster().map(|c| c.version), Some(2));
}
