//! Whatever is tried, no quota is overshot.

use std::collections::BTreeMap;

use proptest::prelude::*;
use roadstead_core::catalog::*;

use super::quotas::set;
use super::world::*;

/// What a test may do: to one of two namespaces, of five queues.
#[derive(Debug, Clone)]
enum Try {
    Create(usize, usize, QueueSpec),
    Update(usize, usize, QueueSpec),
    Delete(usize, usize),
    Finish(u64, bool),
    Set(usize, Option<Quota>),
}

const NAMESPACES: [&str; 3] = ["shop", "bank", "*"];
const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

fn specs() -> impl Strategy<Value = QueueSpec> {
    (1..4_u32, 0..6_u64, 0..6_u64, 0..6_u32).prop_map(|(partitions, messages, bytes, rate)| {
        QueueSpec {
            partitions,
            max_messages: messages * 4,
            max_bytes: bytes << 20,
            rate_per_second: rate,
            ..QueueSpec::default()
        }
    })
}

fn quotas() -> impl Strategy<Value = Option<Quota>> {
    let quota = (0..5_u32, 0..40_u64, 0..10_u64, 0..9_u32, 0..9_u64);
    let quota = quota.prop_map(
        |(queues, messages, bytes, partitions, rate_per_second)| Quota {
            queues,
            messages,
            bytes: bytes << 20,
            partitions,
            rate_per_second,
        },
    );
    prop::option::weighted(0.8, quota)
}

fn tries() -> impl Strategy<Value = Try> {
    let (namespace, name) = (0..2_usize, 0..NAMES.len());
    prop_oneof![
        4 => (namespace.clone(), name.clone(), specs()).prop_map(|(s, n, q)| Try::Create(s, n, q)),
        3 => (namespace.clone(), name.clone(), specs()).prop_map(|(s, n, q)| Try::Update(s, n, q)),
        1 => (namespace, name).prop_map(|(s, n)| Try::Delete(s, n)),
        1 => (1..20_u64, any::<bool>()).prop_map(|(id, undo)| Try::Finish(id, undo)),
        1 => (0..3_usize, quotas()).prop_map(|(namespace, quota)| Try::Set(namespace, quota)),
    ]
}

fn op(asked: Try) -> Op {
    let queue = |namespace: usize, name: usize| QueueName::new(NAMESPACES[namespace], NAMES[name]);
    match asked {
        Try::Create(namespace, name, spec) => {
            let name = queue(namespace, name);
            Op::CreateQueue(CreateQueue { name, spec })
        }
        Try::Update(namespace, name, spec) => Op::UpdateQueue(UpdateQueue {
            name: queue(namespace, name),
            spec,
            expected_generation: 0,
        }),
        Try::Delete(namespace, name) => {
            let name = queue(namespace, name);
            Op::DeleteQueue(DeleteQueue { name })
        }
        Try::Finish(id, undo) => finish(id, undo),
        Try::Set(namespace, quota) => set(NAMESPACES[namespace], quota),
    }
}

/// What is asked for by the queues of a namespace, counted anew: queues, messages, bytes,
/// partitions and rate; without limit is more than anything.
fn asked(machine: &CatalogMachine, namespace: &str) -> [u128; 5] {
    let some = |limit: u64| {
        if limit == 0 {
            1_u128 << 100
        } else {
            u128::from(limit)
        }
    };
    let mut sum = [0; 5];
    for queue in machine
        .queues()
        .filter(|queue| queue.name.namespace == namespace)
    {
        let spec = &queue.spec;
        let asked = [
            1,
            some(spec.max_messages),
            some(spec.max_bytes),
            u128::from(spec.partitions),
            some(u64::from(spec.rate_per_second)),
        ];
        sum.iter_mut()
            .zip(asked)
            .for_each(|(sum, asked)| *sum += asked);
    }
    sum
}

fn limits(quota: &Quota) -> [u128; 5] {
    [
        u64::from(quota.queues),
        quota.messages,
        quota.bytes,
        u64::from(quota.partitions),
        quota.rate_per_second,
    ]
    .map(|limit| {
        if limit == 0 {
            u128::MAX
        } else {
            u128::from(limit)
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Whatever is tried: what queues ask for grows to the quota that holds, and no further. (One
    /// that is lowered takes nothing away, so it may have been more before.)
    #[test]
    fn no_quota_is_ever_overshot(tried in prop::collection::vec(tries(), 1..60)) {
        let mut world = World::founded();
        let mut held: BTreeMap<&str, Quota> = BTreeMap::new();
        for tried in tried {
            let before = ["shop", "bank"].map(|namespace| asked(&world.machine, namespace));
            if let Try::Set(namespace, quota) = &tried {
                match quota {
                    Some(quota) => drop(held.insert(NAMESPACES[*namespace], *quota)),
                    None => drop(held.remove(NAMESPACES[*namespace])),
                }
            }
            let reply = world.apply(op(tried.clone()));
            for (namespace, before) in ["shop", "bank"].into_iter().zip(before) {
                let now = asked(&world.machine, namespace);
                let Some(quota) = held.get(namespace).or_else(|| held.get("*")) else {
                    let refused = matches!(&reply, Reply::Refused(Refusal::QuotaExceeded(it))
                        if it.namespace == namespace);
                    prop_assert!(!refused, "there is no quota: {reply:?}");
                    continue;
                };
                for (n, limit) in limits(quota).into_iter().enumerate() {
                    prop_assert!(now[n] <= before[n].max(limit), "{tried:?} {namespace} {n}");
                }
            }
        }
    }
}
