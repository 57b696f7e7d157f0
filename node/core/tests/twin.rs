//! The shard machine against a deliberately dumb twin, on random histories over all ops and
//! settings together. `ROADSTEAD_CASES` sets how many histories, `ROADSTEAD_SEED` which.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "settings come from outside"
)]

mod twin {
    pub mod build;
    pub mod by_hand;
    pub mod compare;
    pub mod complete;
    pub mod config;
    pub mod counts;
    pub mod cover;
    pub mod cover_lanes;
    pub mod cover_receive;
    pub mod dedup;
    pub mod deliver;
    pub mod due;
    pub mod fail;
    pub mod groups;
    pub mod history;
    pub mod lanes;
    pub mod model;
    pub mod ops;
    pub mod pick;
    pub mod rows;
    pub mod send;
    pub mod walk;
    pub mod world;
}

use std::cell::RefCell;
use std::ops::ControlFlow;

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use roadstead_core::kv::{Kv, MemoryKv};
use roadstead_core::shard::ShardMachine;
use twin::world::{Coverage, World, digests_of};

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

fn runner(cases: u64, seed: u64) -> TestRunner {
    println!("{cases} histories from seed {seed}");
    let bytes: Vec<u8> = seed.to_be_bytes().repeat(4);
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let cases = u32::try_from(cases).unwrap_or(u32::MAX);
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..Config::default()
    };
    TestRunner::new_with_rng(config, rng)
}

#[test]
fn machine_and_twin_agree() {
    agree(setting("ROADSTEAD_SEED", 1));
}

/// Half of the histories, so that two cores share them.
#[test]
fn machine_and_twin_agree_on_other_histories() {
    agree(setting("ROADSTEAD_SEED", 1) + 1_000_000);
}

fn agree(seed: u64) {
    let cases = setting("ROADSTEAD_CASES", 100_000).div_ceil(2);
    let coverage = RefCell::new(Coverage::new());
    let result = runner(cases, seed).run(&twin::history::history(), |(configs, entries)| {
        let mut world = World::new();
        world.run(&configs, &entries)?;
        replay(&world)?;
        for (name, count) in world.coverage {
            *coverage.borrow_mut().entry(name).or_default() += count;
        }
        Ok(())
    });
    let failure = result.err().map(|error| error.to_string());
    assert!(failure.is_none(), "{}", failure.unwrap_or_default());
    check(&coverage.into_inner());
}

/// The same log on a fresh machine, and on one that is opened anew half-way, gives the same rows.
fn replay(world: &World) -> Result<(), TestCaseError> {
    let half = world.log.len() / 2;
    for reopen in [usize::MAX, half] {
        let mut kv = MemoryKv::new();
        let mut machine = ShardMachine::open(&kv).expect("no rows are an empty shard");
        let mut digests = Vec::new();
        for (n, entry) in world.log.iter().enumerate() {
            if n == reopen {
                machine = ShardMachine::open(&kv).expect("its own rows can be read");
            }
            let index = n as u64 + 1;
            let applied = machine.apply(&mut kv, index, entry);
            digests.extend(digests_of(index, &applied.expect("it was applied before")));
        }
        proptest::prop_assert_eq!(&digests, &world.digests);
        if kv != world.kv {
            return Err(TestCaseError::fail(format!(
                "rows differ: {}",
                differing(&kv, &world.kv)
            )));
        }
        let digests = (ShardMachine::digest(&kv), ShardMachine::digest(&world.kv));
        proptest::prop_assert_eq!(digests.0, digests.1);
    }
    Ok(())
}

fn differing(a: &MemoryKv, b: &MemoryKv) -> String {
    let mut found = Vec::new();
    let end = [0xff; 8];
    for (one, other) in [(a, b), (b, a)] {
        let all = one.scan(&[], &end, &mut |key, value| {
            let same = other.get(key).is_ok_and(|v| v.as_ref() == Some(value));
            if !same {
                found.push(format!("{key:02x?} = {value:02x?}"));
            }
            ControlFlow::Continue(())
        });
        all.expect("rows in memory can be read");
        found.push("--".to_owned());
    }
    found.join("\n ")
}

/// Of messages that are sent again: by what they are known, and what had become of the first one.
fn duplicates(order: &str) -> Vec<String> {
    let mut wanted = vec![format!("duplicate {order} of a producer")];
    for by in ["Id", "Content"] {
        for state in ["Ready", "InFlight", "Delayed", "DeadLettered", "Gone"] {
            wanted.push(format!("duplicate {state} {order} by {by}"));
        }
        for scope in ["Queue", "Key"] {
            wanted.push(format!("duplicate {order} by {by} in {scope}"));
        }
    }
    wanted
}

