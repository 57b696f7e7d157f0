//! What a history must not hold. Pure.

use std::collections::BTreeMap;
use std::fmt;

use super::history::{Action, Answer, Delivered, History, Ms, Settled};

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Violation {
    /// Acknowledged, and never seen again.
    Lost(String),
    /// Delivered to a consumer, and gone without anybody having settled it.
    Vanished(String),
    /// Nobody sent it, or not so.
    Invented(String),
    /// One send became two messages.
    DoubledSend(String),
    /// Delivered again after it was done.
    DeliveredAfterDone(String),
    /// Done twice.
    DoneTwice(String),
    /// Leased to a second consumer while the first one's lease lasted.
    LeaseNotExclusive(String),
    /// Delivered before an earlier message of its key was settled.
    OutOfOrder(String),
    /// Replicas differ.
    ReplicasDiffer(String),
    /// It did not come to rest after every fault had ended.
    Stuck(String),
    /// A task of a node panicked.
    Panicked(String),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, detail) = match self {
            Self::Lost(detail) => ("an acknowledged message was lost", detail),
            Self::Vanished(detail) => ("a message vanished without being settled", detail),
            Self::Invented(detail) => ("a delivery that nobody sent so", detail),
            Self::DoubledSend(detail) => ("one send became two messages", detail),
            Self::DeliveredAfterDone(detail) => ("a delivery after the message was done", detail),
            Self::DoneTwice(detail) => ("two deliveries of a message were both done", detail),
            Self::LeaseNotExclusive(detail) => ("a lease was not exclusive", detail),
            Self::OutOfOrder(detail) => ("the order of a key was broken", detail),
            Self::ReplicasDiffer(detail) => ("replicas differ", detail),
            Self::Stuck(detail) => ("the cluster did not come to rest", detail),
            Self::Panicked(detail) => ("a task panicked", detail),
        };
        write!(f, "{what}: {detail}")
    }
}

/// What the oracle knows of the cluster.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// How long leases of a session without a stream are kept.
    pub session_grace: Ms,
    /// Where dead letters go.
    pub dead_queue: &'static str,
    /// Deliveries before a message is a dead letter, by other queues.
    pub max_deliveries: u32,
}

/// Frames may be on their way so long while nothing is wrong, with what clocks may differ.
const SLACK_CALM: Ms = 600;

/// And so long while links stall.
const SLACK_TROUBLED: Ms = 4_500;

/// Checks a history that has come to rest: every fault has ended and every queue is empty.
pub fn check(history: &History, rules: Rules) -> Vec<Violation> {
    let index = Index::of(history);
    let mut found = Vec::new();
    found.extend(lost(history, &index));
    found.extend(invented(history, rules));
    found.extend(doubled_sends(history));
    for (name, deliveries) in &index.deliveries {
        found.extend(after_done(name, deliveries, &index));
        found.extend(leases(history, rules, deliveries, &index));
    }
    found.extend(dead_after_done(rules, &index));
    found.extend(order(rules, &index));
    found.sort();
    found.dedup();
    found
}

/// A message in a queue.
type Name<'a> = (&'static str, &'a str);

#[derive(Default)]
struct Index<'a> {
    /// In order of time.
    deliveries: BTreeMap<Name<'a>, Vec<&'a Delivered>>,
    settled: BTreeMap<(&'static str, &'a [u8]), Vec<&'a Settled>>,
}

impl<'a> Index<'a> {
    fn of(history: &'a History) -> Self {
        let mut index = Self::default();
        for delivery in &history.delivered {
            let name = (delivery.queue, delivery.message_id.as_str());
            index.deliveries.entry(name).or_default().push(delivery);
        }
        for settled in &history.settled {
            let receipt = (settled.queue, settled.receipt.as_slice());
            index.settled.entry(receipt).or_default().push(settled);
        }
        index
    }

    fn settled(&self, delivery: &'a Delivered) -> &[&'a Settled] {
        let receipt = (delivery.queue, delivery.receipt.as_slice());
        self.settled.get(&receipt).map_or(&[], Vec::as_slice)
    }

    fn is_done(&self, delivery: &'a Delivered) -> bool {
        let done = |settled: &&Settled| settled.action.is_final() && settled.answer == Answer::Done;
        self.settled(delivery).iter().any(done)
    }
}

