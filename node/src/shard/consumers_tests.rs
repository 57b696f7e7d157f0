use super::*;
use crate::shard::consumer::Rank;
use crate::shard::tests_support::{received, wish};

const A: PartitionId = PartitionId {
    queue: 1,
    partition: 0,
};
const B: PartitionId = PartitionId {
    queue: 1,
    partition: 1,
};

fn open(
    consumers: &mut Consumers,
    wish: Wish,
    owed: Vec<Received>,
) -> (ConsumerId, mpsc::UnboundedReceiver<Push>) {
    let (push, pushes) = mpsc::unbounded_channel();
    (consumers.open(wish, owed, push), pushes)
}

fn ask(consumers: &mut Consumers, ready: u64) -> Vec<(ConsumerId, u32)> {
    let asked = consumers.ask(&BTreeMap::new(), |_| Some(Ready::of(ready)));
    asked
        .iter()
        .map(|asked| (asked.consumer, asked.receive.max))
        .collect()
}

#[test]
fn nothing_is_asked_for_where_nothing_is_ready() {
    let mut consumers = Consumers::default();
    let (id, mut pushes) = open(&mut consumers, wish(Some(1), &[A]), Vec::new());
    consumers.grant(id, 10);
    assert_eq!(ask(&mut consumers, 0), []);
    assert!(!consumers.is_dirty(), "an idle consumer costs nothing");
    assert!(pushes.try_recv().is_err());
}

#[test]
fn what_is_ready_is_shared_and_never_beyond_the_credit() {
    let mut consumers = Consumers::default();
    let (first, _keep) = open(&mut consumers, wish(Some(1), &[A]), Vec::new());
    let (second, _keep_too) = open(&mut consumers, wish(Some(2), &[A]), Vec::new());
    consumers.grant(first, 100);
    consumers.grant(second, 5);
    let mut asked = ask(&mut consumers, 60);
    asked.sort_unstable();
    assert_eq!(asked, [(first, 30), (second, 5)]);
    // What is being written is not asked for again.
    consumers.touched(A);
    assert_eq!(ask(&mut consumers, 60), [(first, 25)]);
}

#[test]
fn who_found_nothing_is_asked_again_only_where_there_is_more_to_look_at() {
    for more in [false, true] {
        let mut consumers = Consumers::default();
        let (id, _keep) = open(&mut consumers, wish(Some(1), &[A]), Vec::new());
        consumers.grant(id, 1);
        let asked = consumers.ask(&BTreeMap::new(), |_| Some(Ready::of(1)));
        let mut nothing = received(A, 0);
        nothing.more = more;
        consumers.answered(&asked[0], Some(nothing), 1);
        let again = Vec::from_iter(more.then_some((id, 1)));
        assert_eq!(ask(&mut consumers, 1), again);
    }
}

#[test]
fn unused_credit_comes_back_once_what_is_written_is_known() {
    let mut consumers = Consumers::default();
    let (id, mut pushes) = open(&mut consumers, wish(Some(1), &[A]), Vec::new());
    consumers.grant(id, 10);
    let asked = consumers.ask(&BTreeMap::new(), |_| Some(Ready::of(4)));
    consumers.take_back(id);
    assert!(pushes.try_recv().is_err(), "four may still be delivered");
    consumers.grant(id, 3);
    assert!(
        consumers
            .answered(&asked[0], Some(received(A, 4)), 0)
            .is_none()
    );
    assert!(matches!(pushes.try_recv(), Ok(Push::Leased(got)) if got.messages.len() == 4));
    assert!(matches!(pushes.try_recv(), Ok(Push::Returned(6))));
    consumers.touched(A);
    assert_eq!(
        ask(&mut consumers, 9),
        [(id, 3)],
        "what was granted behind it counts"
    );
}

#[test]
fn a_hint_is_given_once_per_credit() {
    let mut consumers = Consumers::default();
    let (id, mut pushes) = open(&mut consumers, wish(Some(1), &[A]), Vec::new());
    for _ in 0..2 {
        consumers.touched(A);
        assert_eq!(ask(&mut consumers, 1), []);
    }
    assert!(matches!(pushes.try_recv(), Ok(Push::Available)));
    assert!(pushes.try_recv().is_err());
    consumers.grant(id, 1);
    assert_eq!(ask(&mut consumers, 1), [(id, 1)]);
}

