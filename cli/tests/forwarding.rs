//! `roadstead receive --forward`: messages on their way to another cluster.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Child;
use std::time::{Duration, Instant};

use common::{Dev, code, signal, stderr, until};
use roadstead_client::proto::attribute_value::Value as Attribute;
use roadstead_client::proto::{AttributeValue, OutgoingMessage};
use roadstead_client::{Bytes, Client, Message};
use serde_json::Value;

const KEYS: usize = 10;

/// What a queue needs that nothing is in twice.
const ONCE: &str = "--deduplication id --deduplication-window 1h";

fn target(core: &Dev, queue: &str) -> String {
    format!("{}/default/{queue}", core.endpoint)
}

fn forward(edge: &Dev, core: &Dev, more: &str) -> Value {
    edge.json(&format!(
        "receive orders --forward {} {more}",
        target(core, "orders")
    ))
}

fn ready(dev: &Dev, queue: &str) -> u64 {
    dev.json(&format!("queue get {queue}"))["stats"]["ready"]
        .as_u64()
        .unwrap()
}

async fn client(dev: &Dev) -> Client {
    Client::builder()
        .endpoints([&dev.endpoint])
        .connect()
        .await
        .unwrap()
}

#[tokio::test]
async fn a_message_arrives_as_it_was() {
    let (edge, core) = (Dev::with(&[]), Dev::with(&[]));
    edge.stdout("queue create orders");
    core.stdout(&format!("queue create orders {ONCE}"));
    let values = [
        ("text", Attribute::StringValue("ü".into())),
        ("number", Attribute::NumberValue("1.50".into())),
        ("bytes", Attribute::BinaryValue(Bytes::from_static(b"\xff"))),
    ];
    let attributes = values.map(|(name, value)| {
        let value = Some(value);
        (name.to_owned(), AttributeValue { value })
    });
    let sent = OutgoingMessage {
        body: Bytes::from_static(b"\x00\xff"),
        attributes: attributes.into_iter().collect(),
        content_type: "application/x".into(),
        ordering_key: "k".into(),
        trace_parent: "00-0af7-b7ad-01".into(),
        ..OutgoingMessage::default()
    };
    let producer = client(&edge)
        .await
        .producer("orders")
        .start()
        .await
        .unwrap();
    let accepted = producer.send(Message::from(sent.clone())).await.unwrap();

    let summary = forward(&edge, &core, "");
    assert_eq!(
        (&summary["acked"], &summary["duplicates"]),
        (&1.into(), &0.into())
    );
    assert_eq!(edge.json("queue get orders")["stats"]["ackedTotal"], 1);
    let consumer = client(&core)
        .await
        .consumer("orders")
        .start()
        .await
        .unwrap();
    let came = consumer.next().await.unwrap().unwrap();
    assert_eq!(came.body, sent.body);
    assert_eq!(came.attributes, sent.attributes.into_iter().collect());
    assert_eq!(came.content_type, sent.content_type);
    assert_eq!(came.ordering_key, sent.ordering_key);
    assert_eq!(came.trace_parent, sent.trace_parent);
    let cluster = edge.report["clusterId"].as_str().unwrap();
    assert_eq!(
        came.deduplication_id,
        format!("{cluster}/{}", accepted.message_id)
    );
}

