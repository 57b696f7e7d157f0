//! Quotas: what is refused and why, and what stays when one is lowered.

use roadstead_core::catalog::*;

use super::world::*;

pub fn set(namespace: &str, quota: Option<Quota>) -> Op {
    Op::SetQuota(SetQuota {
        namespace: namespace.into(),
        quota,
        fence: 0,
    })
}

fn messages(messages: u64) -> Quota {
    Quota {
        messages,
        ..Quota::default()
    }
}

fn with(max_messages: u64) -> QueueSpec {
    QueueSpec {
        max_messages,
        ..QueueSpec::default()
    }
}

fn excess(refusal: Refusal) -> Excess {
    match refusal {
        Refusal::QuotaExceeded(excess) => *excess,
        other => unreachable!("not refused by a quota: {other:?}"),
    }
}

#[test]
fn what_is_beyond_the_quota_is_refused_with_what_is_taken_and_what_to_do() {
    let mut world = World::founded();
    assert_eq!(world.apply(set("shop", Some(messages(100)))), Reply::Done);
    world.queue(create("a", with(60)));
    let refusal = world.refused(create("b", with(50)));
    assert_eq!(
        refusal.to_string(),
        "namespace shop: its quota of messages is 100, other queues take 60 of it, and this one \
         asks for 50, 10 too many: ask for less, lower or delete other queues of the namespace, or \
         have an administrator raise the quota"
    );
    assert_eq!(excess(refusal).why, Why::TooMuch { asked: 50, by: 10 });
    let refusal = world.refused(create("b", with(0)));
    assert_eq!(
        refusal.to_string(),
        "namespace shop: its quota of messages is 100, other queues take 60 of it, and this one \
         asks for them without limit: set limits.max_messages, to at most 40, or have an \
         administrator lift the quota"
    );
    world.queue(create("b", with(40)));
    // What is there is answered as it is, and may become less.
    world.queue(create("b", with(40)));
    assert_eq!(excess(world.refused(update("b", with(41)))).taken, 60);
    assert_eq!(
        excess(world.refused(update("b", with(0)))).why,
        Why::Unlimited
    );
    world.queue(update("b", with(30)));
    world.queue(create("c", with(10)));
    // Another namespace has its own.
    let elsewhere = Op::CreateQueue(CreateQueue {
        name: QueueName::new("bank", "a"),
        spec: with(0),
    });
    world.queue(elsewhere);
}

#[test]
fn everything_that_a_quota_names_is_bounded() {
    let bounds = [
        (
            Bound::Queues,
            Quota {
                queues: 1,
                ..Quota::default()
            },
        ),
        (Bound::Messages, messages(10)),
        (
            Bound::Bytes,
            Quota {
                bytes: 1 << 20,
                ..Quota::default()
            },
        ),
        (
            Bound::Partitions,
            Quota {
                partitions: 3,
                ..Quota::default()
            },
        ),
        (
            Bound::Rate,
            Quota {
                rate_per_second: 10,
                ..Quota::default()
            },
        ),
    ];
    let spec = QueueSpec {
        partitions: 2,
        max_messages: 6,
        max_bytes: 768 << 10,
        rate_per_second: 6,
        ..QueueSpec::default()
    };
    for (bound, quota) in bounds {
        let mut world = World::founded();
        world.apply(set("shop", Some(quota)));
        world.queue(create("a", spec.clone()));
        let refused = excess(world.refused(create("b", spec.clone())));
        assert_eq!(refused.bound, bound);
        world.apply(delete("a"));
        let refused = excess(world.refused(create("b", spec.clone())));
        assert_eq!(refused.bound, bound, "it counts until it is gone");
        world.apply(finish(1, false));
        world.queue(create("b", spec.clone()));
    }
}