#[test]
fn what_cannot_be_had_is_not_asked_for_again_and_again() {
    let mut consumers = Consumers::default();
    let (id, _pushes) = open(&mut consumers, wish(Some(1), &[A]), Vec::new());
    consumers.grant(id, 10);
    let asked = consumers.ask(&BTreeMap::new(), |_| Some(Ready::of(5)));
    // The limit of deliveries in flight is reached: five are ready, none was leased.
    consumers.answered(&asked[0], Some(received(A, 0)), 5);
    assert_eq!(ask(&mut consumers, 5), []);
    assert!(!consumers.is_dirty());
    consumers.touched(A);
    assert_eq!(ask(&mut consumers, 5), [(id, 5)]);
}

#[test]
fn a_consumer_that_left_gets_nothing_more() {
    let mut consumers = Consumers::default();
    let (id, pushes) = open(&mut consumers, wish(None, &[A]), Vec::new());
    consumers.grant(id, 10);
    let asked = consumers.ask(&BTreeMap::new(), |_| Some(Ready::of(5)));
    drop(pushes);
    let left = consumers.answered(&asked[0], Some(received(A, 5)), 0);
    assert_eq!(left.map(|left| left.messages.len()), Some(5));
    consumers.close(id);
    assert!(!consumers.waits_at((A, 0)));
}

#[test]
fn a_session_opened_anew_gets_what_was_on_its_way_to_the_old_stream() {
    let mut consumers = Consumers::default();
    let (old, mut old_pushes) = open(&mut consumers, wish(Some(1), &[A, B]), Vec::new());
    consumers.grant(old, 10);
    let asked = consumers.ask(&BTreeMap::new(), |(partition, _)| {
        Some(Ready::of(u64::from(partition == A) * 5))
    });
    let (new, mut pushes) = open(&mut consumers, wish(Some(1), &[A, B]), vec![received(B, 3)]);
    assert!(matches!(
        old_pushes.try_recv(),
        Ok(Push::Closed(Closed::Replaced))
    ));
    assert!(
        matches!(pushes.try_recv(), Ok(Push::Available)),
        "it is owed more than its credit"
    );
    assert!(
        consumers
            .answered(&asked[0], Some(received(A, 5)), 0)
            .is_none()
    );
    consumers.grant(new, 4);
    let mut got = 0;
    while let Ok(push) = pushes.try_recv() {
        if let Push::Leased(batch) = push {
            got += batch.messages.len();
        }
    }
    assert_eq!(got, 4, "again within the credit");
}

#[test]
fn an_old_stream_that_comes_late_does_not_replace_a_newer_one() {
    let mut consumers = Consumers::default();
    let numbered = |stream, partition| Wish {
        stream,
        ..wish(Some(1), &[partition])
    };
    let (newer, mut pushes) = open(&mut consumers, numbered(2, A), Vec::new());
    consumers.grant(newer, 1);
    let (late, mut late_pushes) = open(&mut consumers, numbered(1, A), vec![received(A, 1)]);
    assert!(matches!(
        late_pushes.try_recv(),
        Ok(Push::Closed(Closed::Outdated))
    ));
    assert!(consumers.close(late).is_none());
    assert!(pushes.try_recv().is_err(), "it hears nothing of it");
    assert_eq!(ask(&mut consumers, 5), [(newer, 1)]);
    // Beside it, for another partition, an older one stays; the same number is opened anew.
    let (_, mut beside) = open(&mut consumers, numbered(1, B), Vec::new());
    let (_, mut again) = open(&mut consumers, numbered(2, A), Vec::new());
    assert!(beside.try_recv().is_err() && again.try_recv().is_err());
    assert!(matches!(
        pushes.try_recv(),
        Ok(Push::Closed(Closed::Replaced))
    ));
}

#[test]
fn a_one_time_grant_comes_back_at_once() {
    let mut consumers = Consumers::default();
    let (id, mut pushes) = open(&mut consumers, wish(None, &[A]), Vec::new());
    consumers.grant_once(id, 10);
    assert_eq!(ask(&mut consumers, 0), []);
    assert!(matches!(pushes.try_recv(), Ok(Push::Returned(10))));
}

