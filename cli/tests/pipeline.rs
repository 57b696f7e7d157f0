//! What a command prints goes on to another queue, in the step in which its message is acked.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::process::Output;

use common::{Dev, code, stderr};
use serde_json::json;

#[test]
fn what_a_command_prints_is_sent_as_its_message_is_acked() {
    let dev = Dev::with(&[]);
    dev.stdout("queue create orders --partitions 4");
    dev.stdout("queue create invoices --ordering per-key --partitions 4");
    for body in ["a", "b", "c"] {
        dev.stdout(&format!("send orders {body} --key {body}"));
    }
    let done = pipe(&dev, "receive orders -c 3", "sed s/^/bill-/");
    assert_eq!(code(&done), Some(0), "{done:?}");
    let mut bills = Vec::new();
    for _ in 0..3 {
        let bill = dev.json("receive invoices --ack --wait 10s");
        assert_eq!(
            bill["body"],
            format!("bill-{}", bill["orderingKey"].as_str().unwrap())
        );
        bills.push(bill["body"].clone());
    }
    bills.sort_by_key(ToString::to_string);
    assert_eq!(bills, [json!("bill-a"), json!("bill-b"), json!("bill-c")]);
    let stats = &dev.json("queue get orders")["stats"];
    assert_eq!(
        (&stats["ready"], &stats["ackedTotal"]),
        (&json!(0), &json!(3))
    );

    // One that fails sends nothing, one that prints nothing is only acked.
    dev.stdout("send orders d --key d");
    let failed = pipe(&dev, "receive orders", "cat; exit 1");
    assert_eq!(code(&failed), Some(1), "{failed:?}");
    assert_eq!(dev.json("queue get invoices")["stats"]["ready"], 0);
    let silent = pipe(&dev, "receive orders --wait 10s", "cat > /dev/null");
    assert_eq!(code(&silent), Some(0), "{silent:?}");
    assert_eq!(dev.json("queue get invoices")["stats"]["sentTotal"], 3);
    assert_eq!(dev.json("queue get orders")["stats"]["ackedTotal"], 4);
}

#[test]
fn an_output_that_cannot_be_sent_leaves_its_message() {
    let dev = Dev::with(&[]);
    dev.stdout("queue create orders");
    dev.stdout("send orders x");
    let missing = dev.run("receive orders --output-queue nowhere --exec cat");
    assert_eq!(code(&missing), Some(1), "{missing:?}");
    assert!(stderr(&missing).contains("nowhere"), "{missing:?}");
    let stats = &dev.json("queue get orders")["stats"];
    assert_eq!(
        (&stats["ackedTotal"], &stats["nackedTotal"]),
        (&json!(0), &json!(1))
    );

    dev.stdout("queue create fast --at-most-once");
    let refused = dev.run("receive fast --output-queue orders --exec cat");
    assert_eq!(code(&refused), Some(1), "{refused:?}");
    assert!(stderr(&refused).contains("at most once"), "{refused:?}");
}

fn pipe(dev: &Dev, line: &str, command: &str) -> Output {
    let mut words: Vec<&str> = line.split(' ').collect();
    words.extend(["--output-queue", "invoices", "--exec", command]);
    dev.spawn(&words).wait_with_output().unwrap()
}