#[test]
fn a_target_that_cannot_keep_the_promise_is_refused() {
    let (edge, core) = (Dev::start(), Dev::with(&[]));
    core.stdout("queue create plain");
    edge.stdout("queue create once --at-most-once");
    edge.stdout("send orders x");
    let own = target(&edge, "orders");
    let (plain, nowhere) = (target(&core, "plain"), target(&core, "nowhere"));
    for (line, exit, words) in [
        (
            format!("receive orders --forward {plain}"),
            6,
            "has no deduplication",
        ),
        (
            format!("receive orders --forward {own}"),
            2,
            "is the queue that messages come from",
        ),
        (
            format!("receive orders --forward {nowhere}"),
            3,
            "does not exist",
        ),
        (
            format!("receive orders --forward https://{plain}"),
            2,
            "--forward-ca-file",
        ),
        (format!("receive once --forward {plain}"), 1, "at most once"),
        (
            "receive orders --forward localhost:1/a/b".into(),
            4,
            "cannot forward to",
        ),
        (
            format!("receive orders --forward {plain} --forward-ca-file /nowhere/ca"),
            1,
            "cannot read CA certificates /nowhere/ca",
        ),
        (
            format!("receive orders --forward {plain} --forward-token-file /nowhere/token"),
            5,
            "cannot read the token /nowhere/token",
        ),
        (
            "receive orders --forward orders".into(),
            2,
            "HOST:PORT/NAMESPACE/QUEUE",
        ),
    ] {
        let refused = edge.run(&line);
        assert_eq!(code(&refused), Some(exit), "{line}: {refused:?}");
        assert!(stderr(&refused).contains(words), "{line}: {refused:?}");
    }
    let line = format!("receive orders --forward {plain} --at-least-once");
    assert_eq!(edge.json(&line)["acked"], 1);
    let came = core.json("receive plain --ack");
    assert_eq!(
        (&came["body"], &came["deduplicationId"]),
        (&"x".into(), &"".into())
    );
}

#[test]
fn what_the_target_refuses_dies_with_the_reason() {
    let (edge, core) = (Dev::with(&[]), Dev::with(&[]));
    edge.stdout("queue create dead");
    edge.stdout("queue create orders --dead-letter dead --max-deliveries 2 --backoff none");
    core.stdout(&format!(
        "queue create orders {ONCE} --max-message-bytes 10"
    ));
    edge.stdout("send orders this-is-too-large");
    let mut forwarder = follow(&edge, &core);
    let mut died = Value::Null;
    until("a dead letter", || {
        died = edge.json("queue peek dead")[0]["deadLetter"].clone();
        !died.is_null()
    });
    // Behind it: what is sent in one batch with a message that is not valid is refused with it.
    edge.stdout("send orders fits");
    until("the other one is there", || ready(&core, "orders") == 1);
    let error = died["error"].as_str().unwrap();
    assert!(
        error.contains("refused it") && error.contains("at most 10"),
        "{error}"
    );

    // A queue that nobody knows a message again in any more takes none, and none dies of it.
    core.stdout("queue update orders --deduplication none");
    edge.stdout("send orders later");
    until("it ends", || forwarder.try_wait().unwrap().is_some());
    let output = forwarder.wait_with_output().unwrap();
    assert!(
        stderr(&output).contains("has no deduplication any more"),
        "{output:?}"
    );
    let back = edge.json("receive orders --ack");
    assert_eq!(
        (&back["body"], &back["deliveryCount"]),
        (&"later".into(), &1.into())
    );
}

#[test]
fn a_full_target_holds_messages_up_and_none_dies() {
    let (edge, core) = (Dev::with(&[]), Dev::with(&[]));
    edge.stdout("queue create orders --max-deliveries 1 --lease 5s");
    core.stdout(&format!("queue create orders {ONCE} --max-messages 2"));
    edge.run_with("send orders --ndjson -", "1\n2\n3\n4\n5\n6\n");
    let forwarder = follow(&edge, &core);
    let mut came = BTreeSet::new();
    let start = Instant::now();
    while came.len() < 6 && start.elapsed() < Duration::from_mins(1) {
        let taken = core.stdout("receive orders --ack -c 2 --wait 3s");
        came.extend(taken.lines().map(str::to_owned));
    }
    assert_eq!(came.len(), 6, "{came:?}");
    signal(&forwarder, "TERM");
    let output = forwarder.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let stats = &edge.json("queue get orders")["stats"];
    assert_eq!(
        (&stats["ackedTotal"], &stats["nackedTotal"]),
        (&6.into(), &0.into()),
        "{stats}"
    );
}

