//! Queues: names, specifications, changes, dead-letter queues, pages.

use roadstead_core::catalog::*;
use roadstead_core::shard::{DeadLetterTarget, GroupStart, Ordering};

use proptest::collection::vec;
use proptest::prelude::*;

use super::world::*;

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
    world.apply(delete("b"));
    assert_eq!(
        world.refused(create("b", QueueSpec::default())),
        Refusal::Deleting("shop/b".into())
    );
    world.apply(finish(2, false));
    assert_eq!(world.queue(create("b", QueueSpec::default())).id, 3);
}

#[test]
fn a_deletion_can_be_taken_back() {
    let mut world = World::founded();
    let made = world.queue(create("a", QueueSpec::default()));
    world.apply(delete("a"));
    assert!(world.machine.page("", None, 9).is_empty());
    world.apply(finish(made.id, true));
    let back = world.machine.queue(&made.name).expect("it is back");
    assert_eq!(back.state, QueueState::Active);
    assert!(
        back.revision > made.revision,
        "its partitions must hear of it"
    );
    // Of one that serves, nothing is to be finished.
    world.apply(finish(made.id, false));
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
        other => unreachable!("{other:?}"),
    };
    let none = QueueSpec {
        ordering: Ordering::None,
        ..keyed.clone()
    };
    assert_eq!(field(world.refused(update("keyed", none))), "ordering");
    let sticky = QueueSpec {
        sticky_keys: true,
        ..keyed.clone()
    };
    assert_eq!(field(world.refused(update("keyed", sticky))), "sticky_keys");
    let more = |partitions| QueueSpec {
        partitions,
        ..keyed.clone()
    };
    assert_eq!(field(world.refused(update("keyed", more(1)))), "partitions");
    // Its partitions hear of all numbers that it had.
    world.queue(update("keyed", more(3)));
    let grown = world.queue(update("keyed", more(8)));
    let config = grown.partition_config();
    assert_eq!((config.partitions, config.earlier), (8, vec![2, 3]));
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
        unreachable!("not refused as invalid")
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
}

#[test]
fn a_queue_that_others_name_for_their_dead_letters_stays() {
    let mut world = World::founded();
    world.queue(create("dead", QueueSpec::default()));
    let q = world.queue(create("q", with_dead_letter("dead")));
    world.queue(create("r", with_dead_letter("dead")));
    let refusal = world.refused(delete("dead"));
    let text = refusal.to_string();
    assert!(
        text.contains("takes the dead letters of shop/q, shop/r: delete"),
        "{text}"
    );
    world.queue(update("r", QueueSpec::default()));
    // Until it is gone, one that is being deleted may come back.
    world.apply(delete("q"));
    let by = vec!["shop/q".to_owned()];
    let queue = "shop/dead".to_owned();
    assert_eq!(
        world.refused(delete("dead")),
        Refusal::TakesDeadLetters { queue, by }
    );
    world.apply(finish(q.id, false));
    assert!(matches!(
        world.apply(delete("dead")),
        Reply::Queue { changed: true, .. }
    ));
    assert!(matches!(
        world.apply(delete("dead")),
        Reply::Queue { changed: false, .. }
    ));
    // It takes no new ones while it goes.
    assert_eq!(
        world.refused(create("s", with_dead_letter("dead"))),
        Refusal::NoDeadLetterQueue("shop/dead".into())
    );
}

#[derive(Debug, Clone)]
enum Did {
    Create(u8, Option<u8>, u32),
    Update(u8, Option<u8>, u32),
    Delete(u8),
    Finish(u8, bool),
}

fn did() -> impl Strategy<Value = Did> {
    let queue = || 0..5u8;
    let dead = || proptest::option::of(queue());
    prop_oneof![
        2 => (queue(), dead(), 1..4u32).prop_map(|(q, d, n)| Did::Create(q, d, n)),
        1 => (queue(), dead(), 1..4u32).prop_map(|(q, d, n)| Did::Update(q, d, n)),
        1 => queue().prop_map(Did::Delete),
        1 => (queue(), any::<bool>()).prop_map(|(q, undo)| Did::Finish(q, undo)),
    ]
}

proptest! {
    /// Whatever happens in whatever order: who names a dead-letter queue has it, as it is now.
    #[test]
    fn no_queue_is_left_without_its_dead_letter_queue(history in vec(did(), 1..40)) {
        let mut world = World::founded();
        let name = |queue: u8| format!("q{queue}");
        let spec = |dead: Option<u8>, partitions| QueueSpec {
            partitions,
            dead_letter: dead.map(name),
            ..QueueSpec::default()
        };
        for step in history {
            world.apply(match step {
                Did::Create(queue, dead, n) => create(&name(queue), spec(dead, n)),
                Did::Update(queue, dead, n) => update(&name(queue), spec(dead, n)),
                Did::Delete(queue) => delete(&name(queue)),
                Did::Finish(queue, undo) => {
                    let known = world.machine.queue(&QueueName::new("shop", name(queue)));
                    finish(known.map_or(0, |queue| queue.id), undo)
                }
            });
            for queue in world.machine.queues() {
                let named = queue.spec.dead_letter.as_ref();
                let target = named.map(|dead| {
                    let dead = world.machine.queue(&QueueName::new("shop", dead.clone()));
                    let dead = dead.expect("it is there");
                    DeadLetterTarget { queue: dead.id, partitions: dead.spec.partitions }
                });
                prop_assert_eq!(queue.dead_letter, target);
            }
        }
    }
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
fn partitions_hear_of_the_groups_of_their_queue() {
    let mut world = World::founded();
    let group = |name: &str| ConsumerGroup {
        name: name.into(),
        start: GroupStart::End,
        paused: false,
        max_in_flight: 10,
        breaker: None,
        rate_per_second: 0,
    };
    let spec = |names: &[&str]| QueueSpec {
        partitions: 2,
        groups: names.iter().map(|name| group(name)).collect(),
        retain_ms: 5_000,
        ..QueueSpec::default()
    };
    let ids = |queue: &Queue| {
        let groups = queue.partition_config().groups;
        groups.iter().map(|group| group.id).collect::<Vec<_>>()
    };
    let queue = world.queue(create("q", spec(&["billing", "audit"])));
    assert_eq!(ids(&queue), [1, 2]);
    let config = queue.partition_config();
    assert_eq!(
        (config.retain_ms, config.groups[0].max_in_flight),
        (5_000, 5)
    );
    let queue = world.queue(update("q", spec(&["audit", "late"])));
    assert_eq!(ids(&queue), [2, 3]);
    assert_eq!(
        (queue.group_ids.id("audit"), queue.group_ids.id("billing")),
        (Some(2), None)
    );
    // A name that comes back is another group.
    let queue = world.queue(update("q", spec(&["billing"])));
    assert_eq!(ids(&queue), [4]);
    assert_eq!(queue.partition_config().groups[0].start, GroupStart::End);
}
