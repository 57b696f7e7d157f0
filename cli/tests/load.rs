//! `roadstead load` and `roadstead bench`, against a cluster of their own.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{BINARY, Dev, code, signal, stderr};

#[test]
fn load_with_a_clean_ledger() {
    let dev = Dev::start();
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (produced, consumed) = (path("produced"), path("consumed"));
    dev.stdout(&format!(
        "load produce --queue orders --messages 500 --ledger {produced}"
    ));
    dev.stdout(&format!(
        "load consume --queue orders --idle 1s --ledger {consumed}"
    ));
    let clean = dev.stdout(&format!("load check {produced} {consumed}"));
    assert_eq!(clean.trim(), "sent=500 acked=500 lost=0 duplicates=0");
    assert_eq!(code(&dev.run(&format!("load check {produced}"))), Some(1));
    let nothing = dev.run("load check /dev/null");
    assert_eq!(code(&nothing), Some(1), "{nothing:?}");
    assert!(stderr(&nothing).contains("proves nothing"), "{nothing:?}");
}

#[test]
fn a_benchmark_without_consumers_says_nothing_of_them() {
    let dev = Dev::start();
    let line = "bench --duration 300ms --warmup 0s --consumers 0 --producers 1 --size 32";
    let text = dev.stdout(line);
    assert!(
        text.contains("send") && !text.contains("end to end"),
        "{text}"
    );
    let value = dev.json(line);
    assert!(
        value["endToEndMs"].is_null() && value["sendMs"]["p50"].is_number(),
        "{value}"
    );
}

#[test]
fn a_benchmark_ends_in_time_where_the_rate_cannot_be_reached() {
    let dev = Dev::start();
    let line = "bench --rate 99999999 --duration 500ms --warmup 0s --consumers 0 --producers 1";
    let start = Instant::now();
    let output = dev.run(line);
    assert!(start.elapsed() < Duration::from_secs(20), "{output:?}");
    let said = stderr(&output);
    assert!(
        said.contains("rate of 99999999/s was not reached: sent "),
        "{said}"
    );
}

#[test]
fn a_benchmark_makes_a_queue_for_its_messages() {
    let dev = Dev::start();
    let line = "bench --size 300Ki --duration 300ms --warmup 0s --batch 1 --producers 1";
    let value = dev.json(line);
    assert_eq!(value["failed"], 0, "{value}");
    assert!(value["sent"].as_u64().unwrap() > 0, "{value}");
}

#[test]
fn a_benchmark_keeps_so_many_on_their_way_over_several_queues() {
    let dev = Dev::start();
    let line = "bench --queues 5 --outstanding 1 --producers 2 --consumers 2 --size 32 \
                --linger 0ms --duration 500ms --warmup 100ms --histograms";
    let value = dev.json(line);
    assert_eq!(
        (&value["failed"], &value["unsettled"]),
        (&0.into(), &0.into())
    );
    let acked = value["acked"].as_u64().unwrap();
    assert!(acked > 1, "one after the other: {value}");
    // Of two messages at the most, one is acked when the window begins and one after it has ended.
    for other in ["sent", "received"] {
        assert!(
            value[other].as_u64().unwrap().abs_diff(acked) <= 2,
            "{value}"
        );
    }
    let buckets = value["endToEndHistogram"].as_array().unwrap();
    let all: u64 = buckets.iter().map(|one| one[1].as_u64().unwrap()).sum();
    assert_eq!(value["received"], all, "{value}");
    assert!(!dev.stdout("queue ls").contains("bench-"));
    let nobody = dev.run("bench --outstanding 1 --consumers 0");
    assert!(stderr(&nobody).contains("needs --consumers"), "{nobody:?}");
}

#[test]
fn a_consumer_ends_when_the_cluster_does_not_answer() {
    let (output, took) = consume_while_nobody_answers(20, "--idle 1s --work 100ms", false);
    assert!(took < Duration::from_secs(30), "{output:?}");
    assert_eq!(code(&output), Some(4), "{output:?}");
    let said = stderr(&output);
    assert!(said.contains("their acks not confirmed"), "{said}");
}

#[test]
fn a_consumer_that_waits_for_answers_ends_when_it_is_told_to() {
    let arguments = "--work 1ms --max-in-flight 1000";
    let (output, took) = consume_while_nobody_answers(2_000, arguments, true);
    assert!(took < Duration::from_secs(20), "{output:?}");
    assert_eq!(code(&output), Some(4), "{output:?}");
}

/// Consumes from a cluster that is stopped in the middle; with how long the consumer went on.
fn consume_while_nobody_answers(messages: u32, arguments: &str, told: bool) -> (Output, Duration) {
    let dev = Dev::start();
    let directory = tempfile::tempdir().unwrap();
    let ledger = directory.path().join("consumed");
    let produced = directory.path().join("produced").display().to_string();
    dev.stdout(&format!(
        "load produce --queue orders --messages {messages} --ledger {produced}"
    ));
    let mut command = Command::new(BINARY);
    command.env("ROADSTEAD_ENDPOINT", &dev.endpoint);
    command.args(["load", "consume", "--queue", "orders"]);
    command.args(arguments.split(' '));
    command.arg("--ledger").arg(&ledger);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let consumer = command.spawn().unwrap();
    let start = Instant::now();
    while std::fs::read(&ledger).unwrap_or_default().is_empty() {
        assert!(start.elapsed() < Duration::from_secs(20), "nothing came");
        sleep(Duration::from_millis(20));
    }
    dev.signal("STOP");
    if told {
        // Until it has acked what it had fetched, as far as it may without an answer.
        sleep(Duration::from_secs(3));
        signal(&consumer, "TERM");
    }
    let stopped = Instant::now();
    let output = consumer.wait_with_output().unwrap();
    (output, stopped.elapsed())
}