#[test]
fn what_is_ready_beside_the_last_credit_is_hinted_once_that_is_used() {
    let mut consumers = Consumers::default();
    let (id, mut pushes) = open(&mut consumers, wish(Some(1), &[A, B]), Vec::new());
    consumers.grant(id, 1);
    let asked = consumers.ask(&BTreeMap::new(), |_| Some(Ready::of(1)));
    assert_eq!(asked.len(), 1);
    consumers.answered(&asked[0], Some(received(asked[0].receive.partition, 1)), 0);
    assert!(matches!(pushes.try_recv(), Ok(Push::Leased(_))));
    let other = if asked[0].receive.partition == A {
        B
    } else {
        A
    };
    assert_eq!(
        consumers.ask(&BTreeMap::new(), |(partition, _)| {
            Some(Ready::of(u64::from(partition == other)))
        }),
        []
    );
    assert!(matches!(pushes.try_recv(), Ok(Push::Available)));
}

#[test]
fn credit_that_is_called_back_at_once_is_used_first_where_something_is_ready() {
    let mut consumers = Consumers::default();
    let (id, mut pushes) = open(&mut consumers, wish(Some(1), &[A]), Vec::new());
    consumers.grant(id, 2);
    consumers.take_back(id);
    consumers.grant(id, 7);
    let asked = consumers.ask(&BTreeMap::new(), |_| Some(Ready::of(1)));
    assert_eq!(
        asked
            .iter()
            .map(|asked| asked.receive.max)
            .collect::<Vec<_>>(),
        [1]
    );
    consumers.answered(&asked[0], Some(received(A, 1)), 0);
    assert!(matches!(pushes.try_recv(), Ok(Push::Leased(_))));
    assert!(matches!(pushes.try_recv(), Ok(Push::Returned(1))));
    consumers.touched(A);
    assert_eq!(ask(&mut consumers, 9), [(id, 7)]);
}

#[test]
fn groups_of_a_partition_are_served_each_by_itself() {
    let mut consumers = Consumers::default();
    let (push, _pushes) = mpsc::unbounded_channel();
    let mut open = |group: u32| {
        let wish = Wish {
            group,
            ..wish(None, &[A])
        };
        let id = consumers.open(wish, Vec::new(), push.clone());
        consumers.grant(id, 10);
        id
    };
    let (default, other) = (open(0), open(7));
    assert!(consumers.waits_at((A, 0)) && consumers.waits_at((A, 7)));
    let asked = consumers.ask(&BTreeMap::new(), |(_, group)| {
        Some(Ready::of(u64::from(group == 7) * 3))
    });
    let seen: Vec<_> = asked
        .iter()
        .map(|asked| (asked.consumer, asked.receive.group, asked.receive.max))
        .collect();
    assert_eq!(seen, [(other, 7, 3)]);
    consumers.answered(&asked[0], None, 0);
    consumers.touched(A);
    // What is on its way is for all groups.
    let incoming = BTreeMap::from([((A, None, None), 2)]);
    let asked = consumers.ask(&incoming, |_| Some(Ready::of(0)));
    let seen: Vec<_> = asked
        .iter()
        .map(|asked| (asked.consumer, asked.receive.max))
        .collect();
    assert_eq!(seen, [(default, 2), (other, 2)]);
    consumers.answered(&asked[0], None, 0);
    consumers.answered(&asked[1], None, 0);
    // What another group settles frees nothing here, and a group without deliveries gets none.
    let freed = BTreeMap::from([((A, Some(7), None), 2)]);
    consumers.touched(A);
    let asked = consumers.ask(&freed, |_| Some(Ready::of(0)));
    assert_eq!(
        asked.iter().map(|asked| asked.consumer).collect::<Vec<_>>(),
        [other]
    );
    consumers.answered(&asked[0], None, 0);
    consumers.touched(A);
    assert_eq!(
        consumers
            .ask(&incoming, |(_, group)| (group == 7).then_some(Ready::of(0)))
            .len(),
        1
    );
    consumers.close(other);
    assert!(consumers.waits_at((A, 0)) && !consumers.waits_at((A, 7)));
}