fn lost(history: &History, index: &Index<'_>) -> Vec<Violation> {
    let mut by_id = BTreeMap::<&str, Vec<&Delivered>>::new();
    for ((_, id), deliveries) in &index.deliveries {
        by_id.entry(id).or_default().extend(deliveries);
    }
    let mut found = Vec::new();
    for acknowledged in &history.acknowledged {
        let (body, id) = (&acknowledged.body, &acknowledged.message_id);
        let Some(deliveries) = by_id.get(id.as_str()) else {
            found.push(Violation::Lost(format!("{body}, acknowledged as {id}")));
            continue;
        };
        let tried = |settled: &&Settled| settled.action.is_final();
        if !deliveries
            .iter()
            .any(|delivery| index.settled(delivery).iter().any(tried))
        {
            let times = deliveries.len();
            found.push(Violation::Vanished(format!(
                "{body} ({id}), delivered {times} times"
            )));
        }
    }
    found
}

fn invented(history: &History, rules: Rules) -> Vec<Violation> {
    let mut found = Vec::new();
    for delivery in &history.delivered {
        let is_as_sent = history.sent.get(&delivery.body).is_some_and(|sent| {
            let place = (sent.queue, sent.partition) == (delivery.queue, delivery.partition);
            sent.key == delivery.key && (place || delivery.queue == rules.dead_queue)
        });
        if !is_as_sent {
            let Delivered {
                queue,
                partition,
                key,
                body,
                ..
            } = delivery;
            found.push(Violation::Invented(format!(
                "{body:?} {queue}/{partition} key {key:?}"
            )));
        }
    }
    found
}

fn doubled_sends(history: &History) -> Vec<Violation> {
    let mut ids = BTreeMap::<&str, &str>::new();
    let seen = history
        .acknowledged
        .iter()
        .map(|a| (&a.body, &a.message_id));
    let seen = seen.chain(history.delivered.iter().map(|d| (&d.body, &d.message_id)));
    let mut found = Vec::new();
    for (body, id) in seen {
        let first = *ids.entry(body).or_insert(id);
        if first != id {
            found.push(Violation::DoubledSend(format!(
                "{body} is {first} and {id}"
            )));
        }
    }
    found
}

fn after_done((queue, id): &Name<'_>, all: &[&Delivered], index: &Index<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut done: Vec<&Delivered> = all.iter().copied().filter(|d| index.is_done(d)).collect();
    done.dedup_by(|a, b| a.receipt == b.receipt);
    if let [first, second, ..] = done.as_slice() {
        let (a, b) = (first.count, second.count);
        found.push(Violation::DoneTwice(format!(
            "{id} of {queue}, deliveries {a} and {b}"
        )));
    }
    if let Some(done) = done.first()
        && let Some(later) = all.iter().find(|delivery| delivery.count > done.count)
    {
        let (a, b, at) = (done.count, later.count, later.at);
        let what = format!("{id} of {queue}: delivery {a} was done, delivery {b} came at {at} ms");
        found.push(Violation::DeliveredAfterDone(what));
    }
    found
}

/// What was acked in its queue is no dead letter.
fn dead_after_done(rules: Rules, index: &Index<'_>) -> Vec<Violation> {
    let acked = |delivery: &&Delivered| {
        let settled = index.settled(delivery);
        settled
            .iter()
            .any(|s| s.action == Action::Ack && s.answer == Answer::Done)
    };
    let mut found = Vec::new();
    for ((queue, id), deliveries) in &index.deliveries {
        let is_dead = index.deliveries.contains_key(&(rules.dead_queue, id));
        if *queue != rules.dead_queue && is_dead && deliveries.iter().any(acked) {
            let what = format!("{id} was acked in {queue} and came as a dead letter");
            found.push(Violation::DeliveredAfterDone(what));
        }
    }
    found
}

