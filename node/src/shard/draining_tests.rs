use std::collections::BTreeMap;

use roadstead_core::shard::PartitionId;
use roadstead_proto::v1::Consumer as Label;
use tokio::sync::mpsc;

use super::*;
use crate::shard::consumer::{Rank, Wish};
use crate::shard::consumers::Asked;
use crate::shard::tests_support::{received, wish};
use crate::shard::waiting::Ready;

const A: PartitionId = PartitionId {
    queue: 1,
    partition: 0,
};
const GROUP: GroupOf = (1, 0);

fn named(name: &str) -> Wish {
    let session = u128::from(name.as_bytes()[0]);
    Wish {
        session_name: format!("session of {name}"),
        label: Label {
            name: name.to_owned(),
            pod_uid: String::new(),
        },
        ..wish(Some(session), &[A])
    }
}

fn exclusive(name: &str, priority: u32) -> Wish {
    Wish {
        rank: Rank {
            priority,
            exclusive: true,
        },
        ..named(name)
    }
}

type Pushes = mpsc::UnboundedReceiver<Push>;

fn open(consumers: &mut Consumers, wish: Wish) -> (ConsumerId, Pushes) {
    let (push, pushes) = mpsc::unbounded_channel();
    (consumers.open(wish, Vec::new(), push), pushes)
}

fn ask(consumers: &mut Consumers, ready: u64) -> Vec<Asked> {
    consumers.ask(&BTreeMap::new(), |_| Some(Ready::of(ready)))
}

fn served(consumers: &mut Consumers, ready: u64) -> Vec<(ConsumerId, u32)> {
    let asked = ask(consumers, ready);
    asked
        .iter()
        .map(|asked| (asked.consumer, asked.receive.max))
        .collect()
}

fn drain(consumers: &mut Consumers, name: &str, for_ms: Option<u64>) -> usize {
    let selectors = [Selector::Name(name.to_owned())];
    let meant = consumers.drain(GROUP, &selectors, for_ms);
    meant.expect("not too many").len()
}

/// What it was told last of being drained: so many ms more, or 0 when that is over.
fn told(pushes: &mut Pushes) -> Option<u64> {
    let mut told = None;
    while let Ok(push) = pushes.try_recv() {
        if let Push::Draining(left) = push {
            told = Some(left.unwrap_or(0));
        }
    }
    told
}

#[test]
fn who_is_drained_gets_nothing_more_and_others_get_its_share() {
    let mut consumers = Consumers::default();
    let (drained, mut pushes) = open(&mut consumers, named("a"));
    let (other, _keep) = open(&mut consumers, named("b"));
    consumers.grant(drained, 100);
    let writing = ask(&mut consumers, 5);
    assert_eq!(drain(&mut consumers, "a", Some(1_000)), 1);
    assert_eq!(drain(&mut consumers, "nobody", Some(1_000)), 0);
    assert_eq!(told(&mut pushes), Some(1_000));
    // What was being written for it is its own.
    assert!(
        consumers
            .answered(&writing[0], Some(received(A, 5)), 60)
            .is_none()
    );
    assert!(matches!(pushes.try_recv(), Ok(Push::Leased(got)) if got.messages.len() == 5));
    consumers.grant(other, 40);
    assert_eq!(served(&mut consumers, 60), [(other, 40)]);
    consumers.touched(A);
    assert_eq!(served(&mut consumers, 60), []);
    assert!(pushes.try_recv().is_err(), "it has nothing to look for");
    assert!(consumers.waits_at((A, 0)));
    consumers.close(other);
    assert!(!consumers.waits_at((A, 0)), "nobody works there");

    assert_eq!(drain(&mut consumers, "a", None), 1);
    assert_eq!(told(&mut pushes), Some(0));
    assert!(consumers.is_dirty());
    assert_eq!(served(&mut consumers, 90), [(drained, 50)]);
}

