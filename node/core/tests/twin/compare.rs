//! What must be equal after every entry, beside the replies.

use bytes::Bytes;
use proptest::test_runner::TestCaseError;
use proptest::{prop_assert, prop_assert_eq};
use roadstead_core::shard::*;

use super::model::{Leaving, Message, Partition, State};
use super::rows::nothing_is_left_behind;
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
            stats(world, p)?;
            messages(world, p)?;
            leases(world, p)?;
            nothing_is_left_behind(world, p)?;
        }
    }
    deadlines(world)?;
    payloads(world)?;
    cover(world);
    Ok(())
}

fn stats(world: &World, p: &Partition) -> Check {
    let count =
        |wanted: fn(&Message) -> bool| p.messages.iter().filter(|m| wanted(m)).count() as u64;
    let engaged = p.config.ordering == Ordering::Strict && p.engaged(0);
    let waiting = count(|m| m.state == State::Waiting);
    let returned = count(|m| m.state == State::Returned);
    let blocked = count(|m| m.state == State::Blocked);
    let backing_off = count(|m| matches!(m.state, State::BackingOff(_)));
    let stats = world
        .machine
        .stats(&world.kv, p.id, DEFAULT_GROUP)
        .expect("rows can be read");
    let stats = stats.expect("the partition is here");
    let ready = if engaged {
        returned
    } else {
        returned + waiting
    };
    prop_assert_eq!(stats.ready, ready, "ready of {}", p.id);
    let limited = p.config.max_in_flight != 0 && p.config.delivery == Delivery::AtLeastOnce;
    let room = u64::from(p.config.max_in_flight).saturating_sub(p.in_flight());
    let may_go = if limited { ready.min(room) } else { ready };
    prop_assert_eq!(world.machine.ready(p.id, DEFAULT_GROUP), may_go);
    prop_assert_eq!(
        stats.blocked,
        if engaged { blocked + waiting } else { blocked },
        "blocked"
    );
    prop_assert_eq!(stats.in_flight, p.in_flight(), "in flight");
    prop_assert_eq!(
        stats.delayed,
        backing_off + p.delayed.len() as u64,
        "delayed"
    );
    let sum = stats.ready + stats.blocked + stats.in_flight + stats.delayed;
    prop_assert_eq!(
        sum,
        p.live().count() as u64,
        "each live message is in one place"
    );
    prop_assert_eq!(stats.bytes, p.bytes(), "bytes");
    prop_assert_eq!(stats.totals, p.totals, "totals");
    prop_assert_eq!(stats.outbox, p.outbox.len() as u64, "outbox");
    prop_assert_eq!(stats.ids, p.ids.len() as u64, "remembered ids");
    let first = |state: State| {
        p.messages
            .iter()
            .find(|m| m.state == state)
            .map(|m| m.enqueued_at)
    };
    let waiting = if engaged { None } else { first(State::Waiting) };
    let oldest = [first(State::Returned), waiting]
        .into_iter()
        .flatten()
        .min();
    prop_assert_eq!(stats.oldest_ready_at, oldest, "oldest ready");
    let due = p.messages.iter().filter_map(|m| match m.state {
        State::BackingOff(due) => Some(due),
        _ => None,
    });
    let due = due.chain(p.delayed.iter().map(|m| m.due)).min();
    prop_assert_eq!(stats.next_due_at.is_some(), due.is_some());
    prop_assert!(
        stats.next_due_at <= due,
        "{:?} is after {due:?}",
        stats.next_due_at
    );
    limits(p)
}

/// The twin's own promises, so that both are not wrong together.
fn limits(p: &Partition) -> Check {
    let leased = |m: &&Message| matches!(m.state, State::Leased { .. });
    match p.config.ordering {
        Ordering::None => {}
        Ordering::PerKey => {
            for m in p.messages.iter().filter(leased) {
                let same = p.messages.iter().filter(|other| other.key == m.key);
                prop_assert_eq!(
                    same.clone().filter(leased).count(),
                    1,
                    "one in flight per key"
                );
                let first = same.map(|other| other.sequence).next();
                prop_assert_eq!(first, Some(m.sequence), "the first of its key is in flight");
            }
        }
        Ordering::Strict => {
            prop_assert!(p.in_flight() <= 1, "one in flight");
            let first = p.messages.first();
            prop_assert!(p.in_flight() == 0 || first.is_some_and(|m| leased(&m)));
        }
    }
    Ok(())
}

pub fn state(p: &Partition, m: &Message) -> MessageState {
    let engaged = p.config.ordering == Ordering::Strict && p.engaged(0);
    match m.state {
        State::Waiting if engaged => MessageState::Blocked,
        State::Waiting | State::Returned => MessageState::Ready,
        State::BackingOff(_) => MessageState::Delayed,
        State::Leased { .. } => MessageState::InFlight,
        State::Blocked => MessageState::Blocked,
    }
}

