//! The shard machine against a deliberately dumb twin, on random histories over all ops and
//! settings together. `ROADSTEAD_CASES` sets how many histories, `ROADSTEAD_SEED` which.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "settings come from outside"
)]

#[path = "world/carried.rs"]
mod carried;
mod twin {
    pub mod breaker;
    pub mod build;
    pub mod by_hand;
    pub mod compare;
    pub mod complete;
    pub mod config;
    pub mod counts;
    pub mod cover;
    pub mod cover_breaker;
    pub mod cover_lanes;
    pub mod cover_limits;
    pub mod cover_receive;
    pub mod dedup;
    pub mod deliver;
    pub mod due;
    pub mod fail;
    pub mod features;
    pub mod groups;
    pub mod grown;
    pub mod history;
    pub mod lanes;
    pub mod model;
    pub mod ops;
    pub mod pick;
    pub mod rate;
    pub mod rows;
    pub mod send;
    pub mod sticky;
    pub mod table;
    pub mod walk;
    pub mod wanted;
    pub mod world;
}

use std::cell::RefCell;
use std::ops::ControlFlow;

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use roadstead_core::kv::{Kv, MemoryKv};
use roadstead_core::shard::ShardMachine;
use twin::table::Table;
use twin::wanted::wanted;
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
    let table = RefCell::new(Table::new());
    let result = runner(cases, seed).run(&twin::history::history(), |(configs, entries)| {
        let mut world = World::new();
        world.run(&configs, &entries)?;
        replay(&world)?;
        table.borrow_mut().add(&world.reached);
        for (name, count) in world.coverage {
            *coverage.borrow_mut().entry(name).or_default() += count;
        }
        Ok(())
    });
    let failure = result.err().map(|error| error.to_string());
    assert!(failure.is_none(), "{}", failure.unwrap_or_default());
    let wrong = table.into_inner().check();
    assert!(wrong.is_empty(), "not as they should be: {wrong:?}");
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

/// Prints what the histories reached; nothing on the list may be missing.
fn check(coverage: &Coverage) {
    for (name, count) in coverage {
        println!("{count:>9} {name}");
    }
    let wanted = wanted();
    let missing: Vec<_> = wanted
        .iter()
        .filter(|name| !coverage.contains_key(*name))
        .collect();
    assert!(missing.is_empty(), "no history reached {missing:?}");
}