#[test]
fn a_drain_ends_by_itself() {
    let mut consumers = Consumers::default();
    consumers.pass(7);
    let (id, mut pushes) = open(&mut consumers, named("a"));
    consumers.grant(id, 10);
    drain(&mut consumers, "a", Some(100));
    assert_eq!(consumers.due_ms(), Some(107));
    consumers.pass(106);
    assert_eq!(served(&mut consumers, 5), []);
    consumers.pass(107);
    assert_eq!(told(&mut pushes), Some(0));
    assert_eq!(served(&mut consumers, 5), [(id, 5)]);
    assert_eq!(consumers.due_ms(), None);
}

#[test]
fn it_holds_for_a_stream_that_comes_later_and_what_that_lacks_is_for_others() {
    let mut consumers = Consumers::default();
    drain(&mut consumers, "a", Some(1_000));
    let (push, mut pushes) = mpsc::unbounded_channel();
    let id = consumers.open(named("a"), vec![received(A, 2)], push);
    consumers.grant(id, 10);
    assert_eq!(served(&mut consumers, 60), []);
    assert!(matches!(pushes.try_recv(), Ok(Push::Draining(Some(1_000)))));
    assert!(pushes.try_recv().is_err());
    let lacked = consumers.undelivered();
    assert_eq!((lacked.len(), lacked[0].messages.len()), (1, 2));
    assert!(consumers.undelivered().is_empty());
    let again = Wish {
        session: Some(roadstead_core::shard::SessionId(9)),
        one_time: true,
        ..named("a")
    };
    let (push, mut answer) = mpsc::unbounded_channel();
    let id = consumers.open(again, vec![received(A, 1)], push);
    consumers.grant_once(id, 1);
    assert!(matches!(answer.try_recv(), Ok(Push::Draining(_))));
    assert!(matches!(answer.try_recv(), Ok(Push::Available)));
    assert!(
        matches!(answer.try_recv(), Ok(Push::Leased(_))),
        "it was given that before"
    );
    let receive = Wish {
        session: None,
        session_name: String::new(),
        one_time: true,
        ..named("a")
    };
    let (once, mut answer) = open(&mut consumers, receive);
    consumers.grant_once(once, 5);
    assert_eq!(served(&mut consumers, 60), [], "nor by a call of that name");
    assert!(matches!(answer.try_recv(), Ok(Push::Draining(_))));
    assert!(matches!(answer.try_recv(), Ok(Push::Returned(5))));
}

#[test]
fn a_new_leader_is_told_by_the_stream() {
    let mut old = Consumers::default();
    let (_, mut pushes) = open(&mut old, named("a"));
    drain(&mut old, "a", Some(1_000));
    assert_eq!(told(&mut pushes), Some(1_000));
    old.close_all(&crate::shard::Unapplied::NotLeader(None));
    let (id, mut pushes) = open(&mut old, named("a"));
    assert_eq!(told(&mut pushes), None, "it has led anew since");
    old.grant(id, 10);
    old.drain_again(id, 900);
    assert_eq!(told(&mut pushes), Some(900));
    assert_eq!(served(&mut old, 5), []);
    // It comes again by another gateway, which knows nothing.
    let (id, mut pushes) = open(&mut old, named("a"));
    assert_eq!(told(&mut pushes), Some(900));
    old.grant(id, 10);
    drain(&mut old, "a", None);
    old.drain_again(id, 900);
    assert_eq!(told(&mut pushes), Some(0), "it was taken back here");
    assert_eq!(served(&mut old, 5), [(id, 5)]);
}

#[test]
fn another_exclusive_consumer_takes_the_place_of_one_that_is_drained() {
    let mut consumers = Consumers::default();
    let (first, _keep) = open(&mut consumers, exclusive("a", 1));
    let (second, _keep_too) = open(&mut consumers, exclusive("b", 0));
    let (plain, _keep_3) = open(&mut consumers, named("c"));
    for id in [first, second, plain] {
        consumers.grant(id, 10);
    }
    drain(&mut consumers, "a", Some(1_000));
    assert_eq!(served(&mut consumers, 100), [(second, 10)]);
    drain(&mut consumers, "b", Some(1_000));
    assert_eq!(served(&mut consumers, 100), [(plain, 10)]);
    drain(&mut consumers, "a", None);
    assert_eq!(served(&mut consumers, 100), [(first, 10)]);
}
