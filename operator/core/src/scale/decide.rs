//! The decision.
use roadstead_crds::LimitedBy;

use super::{Decision, Memory, Millis, Policy, Snapshot};

/// Decides how many replicas there shall be at `now`.
///
/// Up at once; down to the highest size wanted within the stabilization window; to zero when there
/// was nothing to do for long enough. What is not known never counts as nothing: then all stays.
pub fn decide(snapshot: &Snapshot, memory: &Memory, policy: &Policy, now: Millis) -> Decision {
    if let Some(reason) = stale(snapshot, policy, now) {
        return hold(snapshot, memory, reason);
    }
    let lag: u64 = snapshot
        .sources
        .iter()
        .fold(0, |sum, s| sum.saturating_add(s.lag));
    let raw = u32::try_from(lag.div_ceil(policy.messages_per_replica)).unwrap_or(u32::MAX);
    let wanted = raw.clamp(policy.min, policy.max);
    let memory = remember(memory, policy, (now, wanted), lag > 0);
    let (replicas, limited_by) = if wanted > snapshot.current {
        (wanted, limit(raw, wanted))
    } else if wanted == 0 {
        to_zero(snapshot.current, &memory, policy, now)
    } else {
        let kept = highest(&memory).clamp(wanted, snapshot.current.max(wanted));
        let limited = if kept > wanted {
            LimitedBy::Stabilization
        } else {
            limit(raw, wanted)
        };
        (kept, limited)
    };
    let next_check = next_check(replicas, wanted, &memory, policy);
    let reason = format!(
        "lag {lag} / {} per replica = {raw}, within {}..{}: {wanted}; now {}",
        policy.messages_per_replica, policy.min, policy.max, snapshot.current
    );
    Decision {
        replicas,
        limited_by,
        reason,
        next_check,
        memory,
    }
}

fn stale(snapshot: &Snapshot, policy: &Policy, now: Millis) -> Option<String> {
    if snapshot.sources.is_empty() {
        return Some("no source is known yet".to_owned());
    }
    let oldest = snapshot.sources.iter().map(|source| source.heard).min()?;
    match oldest {
        None => Some("a source has not been heard of".to_owned()),
        Some(heard) if now.saturating_sub(heard) > policy.stale_after => Some(format!(
            "the backlog was last known {} ms ago",
            now.saturating_sub(heard)
        )),
        Some(_) => None,
    }
}

/// All stays as it is. How long there was nothing to do is unknown from now on.
fn hold(snapshot: &Snapshot, memory: &Memory, reason: String) -> Decision {
    Decision {
        replicas: snapshot.current,
        limited_by: LimitedBy::StaleData,
        reason,
        next_check: None,
        memory: Memory {
            wanted: memory.wanted.clone(),
            idle_since: None,
        },
    }
}

fn remember(memory: &Memory, policy: &Policy, entry: (Millis, u32), busy: bool) -> Memory {
    let (now, wanted) = entry;
    let mut window = memory.wanted.clone();
    while window.back().is_some_and(|&(_, size)| size <= wanted) {
        window.pop_back();
    }
    window.push_back(entry);
    while window
        .front()
        .is_some_and(|&(at, _)| now.saturating_sub(at) >= policy.stabilization)
        && window.len() > 1
    {
        window.pop_front();
    }
    let idle_since = if busy {
        None
    } else {
        memory.idle_since.or(Some(now))
    };
    Memory {
        wanted: window,
        idle_since,
    }
}

fn highest(memory: &Memory) -> u32 {
    memory.wanted.front().map_or(0, |&(_, size)| size)
}

fn limit(raw: u32, wanted: u32) -> LimitedBy {
    match raw.cmp(&wanted) {
        std::cmp::Ordering::Less => LimitedBy::MinReplicas,
        std::cmp::Ordering::Greater => LimitedBy::MaxReplicas,
        std::cmp::Ordering::Equal => LimitedBy::None,
    }
}

/// Nothing to do: the last replica waits for `to_zero_after`, the others for the window.
fn to_zero(current: u32, memory: &Memory, policy: &Policy, now: Millis) -> (u32, LimitedBy) {
    let idle = memory
        .idle_since
        .map_or(0, |since| now.saturating_sub(since));
    if current == 0 || idle >= policy.to_zero_after {
        return (0, LimitedBy::None);
    }
    let kept = highest(memory).clamp(1, current);
    let limited = if kept > 1 {
        LimitedBy::Stabilization
    } else {
        LimitedBy::ToZeroAfter
    };
    (kept, limited)
}

