//! Looks into queues, moves dead letters back and deletes single messages.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::io::Read;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{BINARY, Dev, code, signal, stderr};
use serde_json::Value;

/// A cluster whose queue `work` sends every message to `dead` that fails once.
fn start() -> Dev {
    let dev = Dev::start();
    dev.stdout("queue create dead");
    dev.stdout("queue create work --dead-letter dead --max-deliveries 1");
    dev
}

/// Has the next messages of `work` fail, and waits until `dead` holds so many.
fn fail(dev: &Dev, count: u64, dead: u64) {
    dev.run(&format!("receive work -c {count} --exec false"));
    let start = Instant::now();
    while ready(dev, "dead") != dead {
        assert!(start.elapsed() < Duration::from_secs(20));
        sleep(Duration::from_millis(50));
    }
}

fn ready(dev: &Dev, queue: &str) -> u64 {
    let stats = dev.json(&format!("queue get {queue}"));
    stats["stats"]["ready"].as_u64().unwrap()
}

fn until_ready(dev: &Dev, queue: &str, count: u64) {
    let start = Instant::now();
    while ready(dev, queue) != count {
        assert!(start.elapsed() < Duration::from_secs(20));
        sleep(Duration::from_millis(50));
    }
}

fn bodies(messages: &Value) -> Vec<&str> {
    let messages = messages.as_array().unwrap().iter();
    messages.map(|m| m["body"].as_str().unwrap()).collect()
}

#[test]
fn dead_letters_are_counted_looked_at_and_moved_back() {
    let dev = start();
    dev.stdout("send work web --attribute source=web --key k");
    dev.stdout("send work app --attribute source=app");
    fail(&dev, 2, 2);
    let listed = dev.json("dlq ls dead");
    assert_eq!(listed["messages"], 2);
    let group = &listed["groups"][0];
    assert_eq!(group["reason"], "MAX_DELIVERIES");
    assert_eq!(group["sourceQueue"], "default/work");
    assert_eq!(group["messages"], 2);
    let table = dev.stdout("dlq ls dead");
    assert!(table.contains("MAX_DELIVERIES") && table.contains("default/work"));

    let web = dev.json("queue peek dead --attribute source=web");
    assert_eq!(bodies(&web), ["web"]);
    assert_eq!(web[0]["orderingKey"], "k");
    assert!(web[0]["expiresAt"].is_string(), "{web}");
    for (filter, found) in [
        ("--attribute source", 2),
        ("--attribute source=x", 0),
        ("--reason max-deliveries", 2),
        ("--reason rejected --reason expired", 0),
        ("--source work", 2),
        ("--source other", 0),
        ("--key k", 1),
        ("--state ready", 2),
        ("--state in-flight", 0),
        ("--newer-than 1h", 2),
        ("--older-than 1h", 0),
        ("--partition 0", 2),
    ] {
        let peeked = dev.json(&format!("queue peek dead {filter}"));
        assert_eq!(peeked.as_array().unwrap().len(), found, "{filter}");
    }
    let all = dev.stdout("queue peek dead --all -o json");
    assert_eq!(all.lines().count(), 2);
    for line in all.lines() {
        assert!(serde_json::from_str::<Value>(line).unwrap()["location"].is_string());
    }

    let dry = dev.json("dlq redrive dead --attribute source=web --dry-run");
    assert_eq!((&dry["moved"], &dry["dryRun"]), (&1.into(), &true.into()));
    assert_eq!(ready(&dev, "dead"), 2);
    let moved = dev.json("dlq redrive dead --attribute source=web --newer-than 1h");
    assert_eq!(moved["moved"], 1);
    until_ready(&dev, "work", 1);
    let back = dev.json("queue peek work");
    assert_eq!(
        (bodies(&back), &back[0]["id"]),
        (vec!["web"], &web[0]["id"])
    );
    assert!(back[0].get("deadLetter").is_none());
    assert_eq!(dev.stdout("dlq redrive dead --to orders"), "1 moved\n");
    until_ready(&dev, "orders", 1);
    assert_eq!(dev.json("queue get dead")["stats"]["redrivenTotal"], 2);
}

