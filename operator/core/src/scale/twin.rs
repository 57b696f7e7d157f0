//! A deliberately dumb second implementation, and random histories through both.
use proptest::prelude::*;

use super::{Memory, Millis, Policy, Snapshot, SourceLoad, decide};

/// Everything that was ever heard, looked through anew for every decision.
#[derive(Default)]
struct Twin {
    heard: Vec<(Millis, u64, bool)>,
}

impl Twin {
    fn decide(&mut self, lag: Option<u64>, current: u32, policy: &Policy, now: Millis) -> u32 {
        let Some(lag) = lag else {
            self.heard.push((now, 0, false));
            return current;
        };
        self.heard.push((now, lag, true));
        let size = |lag: u64| {
            let mut replicas = 0;
            while u64::from(replicas) * policy.messages_per_replica < lag && replicas < policy.max {
                replicas += 1;
            }
            replicas.max(policy.min)
        };
        let wanted = size(lag);
        if wanted > current {
            return wanted;
        }
        let recent = self.heard.iter().enumerate().filter(|(i, (at, _, known))| {
            *known && (now - at < policy.stabilization || *i == self.heard.len() - 1)
        });
        let highest = recent
            .map(|(_, (_, lag, _))| size(*lag))
            .max()
            .unwrap_or(wanted);
        if wanted > 0 {
            return highest.min(current).max(wanted);
        }
        let mut idle_since = now;
        for (at, lag, known) in self.heard.iter().rev() {
            if !known || *lag > 0 {
                break;
            }
            idle_since = *at;
        }
        if current == 0 || now - idle_since >= policy.to_zero_after {
            return 0;
        }
        highest.min(current).max(1)
    }
}

prop_compose! {
    fn policies()(per in 1..50_u64, min in 0..4_u32, more in 1..20_u32,
                  window in 0..40_u64, zero in 0..40_u64) -> Policy {
        Policy {
            messages_per_replica: per,
            min,
            max: min + more,
            stabilization: window,
            to_zero_after: zero,
            stale_after: 10,
        }
    }
}

fn histories() -> impl Strategy<Value = Vec<(u64, Option<u64>)>> {
    let lag = prop_oneof![
        3 => Just(Some(0)),
        5 => (0..400_u64).prop_map(Some),
        1 => Just(None),
    ];
    prop::collection::vec((0..15_u64, lag), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn agrees_with_its_twin(policy in policies(), history in histories(), start in 0..10_u32) {
        let (mut twin, mut memory) = (Twin::default(), Memory::default());
        let (mut now, mut current) = (1_000, start);
        for (pause, lag) in history {
            now += pause;
            let source = SourceLoad {
                lag: lag.unwrap_or(0),
                in_flight: 0,
                heard: lag.map(|_| now),
            };
            let snapshot = Snapshot { sources: vec![source], current };
            let decision = decide(&snapshot, &memory, &policy, now);
            let expected = twin.decide(lag, current, &policy, now);
            prop_assert_eq!(decision.replicas, expected, "at {} with {:?}", now, lag);
            if lag.is_some() {
                prop_assert!(decision.replicas <= policy.max.max(current));
                prop_assert!(decision.replicas >= policy.min.min(current));
            }
            (memory, current) = (decision.memory, decision.replicas);
        }
    }

    #[test]
    fn a_timer_is_never_needed_earlier(policy in policies(), history in histories()) {
        let (mut memory, mut now, mut current) = (Memory::default(), 1_000, 3);
        for (pause, lag) in history {
            now += pause;
            let at = |now| Snapshot {
                sources: vec![SourceLoad { lag: lag.unwrap_or(0), in_flight: 0, heard: Some(now) }],
                current,
            };
            let decision = decide(&at(now), &memory, &policy, now);
            let until = decision.next_check.unwrap_or(now + 100);
            let same = |time| {
                let snapshot = Snapshot { current: decision.replicas, ..at(time) };
                decide(&snapshot, &decision.memory, &policy, time).replicas == decision.replicas
            };
            if until > now {
                prop_assert!(same(until - 1), "changed before {until} without a timer");
            }
            (memory, current) = (decision.memory, decision.replicas);
        }
    }
}
