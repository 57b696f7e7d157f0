//! The rules of batching and retrying, without a server.

use std::time::{Duration, Instant};

use roadstead_proto::v1::{EntryError, OutgoingMessage, SendResult};

use super::batch::{Pending, Verdict};
use super::lanes::{Lanes, Limits};
use crate::error::{Fault, SendError};

const MS: Duration = Duration::from_millis(1);

fn limits() -> Limits {
    Limits {
        partitions: 2,
        batch_messages: 3,
        batch_bytes: 1_000,
        in_flight: 2,
        linger: MS,
        attempts: 3,
    }
}

struct Test {
    lanes: Lanes<u32>,
    now: Instant,
}

impl Test {
    fn new(limits: Limits) -> Self {
        Self {
            lanes: Lanes::new(limits),
            now: Instant::now(),
        }
    }

    fn push(&mut self, partition: Option<u32>, names: std::ops::Range<u32>) {
        for reply in names {
            let pending = Pending {
                message: OutgoingMessage::default(),
                size: 100,
                since: self.now,
                deadline: self.now + 100 * MS,
                together: 0,
                reply,
            };
            self.lanes.push(partition, pending);
        }
    }

    fn push_together(&mut self, partition: Option<u32>, names: std::ops::Range<u32>) {
        let mut together = names.len();
        for reply in names {
            let pending = Pending {
                message: OutgoingMessage::default(),
                size: 100,
                since: self.now,
                deadline: self.now + 100 * MS,
                together: std::mem::take(&mut together),
                reply,
            };
            self.lanes.push(partition, pending);
        }
    }

    /// (batch id, partition, first number, messages) of the next batch.
    fn next(&mut self) -> Option<(u64, u32, u64, Vec<u32>)> {
        let (id, batch) = self.lanes.next_batch(self.now, |_, _| true)?;
        let names = batch.entries().map(|entry| entry.pending.reply).collect();
        Some((id, batch.partition, batch.first_sequence(), names))
    }

    fn answer(&mut self, id: u64, errors: &[Option<bool>]) -> Vec<Verdict<u32>> {
        let results = errors.iter().map(|error| SendResult {
            message_id: "m".into(),
            error: error.map(|retryable| EntryError {
                code: 14,
                message: "e".into(),
                retryable,
            }),
            ..SendResult::default()
        });
        self.lanes.answered(id, results.collect(), self.now)
    }

    fn expire(&mut self) -> Vec<Verdict<u32>> {
        self.lanes.expire(self.now, &Fault::unreachable("down"))
    }
}

fn names(verdicts: &[Verdict<u32>]) -> Vec<u32> {
    verdicts.iter().map(|(name, _)| *name).collect()
}

#[test]
fn the_first_goes_at_once_and_the_rest_waits_for_company() {
    let mut test = Test::new(limits());
    test.push(Some(0), 0..1);
    assert_eq!(test.next(), Some((1, 0, 1, vec![0])));
    test.push(Some(0), 1..3);
    assert_eq!(
        test.next(),
        None,
        "one is in flight and the linger is not over"
    );
    assert_eq!(test.lanes.next_deadline(test.now), Some(test.now + MS));
    test.push(Some(0), 3..5);
    assert_eq!(
        test.next(),
        Some((2, 0, 2, vec![1, 2, 3])),
        "a full batch does not wait"
    );
    test.now += MS;
    assert_eq!(test.next(), None, "two batches are in flight");
    assert_eq!(names(&test.answer(1, &[None])), [0]);
    assert_eq!(test.next(), Some((3, 0, 5, vec![4])));
    test.answer(2, &[None; 3]);
    test.answer(3, &[None]);
    assert!(test.lanes.is_idle());
}

#[test]
fn a_lost_batch_goes_again_with_its_numbers_before_newer_ones() {
    let mut test = Test::new(limits());
    test.push(Some(0), 0..6);
    assert_eq!(test.next(), Some((1, 0, 1, vec![0, 1, 2])));
    assert_eq!(test.next(), Some((2, 0, 4, vec![3, 4, 5])));
    test.push(Some(0), 6..7);
    test.lanes.lost(2, &Fault::unreachable("x"), test.now);
    test.lanes.lost(1, &Fault::unreachable("x"), test.now);
    assert_eq!(test.next(), None, "back-off");
    test.now += 50 * MS;
    assert_eq!(test.next(), Some((3, 0, 1, vec![0, 1, 2])));
    assert_eq!(test.next(), Some((4, 0, 4, vec![3, 4, 5])));
    assert_eq!(test.next(), None);
    test.answer(3, &[None; 3]);
    test.answer(4, &[None; 3]);
    assert_eq!(test.next(), Some((5, 0, 7, vec![6])));
}