fn messages(world: &World, p: &Partition) -> Check {
    let mut got = Vec::new();
    let mut from = None;
    loop {
        // In pieces of another size each time.
        let piece = world.log.len() % 5 + 1;
        let browsed = world.machine.browse(&world.kv, p.id, from, piece);
        let browsed = browsed.expect("rows can be read");
        got.extend(browsed.messages.iter().map(|m| shown(world, m)));
        for m in &browsed.messages {
            let alone = world.machine.peek_at(&world.kv, p.id, m.location);
            prop_assert_eq!(alone.expect("rows can be read"), Some(*m));
        }
        from = browsed.next;
        if from.is_none() {
            break;
        }
    }
    let mut delayed: Vec<_> = p.delayed.iter().collect();
    delayed.sort_by_key(|m| (m.due, m.sequence));
    let line = p
        .messages
        .iter()
        .map(|m| expected(p, m, state(p, m), world.now));
    let delayed = delayed
        .into_iter()
        .map(|m| expected(p, m, MessageState::Delayed, 0));
    let line: Vec<_> = line.chain(delayed).collect();
    prop_assert_eq!(got, line, "messages of {}", p.id);
    Ok(())
}

/// What a browse shows of a message, with its payload and its state by themselves.
type Shown = (MessageId, u64, Location, [Option<u64>; 3], (u64, u32));

fn shown(world: &World, m: &Peeked) -> (Shown, Bytes, MessageState) {
    let marks = [m.key, m.expires_at, m.due];
    let counts = (m.enqueued_at, m.delivery_count);
    let shown = (m.id, m.sequence, m.location, marks, counts);
    (shown, world.body(m.payload), m.state)
}

fn expected(
    p: &Partition,
    m: &Message,
    state: MessageState,
    now: u64,
) -> (Shown, Bytes, MessageState) {
    let due = match m.state {
        State::BackingOff(due) => due,
        _ => m.due,
    };
    let key = Some(m.key).filter(|key| *key != 0);
    let marks = [key, p.expires_at(m), Some(due).filter(|due| *due > now)];
    let counts = (m.enqueued_at, m.count);
    let shown = (m.id, m.sequence, p.location(m), marks, counts);
    (shown, m.body.clone(), state)
}

fn leases(world: &World, p: &Partition) -> Check {
    for session in [SessionId(1), SessionId(2)] {
        let held = world
            .machine
            .leases_of(&world.kv, p.id, session)
            .expect("rows can be read");
        let mut got: Vec<_> = held
            .iter()
            .flat_map(|r| r.messages.iter().map(|m| (r.delivery, world.seen(m))))
            .map(|(delivery, m)| (delivery, m.slot, m.sequence, m.body, m.count, m.deadline))
            .collect();
        let mut expected: Vec<_> = p
            .messages
            .iter()
            .filter_map(|m| match m.state {
                State::Leased {
                    delivery,
                    slot,
                    deadline,
                    session: Some(s),
                } if s == session => Some((
                    delivery,
                    slot,
                    m.sequence,
                    m.body.clone(),
                    m.count,
                    deadline,
                )),
                _ => None,
            })
            .collect();
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
        let leaving = |m: &OutboxMessage| Leaving {
            target,
            number: Some(m.number),
            id: m.id,
            key: m.key.unwrap_or(0),
            body: world.body(m.payload),
            enqueued_at: m.enqueued_at,
            due: m.due,
            ttl: m.ttl_ms,
            reason: m.reason,
            count: m.delivery_count,
            at: m.at,
            error: m.error.clone(),
        };
        got.extend(heads.iter().map(leaving));
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
        let at = fresh
            .iter()
            .position(|other| (other.id, other.at) == (m.id, m.at));
        let Some(at) = at else {
            return Err(TestCaseError::fail(format!(
                "{m:?} is not in the outbox: {got:?}"
            )));
        };
        m.number = fresh.remove(at).number;
    }
    p.outbox.sort_by_key(by);
    got.sort_by_key(by);
    prop_assert_eq!(&p.outbox, &got);
    Ok(())
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
    let partitions = world.twin.partitions.values();
    let live = partitions.flat_map(|p| {
        p.live()
            .map(|m| &m.body)
            .chain(p.outbox.iter().map(|m| &m.body))
    });
    let mut live: Vec<Bytes> = live.chain(&world.twin.sweeping).cloned().collect();
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

fn cover(world: &mut World) {
    let states = |p: &Partition| {
        let order = p.config.ordering;
        let of = move |m: &Message| {
            let name = format!("{:?}", state(p, m));
            let mut reached = vec![format!("state {name} {order:?}")];
            if m.count > 0 && p.config.backoff.is_some() && name == "Delayed" {
                reached.push(format!("backoff {order:?}"));
            }
            if m.ttl != 0 {
                reached.push(format!("own time to live {name} {order:?}"));
            }
            reached
        };
        p.messages.iter().flat_map(of).collect::<Vec<_>>()
    };
    let reached: Vec<String> = world.twin.partitions.values().flat_map(states).collect();
    for name in reached {
        world.count(name);
    }
}