#[test]
fn one_message_is_moved_with_another_body_or_deleted() {
    let dev = start();
    dev.stdout("send work broken --attribute old=1");
    fail(&dev, 1, 1);
    let location = dev.json("queue peek dead")[0]["location"].clone();
    let location = location.as_str().unwrap();
    let line = format!("dlq redrive dead --message {location} --body - --set-attribute new=2");
    let moved = dev.run_with(&line, "mended");
    assert_eq!(code(&moved), Some(0), "{moved:?}");
    until_ready(&dev, "work", 1);
    let back = dev.json("queue peek work")[0].clone();
    assert_eq!(back["body"], "mended");
    assert_eq!(back["attributes"], serde_json::json!({ "new": "2" }));
    let again = dev.run_with(&line, "mended");
    assert_eq!(code(&again), Some(3), "{again:?}");

    // By its id as well, which is looked for through the queue.
    let id = back["id"].as_str().unwrap();
    dev.stdout("send work other");
    dev.stdout(&format!("queue delete-message work {id}"));
    let gone = dev.run(&format!("queue delete-message work {id}"));
    assert_eq!(code(&gone), Some(3), "{gone:?}");
    let left = dev.json("queue peek work");
    assert_eq!(bodies(&left), ["other"]);
    let location = left[0]["location"].as_str().unwrap();
    let nonsense = dev.run("queue delete-message work nonsense");
    assert_eq!(code(&nonsense), Some(2), "{nonsense:?}");
    let mut holder = Command::new(BINARY)
        .args(["receive", "work", "--exec", "sleep 30"])
        .env("ROADSTEAD_ENDPOINT", &dev.endpoint)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while dev.json("queue get work")["stats"]["inFlight"] != 1 {
        assert!(start.elapsed() < Duration::from_secs(20));
        sleep(Duration::from_millis(50));
    }
    let leased = dev.run(&format!("queue delete-message work {location}"));
    assert_eq!(code(&leased), Some(6), "{leased:?}");
    assert!(stderr(&leased).contains("--force"), "{leased:?}");
    dev.stdout(&format!("queue delete-message work {location} --force"));
    assert_eq!(dev.json("queue get work")["stats"]["inFlight"], 0);
    signal(&holder, "TERM");
    signal(&holder, "TERM");
    holder.wait().unwrap();
}

#[test]
fn what_cannot_go_back_stays_and_is_told() {
    let dev = start();
    dev.stdout("send dead fresh");
    let refused = dev.run("dlq redrive dead");
    assert_eq!(code(&refused), Some(6), "{refused:?}");
    let why = stderr(&refused);
    assert!(why.contains("name the queue"), "{why}");
    assert_eq!(refused.stdout, b"0 moved, 1 refused\n");
    for (line, expected) in [
        ("dlq redrive dead --to dead", 2),
        ("dlq redrive dead --to other/work", 2),
        ("dlq redrive dead --to nowhere", 3),
        ("dlq redrive nowhere", 3),
        ("dlq redrive dead --rate 0", 2),
        ("dlq redrive dead --body x", 2),
        ("dlq redrive dead --message 1.0.0 --reason expired", 2),
        ("dlq redrive dead --message 1.0.0", 3),
        ("queue peek dead --partition 9", 2),
        ("queue peek dead --state lost", 2),
    ] {
        let output = dev.run(line);
        assert_eq!(code(&output), Some(expected), "{line}: {output:?}");
    }
    assert_eq!(ready(&dev, "dead"), 1);
}

#[test]
fn a_redrive_keeps_to_its_rate_and_ends_by_a_signal() {
    let dev = start();
    for number in 0..20 {
        dev.stdout(&format!("send work {number}"));
    }
    fail(&dev, 20, 20);
    let mut slow = Command::new(BINARY)
        .args(["dlq", "redrive", "dead", "--rate", "2"])
        .env("ROADSTEAD_ENDPOINT", &dev.endpoint)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while ready(&dev, "dead") > 17 {
        assert!(start.elapsed() < Duration::from_secs(20));
        sleep(Duration::from_millis(50));
    }
    signal(&slow, "INT");
    let mut said = String::new();
    slow.stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert_eq!(slow.wait().unwrap().code(), Some(1), "{said}");
    let moved = said.split("interrupted: ").nth(1).unwrap();
    let moved: u64 = moved.split(' ').next().unwrap().parse().unwrap();
    assert!((3..20).contains(&moved), "{said}");
    assert_eq!(ready(&dev, "dead"), 20 - moved, "{said}");
    // Started again it goes on with the rest.
    let rest = dev.json("dlq redrive dead");
    assert_eq!(rest["moved"], 20 - moved);
    until_ready(&dev, "work", 20);
}