#[test]
fn only_what_was_refused_for_now_goes_again() {
    let mut test = Test::new(Limits {
        batch_messages: 5,
        ..limits()
    });
    test.push(Some(1), 0..5);
    test.next();
    let verdicts = test.answer(1, &[Some(true), None, Some(true), Some(true), Some(false)]);
    assert_eq!(names(&verdicts), [1, 4]);
    assert!(matches!(verdicts[1].1, Err(SendError::Refused(_))));
    test.now += 50 * MS;
    assert_eq!(test.next(), Some((2, 1, 1, vec![0])));
    assert_eq!(test.next(), Some((3, 1, 3, vec![2, 3])));
}

#[test]
fn without_a_key_a_troubled_partition_is_avoided() {
    let mut test = Test::new(limits());
    test.push(None, 0..1);
    let (id, troubled, ..) = test.next().unwrap();
    test.lanes.lost(id, &Fault::unreachable("x"), test.now);
    for name in 1..4 {
        test.push(None, name..name + 1);
        let (id, partition, ..) = test.next().unwrap();
        assert_ne!(partition, troubled);
        test.answer(id, &[None]);
    }
}

#[test]
fn numbers_stay_inside_the_window() {
    let mut test = Test::new(Limits {
        in_flight: 100,
        batch_messages: 100,
        ..limits()
    });
    test.push(Some(0), 0..2_000);
    let mut sent = 0;
    while let Some((.., names)) = test.next() {
        sent += names.len();
    }
    assert_eq!(sent, 1_000);
    test.answer(2, &[None; 100]);
    assert_eq!(test.next(), None, "the lowest number is still unanswered");
    test.answer(1, &[None; 100]);
    assert_eq!(test.next().unwrap().2, 1_001);
}

#[test]
fn a_failure_says_whether_the_message_may_be_there() {
    let mut test = Test::new(Limits {
        in_flight: 1,
        ..limits()
    });
    test.push(Some(0), 0..4);
    test.next();
    test.now += 100 * MS;
    let verdicts = test.expire();
    assert_eq!(names(&verdicts), [3, 0, 1, 2]);
    assert!(matches!(
        verdicts[0].1,
        Err(SendError::NotSent { attempts: 0, .. })
    ));
    assert!(matches!(
        verdicts[1].1,
        Err(SendError::Unknown { attempts: 1, .. })
    ));
    assert!(test.lanes.is_idle());
    assert!(
        test.answer(1, &[None; 3]).is_empty(),
        "a late answer is no news"
    );
}

#[test]
fn attempts_are_counted() {
    let mut test = Test::new(limits());
    test.push(Some(0), 0..1);
    for id in 1..=2 {
        assert_eq!(test.next().unwrap().0, id);
        assert!(test.answer(id, &[Some(true)]).is_empty());
        test.now += 80 * MS;
    }
    let (id, ..) = test.next().unwrap();
    let verdicts = test.answer(id, &[Some(true)]);
    let [
        (
            0,
            Err(SendError::NotSent {
                attempts: 3, last, ..
            }),
        ),
    ] = &verdicts[..]
    else {
        panic!("{verdicts:?}")
    };
    assert_eq!(last.message, "e");
    assert!(test.lanes.is_idle());
}

#[test]
fn a_closed_leader_gets_nothing() {
    let mut test = Test::new(limits());
    test.push(Some(0), 0..1);
    test.push(None, 1..2);
    let batch = test
        .lanes
        .next_batch(test.now, |partition, _| partition == 1);
    let batch = batch.map(|(_, batch)| (batch.partition, batch.entries().count()));
    assert_eq!(batch, Some((1, 1)));
    assert_eq!(
        test.lanes.next_deadline(test.now + MS),
        Some(test.now + 100 * MS)
    );
}

#[test]
fn an_atomic_batch_goes_alone_and_whole_and_again_as_a_whole() {
    let mut test = Test::new(limits());
    test.push(Some(0), 0..2);
    test.push_together(Some(0), 2..6);
    test.push(Some(0), 6..7);
    let (first, ..) = test.next().expect("what was sent before");
    let (id, _, number, together) = test.next().expect("it waits for no company");
    assert_eq!((number, together), (3, vec![2, 3, 4, 5]));
    test.answer(first, &[None, None]);
    // One was refused for now, and the others with it.
    let refused = Some(true);
    assert!(test.answer(id, &[refused; 4]).is_empty());
    test.now += 50 * MS;
    let (id, _, number, again) = test.next().expect("the same");
    assert_eq!((number, again), (3, vec![2, 3, 4, 5]));
    assert_eq!(names(&test.answer(id, &[None; 4])), [2, 3, 4, 5]);
    let (_, _, number, rest) = test.next().expect("what was sent after it");
    assert_eq!((number, rest), (7, vec![6]));
}

#[test]
fn an_atomic_batch_that_is_refused_for_good_is_not_tried_again() {
    let mut test = Test::new(limits());
    test.push_together(None, 0..3);
    let (id, ..) = test.next().expect("a batch");
    let verdicts = test.answer(id, &[Some(false), Some(true), Some(false)]);
    assert_eq!(names(&verdicts), [0, 1, 2]);
    assert!(verdicts.iter().all(|(_, verdict)| verdict.is_err()));
    assert!(test.lanes.is_idle());
}