#[test]
fn a_backlog_in_one_partition_keeps_no_credit_from_another() {
    let mut consumers = Consumers::default();
    let (id, _keep) = open(&mut consumers, wish(Some(1), &[A, B]), Vec::new());
    let mut seen = Vec::new();
    for _ in 0..4 {
        consumers.grant(id, 1);
        let asked = consumers.ask(&BTreeMap::new(), |_| Some(Ready::of(100)));
        for asked in &asked {
            seen.push(asked.receive.partition);
            consumers.answered(asked, Some(received(asked.receive.partition, 1)), 99);
        }
    }
    assert_eq!(seen, [A, B, A, B]);
}

#[test]
fn of_a_group_that_is_gone_the_subscriptions_end_and_of_others_not() {
    let mut consumers = Consumers::default();
    let grouped = |group| Wish {
        group,
        ..wish(Some(1), &[A])
    };
    let (_, mut gone) = open(&mut consumers, grouped(7), Vec::new());
    let (_, mut stays) = open(&mut consumers, grouped(0), Vec::new());
    assert_eq!(consumers.groups(), BTreeSet::from([(1, 0), (1, 7)]));
    consumers.close_group((1, 7), Closed::GroupGone);
    assert!(matches!(
        gone.try_recv(),
        Ok(Push::Closed(Closed::GroupGone(_)))
    ));
    assert!(
        stays.try_recv().is_err(),
        "the same session, in another group"
    );
}

fn ranked(session: u128, priority: u32, exclusive: bool) -> Wish {
    Wish {
        rank: Rank {
            priority,
            exclusive,
        },
        ..wish(Some(session), &[A])
    }
}

#[test]
fn who_has_a_higher_priority_is_served_first_as_far_as_its_credit_goes() {
    let mut consumers = Consumers::default();
    let (low, mut hints) = open(&mut consumers, ranked(1, 0, false), Vec::new());
    let (high, _keep) = open(&mut consumers, ranked(2, 9, false), Vec::new());
    let (same, _keep_too) = open(&mut consumers, ranked(3, 9, false), Vec::new());
    for (id, credit) in [(low, 100), (high, 40), (same, 20)] {
        consumers.grant(id, credit);
    }
    let mut asked = ask(&mut consumers, 50);
    asked.sort_unstable();
    assert_eq!(asked, [(high, 5), (high, 25), (same, 20)]);
    consumers.touched(A);
    assert_eq!(ask(&mut consumers, 150), [(high, 10), (low, 90)]);
    assert!(hints.try_recv().is_err());
    // The others are gone: their share is everybody's.
    consumers.close(high);
    consumers.close(same);
    assert_eq!(ask(&mut consumers, 200), [(low, 10)]);
}

#[test]
fn of_exclusive_consumers_one_is_served_and_another_takes_its_place() {
    let mut consumers = Consumers::default();
    let (plain, mut hints) = open(&mut consumers, ranked(1, 9, false), Vec::new());
    let (first, _keep) = open(&mut consumers, ranked(2, 0, true), Vec::new());
    let (second, _keep_too) = open(&mut consumers, ranked(3, 0, true), Vec::new());
    for id in [plain, first, second] {
        consumers.grant(id, 10);
    }
    assert_eq!(ask(&mut consumers, 100), [(first, 10)], "the first one");
    consumers.touched(A);
    assert_eq!(
        ask(&mut consumers, 100),
        [],
        "also when its credit is used up"
    );
    assert!(
        hints.try_recv().is_err(),
        "who stands by has nothing to look for"
    );
    let (third, _keep_3) = open(&mut consumers, ranked(4, 1, true), Vec::new());
    consumers.grant(third, 10);
    assert_eq!(ask(&mut consumers, 100), [(third, 10)], "a higher priority");
    consumers.close(third);
    consumers.close(first);
    assert_eq!(ask(&mut consumers, 100), [(second, 10)]);
    consumers.close(second);
    assert_eq!(ask(&mut consumers, 100), [(plain, 10)]);
}