fn leases(
    history: &History,
    rules: Rules,
    deliveries: &[&Delivered],
    index: &Index<'_>,
) -> Vec<Violation> {
    let mut found = Vec::new();
    for first in deliveries {
        for second in deliveries {
            let is_later = (second.count, second.at) > (first.count, first.at);
            if first.receipt == second.receipt || !is_later {
                continue;
            }
            if !may_follow(history, rules, (first, second), index.settled(first)) {
                let Delivered {
                    queue,
                    message_id,
                    session,
                    at,
                    remaining_ms,
                    ..
                } = first;
                found.push(Violation::LeaseNotExclusive(format!(
                    "{message_id} of {queue}: leased at {at} ms for {remaining_ms} ms to \
                     {session:?}, and at {} ms to {:?}",
                    second.at, second.session
                )));
            }
        }
    }
    found
}

/// Whether the first delivery's lease may have ended before the second one was made.
fn may_follow(
    history: &History,
    rules: Rules,
    (first, second): (&Delivered, &Delivered),
    settled: &[&Settled],
) -> bool {
    let gave_back = |s: &&Settled| {
        !matches!(s.action, Action::Ack | Action::Extend(_)) && s.asked_at <= second.at
    };
    if settled.iter().any(gave_back) {
        return true;
    }
    let troubled = history.is_troubled(first.at.saturating_sub(SLACK_TROUBLED), first.at);
    let slack = if troubled { SLACK_TROUBLED } else { SLACK_CALM };
    let mut until = (first.at + Ms::from(first.remaining_ms)).saturating_sub(slack);
    for extended in settled
        .iter()
        .filter(|settled| settled.answer == Answer::Done)
    {
        if let Action::Extend(lease) = extended.action {
            until = until.max((extended.asked_at + Ms::from(lease)).saturating_sub(SLACK_CALM));
        }
    }
    if second.at >= until {
        return true;
    }
    if first.session.is_empty() {
        return false;
    }
    let gone_for = |since: Ms| second.at.saturating_sub(since) * 10 >= rules.session_grace * 9;
    let lost_stream = history
        .lost_streams
        .iter()
        .any(|(session, at)| *session == first.session && *at <= second.at && gone_for(*at));
    lost_stream || (history.is_troubled(first.at, second.at) && gone_for(first.at))
}

fn order(rules: Rules, index: &Index<'_>) -> Vec<Violation> {
    let mut keys = BTreeMap::<(&str, u32, &str), BTreeMap<u64, Vec<&Delivered>>>::new();
    for ((queue, _), deliveries) in &index.deliveries {
        for delivery in deliveries.iter().filter(|d| !d.key.is_empty()) {
            if *queue != rules.dead_queue {
                let key = (*queue, delivery.partition, delivery.key.as_str());
                keys.entry(key)
                    .or_default()
                    .entry(delivery.sequence)
                    .or_default()
                    .push(delivery);
            }
        }
    }
    let mut found = Vec::new();
    for ((queue, partition, key), messages) in keys {
        let mut before: Option<(u64, Ms)> = None;
        for (sequence, deliveries) in messages {
            let first = deliveries.iter().map(|d| d.at).min().unwrap_or_default();
            if let Some((earlier, free_at)) = before
                && first < free_at
            {
                found.push(Violation::OutOfOrder(format!(
                    "{queue}/{partition} key {key}: {sequence} came at {first} ms, before \
                     {earlier} was settled"
                )));
            }
            before = Some((sequence, freed_at(rules, &deliveries, index)));
        }
    }
    found
}

/// The earliest time when the next message of the key may come.
fn freed_at(rules: Rules, deliveries: &[&Delivered], index: &Index<'_>) -> Ms {
    let mut freed = Ms::MAX;
    for delivery in deliveries {
        for settled in index
            .settled(delivery)
            .iter()
            .filter(|s| s.action.is_final())
        {
            freed = freed.min(settled.asked_at);
        }
        // The last delivery may end as a dead letter by itself.
        if delivery.count >= rules.max_deliveries {
            freed = freed.min(delivery.at);
        }
    }
    let id = deliveries
        .first()
        .map_or("", |delivery| delivery.message_id.as_str());
    match index.deliveries.get(&(rules.dead_queue, id)) {
        // Not every delivery is seen: the last ones may have been lost on their way.
        Some(_) => freed.min(deliveries.iter().map(|d| d.at).min().unwrap_or_default()),
        None => freed,
    }
}

#[cfg(test)]
#[path = "oracle_tests.rs"]
mod tests;
