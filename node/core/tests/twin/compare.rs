//! What must be equal after every entry, beside the replies.

use std::collections::BTreeSet;

use bytes::Bytes;
use proptest::test_runner::TestCaseError;
use proptest::{prop_assert, prop_assert_eq};
use roadstead_core::shard::*;

use super::cover::cover_states;
use super::cover_breaker::cover_breakers;
use super::cover_lanes::cover_lanes;
use super::cover_receive::cover_attempts;
use super::grown::{cover_grown, left};
use super::model::{Leaving, Message, Mine, Partition, State};
use super::rows::nothing_is_left_behind;
use super::sticky::cover_sticky;
use super::world::{Check, World};

pub fn all(world: &mut World) -> Check {
    let ids: Vec<_> = world.twin.partitions.keys().copied().collect();
    let live: Vec<_> = ids
        .iter()
        .filter(|id| !world.twin.partitions[id].dropping)
        .collect();
    prop_assert_eq!(
        world.machine.partitions().collect::<Vec<_>>(),
        live.iter().map(|id| **id).collect::<Vec<_>>()
    );
    for id in &ids {
        outboxes(world, *id)?;
        let p = &world.twin.partitions[id];
        if !p.dropping {
            prop_assert_eq!(world.machine.config(*id), Some(&p.config));
            super::counts::stats(world, p)?;
            limits(p)?;
            messages(world, p)?;
            leases(world, p)?;
            left(world, p)?;
            nothing_is_left_behind(world, p)?;
        }
    }
    deadlines(world)?;
    payloads(world)?;
    cover_states(world);
    cover_lanes(world);
    cover_sticky(world);
    cover_grown(world);
    cover_breakers(world);
    cover_attempts(world);
    Ok(())
}

/// The twin's own promises, so that both are not wrong together.
fn limits(p: &Partition) -> Check {
    for group in p.groups.keys() {
        let open: Vec<_> = p.open(*group).collect();
        match p.config.ordering {
            Ordering::None => {}
            Ordering::PerKey => {
                for (m, _) in open.iter().filter(|(_, mine)| mine.is_leased()) {
                    let same = open.iter().filter(|(other, _)| other.key == m.key);
                    let leased = same.clone().filter(|(_, mine)| mine.is_leased());
                    prop_assert_eq!(leased.count(), 1, "one in flight per key");
                    let first = same.map(|(other, _)| other.sequence).next();
                    prop_assert_eq!(first, Some(m.sequence), "the first of its key is in flight");
                }
            }
            Ordering::Strict => {
                let leased = p.in_flight(*group);
                prop_assert!(leased <= 1, "one in flight");
                let first = open.first();
                prop_assert!(leased == 0 || first.is_some_and(|(_, mine)| mine.is_leased()));
            }
        }
    }
    Ok(())
}

pub fn state(p: &Partition, m: &Message, (group, mine): (u32, &Mine)) -> MessageState {
    let engaged = p.config.ordering == Ordering::Strict && p.engaged(group, 0);
    match mine.state {
        State::Waiting if engaged => MessageState::Blocked,
        State::Waiting if m.early => MessageState::Delayed,
        State::Waiting | State::Returned => MessageState::Ready,
        State::BackingOff(_) => MessageState::Delayed,
        State::Leased { .. } => MessageState::InFlight,
        State::Blocked => MessageState::Blocked,
    }
}

fn messages(world: &World, p: &Partition) -> Check {
    for group in p.groups.keys() {
        messages_of(world, p, *group)?;
    }
    Ok(())
}

fn messages_of(world: &World, p: &Partition, group: u32) -> Check {
    let got = browsed(world, (p.id, group), None);
    for m in &got {
        attempts(world, p, (group, m))?;
        let alone = world.machine.message_at(&world.kv, p.id, m.location);
        prop_assert_eq!(alone.expect("rows can be read"), Some((m.id, m.payload)));
    }
    let mut delayed: Vec<_> = p.delayed.iter().collect();
    delayed.sort_by_key(|m| (m.due, m.sequence));
    let line = p.open(group);
    let line = line.map(|(m, mine)| expected(p, m, Some((group, mine)), world.now));
    let delayed = delayed.into_iter();
    let line = line.chain(delayed.map(|m| expected(p, m, None, 0)));
    let line: Vec<_> = line.collect();
    let got: Vec<_> = got.iter().map(|m| shown(world, m)).collect();
    prop_assert_eq!(&got, &line, "messages of {} for {}", p.id, group);
    from_a_sequence(world, (p.id, group), &line)
}