/// Of lanes and tenants, where there are some.
fn lanes() -> Vec<String> {
    let mut wanted = vec!["lane Blocked PerKey".to_owned()];
    for order in ["None", "PerKey"] {
        for state in ["Ready", "InFlight", "Delayed"] {
            let name = format!("{state} {order}");
            for more in ["", " of another group", " replayed"] {
                wanted.push(format!("lane {name}{more}"));
            }
            wanted.push(format!("tenant {name}"));
        }
        for what in [
            "retained in a lane",
            "several lanes in one delivery",
            "several lanes for several groups",
            "several lanes at most once",
            "an old message before a higher lane",
            "tenants take turns",
        ] {
            wanted.push(format!("{what} {order}"));
        }
    }
    for order in ["PerKey", "Strict"] {
        wanted.push(format!("another lane than its own {order}"));
    }
    for why in ["MaxDeliveries", "Rejected", "Expired", "Overflow"] {
        wanted.push(format!("leaves with a priority DeadLettered({why})"));
    }
    for why in ["Sent", "Redriven"] {
        wanted.push(format!("leaves with a priority {why}"));
    }
    wanted
}

/// Of receives at most once, where the queue leases what it delivers.
fn at_most_once() -> Vec<String> {
    let mut wanted = Vec::new();
    for order in ["None", "PerKey", "Strict"] {
        for what in [
            "of a queue that leases",
            "of another group",
            "of a redelivered one",
            "retained",
            "after a seek",
        ] {
            wanted.push(format!("at most once {what} {order}"));
        }
    }
    for order in ["None", "PerKey"] {
        for what in ["beside leases", "beyond the limit in flight"] {
            wanted.push(format!("at most once {what} {order}"));
        }
    }
    wanted
}

/// What some history must reach, whatever the order.
const ONCE: &[&str] = &[
    "state Blocked PerKey",
    "state Blocked Strict",
    "sent Accepted",
    "sent Duplicate",
    "sent MessageLimit",
    "sent ByteLimit",
    "sent TooLarge",
    "sent KeyRequired",
    "sent TooLate",
    "sent OutOfRange",
    "sent Overtaken",
    "sent NoDeduplication",
    "sent IdLimit",
    "sent BatchRefused",
    "atomic batch accepted",
    "duplicate Blocked PerKey by Id",
    "duplicate Blocked Strict by Id",
    "settled Done",
    "settled Stale",
    "Complete None",
    "Complete PerKey",
    "Complete Strict",
    "completed with outputs",
    "completed by another group",
    "refused StaleReceipt",
    "refused TooLate",
    "accepted one that is due later",
    "accept Gap",
    "accept MessageLimit",
    "accept ByteLimit",
    "event LeaseExpired",
    "event SessionReleased",
    "event Nacked",
    "event DeadLettered MaxDeliveries",
    "event DeadLettered Rejected",
    "event DeadLettered Expired",
    "event DeadLettered Overflow",
    "event Redriven",
    "redriven Done",
    "redriven Done with edit",
    "redriven Done of a delayed one",
    "redriven Leased",
    "redriven Gone",
    "redriven Gone of a delayed one",
    "redriven Done: of several groups",
    "redriven Done: replayed",
    "redriven Leased: of several groups",
    "redriven Gone: retained",
    "refused SameQueue",
    "deleted Done",
    "deleted Done of a delayed one",
    "deleted Done with a lease",
    "deleted Done with a lease of another group",
    "deleted Done: of several groups",
    "deleted Done: replayed",
    "deleted Done: retained",
    "deleted Leased: of several groups",
    "deleted Leased",
    "deleted Leased with a lease",
    "deleted Gone",
    "walk meets one that fell due again",
    "walk while messages come and go",
    "walk of another group while messages come and go",
    "event Dropped",
    "event Dropped Overflow",
    "event Expired",
    "refused NoGroup",
    "refused BadGroups",
    "refused BadWeights",
    "accepted with a priority",
    "accepted with a tenant",
    "delayed with a priority",
    "a stream that was empty comes again",
    "messages to replay",
    "state Blocked PerKey of another group",
    "replayed Blocked PerKey",
    "refused NoPartition",
    "refused Deleting",
    "refused NotEmpty",
    "refused OrderingFixed",
    "refused OutOfRange",
    "digest to the end",
    "digest of a piece",
];

/// Prints what the histories reached; nothing on the list may be missing.
fn check(coverage: &Coverage) {
    for (name, count) in coverage {
        println!("{count:>9} {name}");
    }
    let mut wanted = Vec::new();
    for order in ["None", "PerKey", "Strict"] {
        for op in [
            "Send",
            "Receive",
            "Settle",
            "Purge",
            "ReleaseSession",
            "Accept",
            "Redrive",
            "DeleteMessage",
            "Seek",
        ] {
            wanted.push(format!("{op} {order}"));
        }
        for state in ["Ready", "InFlight", "Delayed"] {
            wanted.push(format!("state {state} {order}"));
            wanted.push(format!("own time to live {state} {order}"));
            wanted.push(format!("state {state} {order} of another group"));
            wanted.push(format!("replayed {state} {order}"));
        }
        wanted.push(format!("retained {order}"));
        wanted.push(format!("dead letter of one of several groups {order}"));
        wanted.push(format!("backoff {order}"));
        wanted.push(format!("displaced for several groups {order}"));
        wanted.push(format!("displaced where messages are retained {order}"));
        wanted.extend(duplicates(order));
    }
    wanted.extend(lanes());
    wanted.extend(at_most_once());
    wanted.extend(ONCE.iter().map(|name| (*name).to_owned()));
    let missing: Vec<_> = wanted
        .iter()
        .filter(|name| !coverage.contains_key(*name))
        .collect();
    assert!(missing.is_empty(), "no history reached {missing:?}");
}
