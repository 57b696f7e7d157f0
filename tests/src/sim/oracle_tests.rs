//! The oracle sees what is put before it.

use super::super::history::{Acknowledged, Sent, Trouble};
use super::*;

const RULES: Rules = Rules {
    session_grace: 2_000,
    dead_queue: "dead",
    max_deliveries: 4,
};

/// A history of messages that were sent and acknowledged in order, named `m1`, `m2`, ….
fn history(messages: u64) -> History {
    let mut history = History::default();
    for number in 1..=messages {
        let sent = Sent {
            queue: "orders",
            partition: 0,
            key: "k".into(),
        };
        history.sent.insert(format!("m{number}"), sent);
        history.acknowledged.push(Acknowledged {
            body: format!("m{number}"),
            message_id: format!("id{number}"),
            sequence: number,
        });
    }
    history
}

fn deliver(history: &mut History, number: u64, count: u32, at: Ms) -> Vec<u8> {
    let receipt = format!("r{number}-{count}").into_bytes();
    history.delivered.push(Delivered {
        at,
        queue: "orders",
        partition: 0,
        sequence: number,
        message_id: format!("id{number}"),
        body: format!("m{number}"),
        key: "k".into(),
        receipt: receipt.clone(),
        count,
        remaining_ms: 8_000,
        session: format!("s{count}"),
    });
    receipt
}

fn settle(history: &mut History, receipt: Vec<u8>, action: Action, at: Ms) {
    let answer = Answer::Done;
    history.settled.push(Settled {
        queue: "orders",
        receipt,
        action,
        asked_at: at,
        answer,
    });
}

fn clean() -> History {
    let mut history = history(3);
    for number in 1..=3 {
        let receipt = deliver(&mut history, number, 1, number * 100);
        settle(&mut history, receipt, Action::Ack, number * 100 + 10);
    }
    history
}

#[test]
fn a_clean_history_is_clean() {
    assert_eq!(check(&clean(), RULES), []);
}

#[test]
fn a_lost_message_is_found() {
    let mut history = clean();
    history.delivered.retain(|delivery| delivery.body != "m2");
    assert!(matches!(&check(&history, RULES)[..], [Violation::Lost(what)] if what.contains("m2")));
}

#[test]
fn a_message_that_nobody_settled_is_found() {
    let mut history = clean();
    history.settled.pop();
    assert!(matches!(
        &check(&history, RULES)[..],
        [Violation::Vanished(_)]
    ));
}

#[test]
fn a_doubled_send_is_found() {
    let mut history = clean();
    let mut twin = history.delivered[2].clone();
    twin.message_id = "id4".into();
    twin.sequence = 4;
    twin.at = 400;
    twin.receipt = b"r4-1".to_vec();
    settle(&mut history, twin.receipt.clone(), Action::Ack, 410);
    history.delivered.push(twin);
    assert!(matches!(
        &check(&history, RULES)[..],
        [Violation::DoubledSend(_)]
    ));
}

#[test]
fn a_changed_body_is_found() {
    let mut history = clean();
    history.delivered[0].key = "other".into();
    assert!(
        check(&history, RULES)
            .iter()
            .any(|v| matches!(v, Violation::Invented(_)))
    );
}

#[test]
fn a_delivery_after_the_ack_is_found() {
    let mut history = clean();
    deliver(&mut history, 3, 2, 90_000);
    assert!(matches!(
        &check(&history, RULES)[..],
        [Violation::DeliveredAfterDone(_)]
    ));
}

#[test]
fn a_late_frame_of_an_earlier_delivery_is_no_violation() {
    let mut history = history(1);
    let second = deliver(&mut history, 1, 2, 9_000);
    settle(&mut history, second, Action::Ack, 9_010);
    deliver(&mut history, 1, 1, 9_100);
    history.delivered[1].remaining_ms = 0;
    assert_eq!(check(&history, RULES), []);
}

#[test]
fn two_acks_of_one_message_are_found() {
    let mut history = clean();
    let receipt = deliver(&mut history, 3, 2, 90_000);
    settle(&mut history, receipt, Action::Ack, 90_010);
    assert!(
        check(&history, RULES)
            .iter()
            .any(|v| matches!(v, Violation::DoneTwice(_)))
    );
}

fn twice_delivered(second_at: Ms) -> History {
    let mut history = history(1);
    deliver(&mut history, 1, 1, 100);
    let receipt = deliver(&mut history, 1, 2, second_at);
    settle(&mut history, receipt, Action::Ack, second_at + 10);
    history
}

#[test]
fn a_second_lease_while_the_first_one_lasts_is_found() {
    let found = check(&twice_delivered(5_000), RULES);
    assert!(
        matches!(&found[..], [Violation::LeaseNotExclusive(_)]),
        "{found:?}"
    );
    assert_eq!(
        check(&twice_delivered(8_000), RULES),
        [],
        "the first one has ended"
    );
}

#[test]
fn a_second_lease_is_explained_by_a_nack_a_lost_stream_or_trouble() {
    let mut nacked = twice_delivered(200);
    settle(&mut nacked, b"r1-1".to_vec(), Action::Nack, 150);
    assert_eq!(check(&nacked, RULES), []);

    let mut lost = twice_delivered(2_400);
    lost.lost_streams.push(("s1".into(), 300));
    assert_eq!(check(&lost, RULES), []);
    lost.lost_streams[0].1 = 1_800;
    assert_eq!(check(&lost, RULES).len(), 1, "the grace had not passed");

    let mut troubled = twice_delivered(2_400);
    troubled.troubles.push(Trouble {
        from: 1_000,
        to: 2_000,
    });
    assert_eq!(check(&troubled, RULES), []);
}

#[test]
fn an_extended_lease_lasts_longer() {
    let mut history = twice_delivered(9_000);
    settle(&mut history, b"r1-1".to_vec(), Action::Extend(8_000), 6_000);
    assert!(matches!(
        &check(&history, RULES)[..],
        [Violation::LeaseNotExclusive(_)]
    ));
}

#[test]
fn a_broken_order_is_found() {
    let mut history = clean();
    history.delivered[1].at = 105;
    let found = check(&history, RULES);
    assert!(
        matches!(&found[..], [Violation::OutOfOrder(_)]),
        "{found:?}"
    );
}

#[test]
fn an_acked_message_is_no_dead_letter() {
    let mut history = clean();
    let mut dead = history.delivered[0].clone();
    dead.queue = "dead";
    history.delivered.push(dead);
    assert!(matches!(
        &check(&history, RULES)[..],
        [Violation::DeliveredAfterDone(_)]
    ));
}