/// A walk from a sequence on meets all that has it or a higher one.
fn from_a_sequence(world: &World, of: (PartitionId, u32), line: &[Line]) -> Check {
    let Some(((_, sequence, ..), ..)) = line.get(world.log.len() % line.len().max(1)) else {
        return Ok(());
    };
    let from = world.machine.browse_from(&world.kv, of.0, *sequence);
    let mut got = browsed(world, of, from.expect("rows can be read"));
    got.retain(|m| m.sequence >= *sequence);
    let got: Vec<_> = got.iter().map(|m| shown(world, m)).collect();
    let meant = line.iter().filter(|((_, it, ..), ..)| it >= sequence);
    let meant: Vec<_> = meant.cloned().collect();
    prop_assert_eq!(got, meant, "messages of {:?} from {} on", of, sequence);
    Ok(())
}

/// A walk to its end, in pieces of another size each time.
fn browsed(world: &World, of: (PartitionId, u32), mut from: Option<BrowseFrom>) -> Vec<Peeked> {
    let piece = world.log.len() % 5 + 1;
    let mut got = Vec::new();
    loop {
        let browsed = world.machine.browse(&world.kv, of, from, piece);
        let browsed = browsed.expect("rows can be read");
        got.extend(browsed.messages);
        from = browsed.next;
        if from.is_none() {
            return got;
        }
    }
}

fn attempts(world: &World, p: &Partition, (group, m): (u32, &Peeked)) -> Check {
    let Location::Position(position) = m.location else {
        return Ok(());
    };
    let kept = world.machine.attempts(&world.kv, (p.id, group), position);
    let mut open = p.open(group);
    let known = open.find(|(it, _)| it.sequence == m.sequence);
    let known = known.map(|(_, mine)| mine.attempts());
    prop_assert_eq!(kept.ok(), known, "attempts");
    Ok(())
}

/// What a browse shows of a message, with its payload and its state by themselves.
type Shown = (
    MessageId,
    u64,
    Location,
    [Option<u64>; 4],
    (u64, u32, u8),
    (u64, u64),
);
type Line = (Shown, Bytes, MessageState);

fn shown(world: &World, m: &Peeked) -> Line {
    let marks = [m.key, m.expires_at, m.due, m.tenant];
    let counts = (m.enqueued_at, m.delivery_count, m.priority);
    let times = (m.first_delivered_at, m.last_delivered_at);
    let shown = (m.id, m.sequence, m.location, marks, counts, times);
    (shown, world.body(m.payload), m.state)
}

/// None: it is delayed, for all groups.
fn expected(p: &Partition, m: &Message, of: Option<(u32, &Mine)>, now: u64) -> Line {
    let (due, count, state) = match of {
        None => (m.due, 0, MessageState::Delayed),
        Some((group, mine)) => {
            let due = match mine.state {
                State::BackingOff(due) => due,
                _ => m.due,
            };
            (due, mine.count, state(p, m, (group, mine)))
        }
    };
    let key = Some(m.key).filter(|key| *key != 0);
    let due = Some(due).filter(|due| *due > now);
    let tenant = Some(m.tenant).filter(|tenant| *tenant != 0);
    let marks = [key, p.expires_at(m), due, tenant];
    let counts = (m.enqueued_at, count, m.priority);
    let times = of.map_or((0, 0), |(_, mine)| match (mine.times(), mine.at) {
        ((0, _), at) if mine.is_leased() => (at, at),
        ((first, _), at) if mine.is_leased() => (first, at),
        (times, _) => times,
    });
    let shown = (m.id, m.sequence, p.location(m), marks, counts, times);
    (shown, m.body.clone(), state)
}

fn leases(world: &World, p: &Partition) -> Check {
    for session in [SessionId(1), SessionId(2)] {
        let held = world
            .machine
            .leases_of(&world.kv, p.id, session)
            .expect("rows can be read");
        let of = |r: &Received| (r.group, u64::from(r.epoch), r.delivery);
        let got = held
            .iter()
            .flat_map(|r| r.messages.iter().map(move |m| (of(r), m)));
        let mut got: Vec<_> = got
            .map(|(of, m)| (of, world.seen(m)))
            .map(|(of, m)| (of, m.slot, m.sequence, m.body, m.count, m.deadline, m.times))
            .collect();
        let mut expected = Vec::new();
        for (group, held) in &p.groups {
            expected.extend(p.open(*group).filter_map(|(m, mine)| match mine.state {
                State::Leased {
                    delivery,
                    slot,
                    deadline,
                    session: Some(s),
                } if s == session => {
                    let of = (*group, held.epoch, delivery);
                    let body = m.body.clone();
                    Some((
                        of,
                        slot,
                        m.sequence,
                        body,
                        mine.count,
                        deadline,
                        mine.times(),
                    ))
                }
                _ => None,
            }));
        }
        got.sort();
        expected.sort();
        prop_assert_eq!(got, expected, "leases of {:?} in {}", session, p.id);
    }
    Ok(())
}