#[test]
fn a_quota_that_is_lowered_takes_nothing_away_and_lets_nothing_grow() {
    let mut world = World::founded();
    world.queue(create("a", with(60)));
    world.queue(create("b", with(0)));
    world.apply(set("shop", Some(messages(50))));
    let report = world.machine.quota_reports().remove(0);
    let usage = report.usage.expect("of a namespace");
    assert_eq!(usage.over(&report.quota), [Bound::Messages]);
    assert_eq!(
        usage.taken(Bound::Messages),
        Taken {
            sum: 60,
            unlimited: 1
        }
    );

    let refusal = world.refused(create("c", with(1)));
    assert_eq!(
        refusal.to_string(),
        "namespace shop: its quota of messages is 50, other queues take 60 of it, and these ask \
         for them without limit: b; set limits.max_messages of each, or have an administrator lift \
         the quota"
    );
    // To no more than it has, whatever that is.
    let paused = QueueSpec {
        lease_ms: 1_000,
        ..with(0)
    };
    world.queue(update("b", paused));
    world.queue(update("b", with(40)));
    assert_eq!(excess(world.refused(update("b", with(41)))).taken, 60);
    world.queue(update("a", with(10)));
    let usage = world
        .machine
        .quota_reports()
        .remove(0)
        .usage
        .expect("of a namespace");
    assert_eq!(usage.over(&messages(50)), []);
}

#[test]
fn the_quota_of_all_holds_for_those_that_have_none_of_their_own() {
    let mut world = World::founded();
    world.apply(set("*", Some(messages(10))));
    let refusal = excess(world.refused(create("a", with(11))));
    assert!(refusal.inherited);
    assert!(
        refusal
            .to_string()
            .contains("its quota (that of *) of messages is 10")
    );
    world.apply(set("shop", Some(Quota::default())));
    world.queue(create("a", with(0)));
    let bank = Op::CreateQueue(CreateQueue {
        name: QueueName::new("bank", "a"),
        spec: with(7),
    });
    world.queue(bank);
    let shown = |report: QuotaReport| {
        let taken = report.usage.map(|usage| usage.taken(Bound::Messages).sum);
        (report.namespace, report.inherited, taken)
    };
    let reports = world.machine.quota_reports();
    let shown: Vec<_> = reports.into_iter().map(shown).collect();
    let expected = [
        ("*".to_owned(), false, None),
        ("bank".to_owned(), true, Some(7)),
        ("shop".to_owned(), false, Some(0)),
    ];
    assert_eq!(shown, expected);
    world.apply(set("shop", None));
    let why = excess(world.refused(create("b", with(1)))).why;
    assert_eq!(why, Why::OthersUnlimited(vec!["a".into()]));
}

#[test]
fn a_quota_has_a_namespace_and_limits_that_can_be_added_up() {
    let mut world = World::founded();
    let fields = |refusal| match refusal {
        Refusal::Invalid(found) => found.iter().map(|it| it.field).collect::<Vec<_>>(),
        other => unreachable!("{other:?}"),
    };
    let huge = messages(MAX_QUOTA + 1);
    assert_eq!(
        fields(world.refused(set("No", Some(huge)))),
        ["namespace", "messages"]
    );
    assert_eq!(fields(world.refused(set("", None))), ["namespace"]);
    assert_eq!(world.apply(set("shop", None)), Reply::Done, "there is none");
    world.apply(set("shop", Some(messages(MAX_QUOTA))));
    world.queue(create("a", with(MAX_QUOTA)));
    let why = excess(world.refused(create("b", with(u64::MAX)))).why;
    assert_eq!(
        why,
        Why::TooMuch {
            asked: u64::MAX,
            by: u64::MAX - MAX_QUOTA
        }
    );
    let fenced = |fence| {
        Op::SetQuota(SetQuota {
            namespace: "shop".into(),
            quota: None,
            fence,
        })
    };
    world.apply(fenced(7));
    assert_eq!(
        world.refused(fenced(6)),
        Refusal::Fenced { got: 6, newest: 7 }
    );
}

#[test]
fn the_number_of_quotas_is_bounded() {
    let mut kv = roadstead_core::kv::MemoryKv::new();
    let mut machine = CatalogMachine::default();
    let ops: Vec<Op> = std::iter::once(bootstrap("c"))
        .chain((0..=MAX_QUOTAS).map(|n| set(&format!("n{n}"), Some(messages(1)))))
        .chain([set("n0", Some(messages(2)))])
        .collect();
    let applied = machine
        .apply(&mut kv, 1, &encode_entry(1, &ops))
        .expect("it is whole");
    let refused = |reply: &Reply| matches!(reply, Reply::Refused(_));
    let refused: Vec<usize> = (0..ops.len())
        .filter(|n| refused(&applied.replies[*n]))
        .collect();
    assert_eq!(refused, [MAX_QUOTAS + 1]);
    assert_eq!(machine.quota_reports().len(), MAX_QUOTAS);
}