/// When a timer alone can change the decision.
fn next_check(replicas: u32, wanted: u32, memory: &Memory, policy: &Policy) -> Option<Millis> {
    if replicas == wanted {
        return None;
    }
    let window = memory
        .wanted
        .front()
        .map(|&(at, _)| at.saturating_add(policy.stabilization));
    let zero = memory
        .idle_since
        .map(|since| since.saturating_add(policy.to_zero_after));
    match (wanted, window, zero) {
        (0, Some(window), Some(zero)) if memory.wanted.len() > 1 => Some(window.min(zero)),
        (0, _, zero) => zero,
        (_, window, _) => window,
    }
}

#[cfg(test)]
mod tests {
    use super::super::SourceLoad;
    use super::*;

    const POLICY: Policy = Policy {
        messages_per_replica: 100,
        min: 0,
        max: 10,
        stabilization: 120_000,
        to_zero_after: 60_000,
        stale_after: 10_000,
    };

    fn seen(lag: u64, current: u32, now: Millis) -> Snapshot {
        let source = SourceLoad {
            lag,
            in_flight: 0,
            heard: Some(now),
        };
        Snapshot {
            sources: vec![source],
            current,
        }
    }

    /// Replicas after each (time in s, lag) of a history, starting from zero replicas.
    fn play(policy: &Policy, history: &[(u64, u64)]) -> Vec<(u32, LimitedBy)> {
        let (mut memory, mut current) = (Memory::default(), 0);
        let mut sizes = Vec::new();
        for &(second, lag) in history {
            let now = second * 1_000;
            let decision = decide(&seen(lag, current, now), &memory, policy, now);
            (memory, current) = (decision.memory, decision.replicas);
            sizes.push((current, decision.limited_by));
        }
        sizes
    }

    #[test]
    fn from_zero_in_one_step_and_back() {
        use LimitedBy::{MaxReplicas, None, Stabilization, ToZeroAfter};
        let history = [
            (0, 0),
            (1, 450),
            (2, 5_000),
            (3, 90),
            (121, 90),
            (122, 90),
            (123, 0),
        ];
        assert_eq!(
            play(&POLICY, &history),
            [
                (0, None),
                (5, None),
                (10, MaxReplicas),
                (10, Stabilization),
                (10, Stabilization),
                (1, None),
                (1, ToZeroAfter)
            ]
        );
        let idle = [(0, 100), (1, 0), (60, 0), (61, 0)];
        let sizes: Vec<_> = play(&POLICY, &idle)
            .into_iter()
            .map(|(size, _)| size)
            .collect();
        assert_eq!(sizes, [1, 1, 1, 0]);
    }

    #[test]
    fn one_message_wakes_one_replica() {
        assert_eq!(play(&POLICY, &[(0, 1)]), [(1, LimitedBy::None)]);
    }

    #[test]
    fn never_below_the_minimum() {
        let policy = Policy {
            min: 2,
            stabilization: 0,
            ..POLICY
        };
        let sizes = play(&policy, &[(0, 0), (1, 900), (2, 0), (500, 0)]);
        assert_eq!(sizes[2..], [(2, LimitedBy::MinReplicas); 2]);
        assert_eq!(sizes[1].0, 9);
    }

    #[test]
    fn what_is_unknown_is_not_nothing() {
        let mut memory = Memory {
            idle_since: Some(0),
            ..Memory::default()
        };
        let mut snapshot = seen(0, 7, 1_000_000);
        for heard in [None, Some(989_999)] {
            snapshot.sources[0].heard = heard;
            let decision = decide(&snapshot, &memory, &POLICY, 1_000_000);
            assert_eq!(
                (decision.replicas, decision.limited_by),
                (7, LimitedBy::StaleData)
            );
            memory = decision.memory;
            assert_eq!(
                memory.idle_since, None,
                "what happened meanwhile is unknown"
            );
        }
        snapshot.sources[0].heard = Some(990_000);
        let decision = decide(&snapshot, &memory, &POLICY, 1_000_000);
        assert_eq!(decision.replicas, 1, "known again: idle counts from now on");
        let none = decide(
            &Snapshot {
                sources: vec![],
                current: 3,
            },
            &memory,
            &POLICY,
            0,
        );
        assert_eq!(none.replicas, 3);
    }

    #[test]
    fn one_silent_source_of_two_holds() {
        let mut snapshot = seen(0, 3, 50_000);
        snapshot.sources.push(SourceLoad {
            lag: 9_999,
            in_flight: 0,
            heard: None,
        });
        assert_eq!(
            decide(&snapshot, &Memory::default(), &POLICY, 50_000).replicas,
            3
        );
    }

    #[test]
    fn a_timer_brings_it_down() {
        let memory = Memory {
            wanted: [(1_000, 8)].into(),
            idle_since: None,
        };
        let decision = decide(&seen(100, 8, 5_000), &memory, &POLICY, 5_000);
        assert_eq!((decision.replicas, decision.next_check), (8, Some(121_000)));
        let later = decide(&seen(100, 8, 121_000), &decision.memory, &POLICY, 121_000);
        assert_eq!((later.replicas, later.next_check), (1, None));
    }
}