/// The twin's messages in outboxes are those of the machine; numbers are given once, one by one.
fn outboxes(world: &mut World, id: PartitionId) -> Check {
    let pending: Vec<_> = world
        .machine
        .outboxes()
        .into_iter()
        .filter(|outbox| outbox.source == id)
        .collect();
    let by = |m: &Leaving| (m.target, m.number);
    let mut got = Vec::new();
    for Outbox {
        source,
        target,
        pending,
    } in pending
    {
        let heads = world
            .machine
            .outbox_heads(&world.kv, source, target, usize::MAX)
            .expect("rows can be read");
        prop_assert_eq!(heads.len() as u64, pending);
        for pair in heads.windows(2) {
            prop_assert_eq!(
                pair[0].number + 1,
                pair[1].number,
                "numbers follow one by one"
            );
        }
        got.extend(heads.iter().map(|m| leaving(world, target, m)));
    }
    let Some(p) = world.twin.partitions.get_mut(&id) else {
        return Ok(());
    };
    // A queue may be its own dead-letter queue here: then a message stands in it twice.
    let mut fresh: Vec<_> = got
        .iter()
        .filter(|m| !p.outbox.iter().any(|other| by(other) == by(m)))
        .collect();
    for m in p.outbox.iter_mut().filter(|m| m.number.is_none()) {
        let at = fresh.iter().position(|other| {
            Leaving {
                number: None,
                sequence: m.sequence,
                ..(**other).clone()
            } == *m
        });
        let Some(at) = at else {
            return Err(TestCaseError::fail(format!(
                "{m:?} is not in the outbox: {got:?}"
            )));
        };
        m.number = fresh.remove(at).number;
    }
    p.outbox.sort_by_key(by);
    got.sort_by_key(by);
    let known = p.outbox.iter().cloned();
    let known: Vec<_> = known.map(|m| Leaving { sequence: 0, ..m }).collect();
    prop_assert_eq!(known, got);
    Ok(())
}

fn leaving(world: &World, target: PartitionId, m: &OutboxMessage) -> Leaving {
    Leaving {
        target,
        number: Some(m.number),
        sequence: 0,
        id: m.id,
        key: m.key.unwrap_or(0),
        body: world.body(m.payload),
        enqueued_at: m.enqueued_at,
        due: m.due,
        ttl: m.ttl_ms,
        priority: m.priority,
        tenant: m.tenant.unwrap_or(0),
        reason: m.reason,
        count: m.delivery_count,
        at: m.at,
        attempts: m.attempts.clone(),
    }
}

fn deadlines(world: &World) -> Check {
    let next = world.machine.next_deadline().unwrap_or(u64::MAX);
    for p in world.twin.partitions.values().filter(|p| !p.dropping) {
        let due = p.earliest().unwrap_or(u64::MAX);
        // What a new time to live makes overdue is due now.
        let due = due.max(world.now);
        prop_assert!(
            next <= due,
            "something is due at {due}, the machine says {next}"
        );
    }
    Ok(())
}

fn payloads(world: &World) -> Check {
    let mut live: Vec<Bytes> = Vec::new();
    for p in world.twin.partitions.values() {
        // Each payload once, also where several name it.
        let named = p.messages.iter().chain(&p.delayed);
        let named = named.map(|m| (m.sequence, &m.body));
        let named = named.chain(p.outbox.iter().map(|m| (m.sequence, &m.body)));
        let named: BTreeSet<(u64, &Bytes)> = named.collect();
        live.extend(named.into_iter().map(|(_, body)| body.clone()));
    }
    live.sort();
    let last = world.log.len() as u64;
    prop_assert_eq!(
        world.live_bodies(0, u64::MAX),
        live.clone(),
        "live payloads"
    );
    // In two halves they are the same.
    let mut halves = world.live_bodies(0, last / 2);
    halves.extend(world.live_bodies(last / 2 + 1, last));
    halves.sort();
    prop_assert_eq!(halves, live, "live payloads by range");
    Ok(())
}