#[test]
fn a_forwarder_whose_target_is_away_waits_and_can_be_stopped() {
    let (edge, core) = (Dev::with(&[]), Dev::with(&[]));
    edge.stdout("queue create orders");
    core.stdout(&format!("queue create orders {ONCE}"));
    let (address, orders) = (core.endpoint.clone(), target(&core, "orders"));
    core.stop();
    let mut forwarder = edge.spawn(&["receive", "orders", "-F", "--forward", &orders]);
    std::thread::sleep(Duration::from_secs(7));
    assert!(
        forwarder.try_wait().unwrap().is_none(),
        "it waits for {address}"
    );
    signal(&forwarder, "TERM");
    let output = forwarder.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(
        stderr(&output).contains("does not answer yet"),
        "{output:?}"
    );
}

fn follow(edge: &Dev, core: &Dev) -> Child {
    edge.spawn(&[
        "receive",
        "orders",
        "--follow",
        "--forward",
        &target(core, "orders"),
    ])
}

/// Sends so many, from `first` on, over the keys in turn; the body is key and number.
async fn produce(edge: &Dev, first: usize, count: usize) {
    let producer = client(edge).await.producer("orders").start().await.unwrap();
    let messages = (first..first + count).map(|number| {
        let key = format!("k{}", number % KEYS);
        Message::new(format!("{key} {number:06}")).key(key)
    });
    for outcome in producer.send_all(messages).await {
        outcome.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_when_target_and_forwarder_are_killed() {
    const COUNT: usize = 4_000;
    let folder = tempfile::tempdir().unwrap();
    let edge = Dev::with(&[]);
    let core = Dev::kept(folder.path(), "0");
    edge.stdout("queue create orders --ordering per-key --partitions 4 --max-deliveries 100");
    let ordered = format!("queue create orders --ordering per-key --partitions 3 {ONCE}");
    core.stdout(&ordered);
    produce(&edge, 0, COUNT).await;
    let mut forwarder = follow(&edge, &core);
    until("a third is forwarded", || {
        ready_and_blocked(&core) > COUNT as u64 / 3
    });

    let (port, nodes) = (
        core.endpoint.rsplit_once(':').unwrap().1.to_owned(),
        folder.path(),
    );
    core.signal("KILL");
    drop(core);
    // What is under way now has to wait; what is sent meanwhile, too.
    produce(&edge, COUNT, KEYS).await;
    std::thread::sleep(Duration::from_secs(3));
    let core = Dev::kept(nodes, &port);
    until("it goes on", || ready_and_blocked(&core) > COUNT as u64 / 2);
    forwarder.kill().unwrap();
    let output = forwarder.wait_with_output().unwrap();
    let before = ready_and_blocked(&core);
    assert!(
        before < COUNT as u64,
        "killed when all was done: {output:?}"
    );

    let again = follow(&edge, &core);
    let all = COUNT + KEYS;
    until("everything is acked", || {
        edge.json("queue get orders")["stats"]["ackedTotal"] == all
    });
    signal(&again, "TERM");
    let output = again.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(ready_and_blocked(&core), all as u64);

    let came = core.stdout(&format!("receive orders --ack -c {all}"));
    let mut next: BTreeMap<&str, usize> = BTreeMap::new();
    for line in came.lines() {
        let (key, number) = line.split_once(' ').unwrap();
        let first: usize = key[1..].parse().unwrap();
        let next = next.entry(key).or_insert(first);
        assert_eq!(number.parse(), Ok(*next), "{key}");
        *next += KEYS;
    }
    assert_eq!(came.lines().count(), all);
    let duplicates = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("killed at {before} of {all}; {duplicates}");
}

fn ready_and_blocked(dev: &Dev) -> u64 {
    let stats = &dev.json("queue get orders")["stats"];
    ["ready", "blocked", "inFlight", "delayed"]
        .iter()
        .map(|kind| stats[kind].as_u64().unwrap())
        .sum()
}
