//! What a leader counts, against a recount of the twin's list.

use std::collections::BTreeMap;

use proptest::{prop_assert, prop_assert_eq};
use roadstead_core::shard::*;

use super::breaker::told;
use super::model::{Message, Mine, Partition, State};
use super::sticky::slots_of_leases;
use super::world::{Check, World};

pub fn stats(world: &World, p: &Partition) -> Check {
    prop_assert_eq!(world.machine.stats(&world.kv, p.id, 777), Ok(None));
    prop_assert_eq!(world.machine.ready(p.id, 777), 0);
    prop_assert_eq!(world.machine.delivery_rate(p.id, 777, world.now), None);
    let room = world.machine.room_in_flight(p.id);
    prop_assert_eq!(room, p.room_of_all(), "what all groups may lease");
    for group in p.groups.keys() {
        stats_of(world, p, *group)?;
    }
    Ok(())
}

fn stats_of(world: &World, p: &Partition, group: u32) -> Check {
    let count = |wanted: &dyn Fn(&Message, &Mine) -> bool| {
        p.open(group).filter(|(m, mine)| wanted(m, mine)).count() as u64
    };
    let engaged = p.config.ordering == Ordering::Strict && p.engaged(group, 0);
    let waiting = count(&|m, mine| mine.state == State::Waiting && !m.early);
    let early = count(&|m, mine| mine.state == State::Waiting && m.early);
    let returned = count(&|_, mine| mine.state == State::Returned);
    let blocked = count(&|_, mine| mine.state == State::Blocked);
    let backing_off = count(&|_, mine| matches!(mine.state, State::BackingOff(_)));
    let stats = world.machine.stats(&world.kv, p.id, group);
    let stats = stats.expect("rows can be read");
    let stats = stats.expect("the partition is here");
    let ready = if engaged {
        returned
    } else {
        returned + waiting
    };
    prop_assert_eq!(stats.ready, ready, "ready of {} for {}", p.id, group);
    deliveries(world, p, (group, ready))?;
    let breaker = told(&p.groups[&group].breaker);
    prop_assert_eq!(stats.breaker, breaker, "circuit breaker");
    lanes(world, p, (group, engaged))?;
    prop_assert_eq!(
        stats.blocked,
        if engaged { blocked + waiting } else { blocked },
        "blocked"
    );
    prop_assert_eq!(stats.in_flight, p.in_flight(group), "in flight");
    prop_assert_eq!(
        stats.delayed,
        backing_off + early + p.delayed.len() as u64,
        "delayed"
    );
    let sum = stats.ready + stats.blocked + stats.in_flight + stats.delayed;
    let open = p.open(group).count() + p.delayed.len();
    prop_assert_eq!(sum, open as u64, "each message is in one place");
    counts_of_all(p, &stats, group)?;
    let first = |state: State| {
        let early = |m: &Message| m.early && state == State::Waiting;
        let open = p.open(group);
        let open = open.filter(|(m, mine)| mine.state == state && !early(m));
        let mut first = BTreeMap::new();
        open.for_each(|(m, _)| *first.entry(m.stream).or_insert(m.enqueued_at) += 0);
        first.into_values().min()
    };
    let waiting = if engaged { None } else { first(State::Waiting) };
    let oldest = [first(State::Returned), waiting]
        .into_iter()
        .flatten()
        .min();
    prop_assert_eq!(stats.oldest_ready_at, oldest, "oldest ready");
    let due = p.open(group).filter_map(|(m, mine)| match mine.state {
        State::BackingOff(due) => Some(due),
        State::Waiting if m.early => Some(m.due),
        _ => None,
    });
    let due = due.chain(p.delayed.iter().map(|m| m.due)).min();
    prop_assert_eq!(stats.next_due_at.is_some(), due.is_some());
    prop_assert!(
        stats.next_due_at <= due,
        "{:?} is after {due:?}",
        stats.next_due_at
    );
    Ok(())
}

/// What is ready, lane by lane and slot by slot; where order is strict, whether the group has
/// engaged a message.
fn lanes(world: &World, p: &Partition, (group, engaged): (u32, bool)) -> Check {
    let mut lanes = [0; 10];
    for (m, mine) in p.open(group) {
        let waits = mine.state == State::Waiting && !m.early && !engaged;
        if waits || mine.state == State::Returned {
            lanes[usize::from(m.stream.0)] += 1;
        }
    }
    prop_assert_eq!(world.machine.ready_by_lane(p.id, group), Some(lanes));
    let mut slots = p.config.sticky_keys.then(|| Box::new([0; KEY_SLOTS]));
    for (m, mine) in p.open(group) {
        let waits = mine.state == State::Waiting && !m.early;
        if let Some(slots) = &mut slots
            && (waits || mine.state == State::Returned)
        {
            slots[(m.key >> 58) as usize] += 1;
        }
    }
    prop_assert_eq!(world.machine.ready_by_slot(p.id, group), slots);
    slots_of_leases(world, p, group)?;
    Ok(())
}

/// What is the same for all groups, and totals.
fn counts_of_all(p: &Partition, stats: &Stats, group: u32) -> Check {
    prop_assert_eq!(stats.messages, p.live().count() as u64, "live messages");
    prop_assert_eq!(stats.bytes, p.bytes(), "bytes");
    let retained = p.messages.iter().filter(|m| m.settled_at.is_some());
    prop_assert_eq!(stats.retained, retained.clone().count() as u64, "retained");
    let bytes: u64 = retained.map(|m| m.size).sum();
    prop_assert_eq!(stats.retained_bytes, bytes, "retained bytes");
    let totals = Totals {
        sent: p.sent,
        purged: p.purged,
        redriven: p.redriven,
        ..p.groups[&group].totals
    };
    prop_assert_eq!(stats.totals, totals, "totals");
    prop_assert_eq!(stats.outbox, p.outbox.len() as u64, "outbox");
    prop_assert_eq!(stats.ids, p.ids.len() as u64, "remembered ids");
    Ok(())
}

/// What a receive may find, of what is ready.
fn deliveries(world: &World, p: &Partition, (group, ready): (u32, u64)) -> Check {
    let may_go = |once| {
        if p.delivers(group) {
            ready.min(p.room_in_flight(group, once))
        } else {
            0
        }
    };
    prop_assert_eq!(world.machine.ready(p.id, group), may_go(false));
    prop_assert_eq!(world.machine.delivers(p.id, group), p.delivers(group));
    let at_most_once = world.machine.ready_at_most_once(p.id, group);
    prop_assert_eq!(at_most_once, may_go(true));
    let of_group = &p.groups[&group];
    let next = of_group.next_by_rate();
    let rate = next.map(|next| (of_group.room_in_rate(world.now), next));
    let known = world.machine.delivery_rate(p.id, group, world.now);
    prop_assert_eq!(known.map(|(room, _)| room), rate.map(|(room, _)| room));
    // Before it is there again, a machine may say any time that is over.
    let due = |rate: Option<(u64, u64)>| rate.map(|(_, next)| next.max(world.now));
    prop_assert_eq!(due(known), due(rate), "when the rate has room");
    Ok(())
}
