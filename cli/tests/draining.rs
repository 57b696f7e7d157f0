//! `roadstead consumer`: who receives, and who gets no more.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{BINARY, Dev, code, stderr};
use serde_json::Value;

/// A receiver of the queue orders with a name, whose stderr is kept.
fn receiver(dev: &Dev, name: &str, arguments: &[&str]) -> Child {
    let mut command = Command::new(BINARY);
    command
        .env("ROADSTEAD_ENDPOINT", &dev.endpoint)
        .env("POD_NAME", name)
        .env("POD_UID", format!("uid-{name}"))
        .args(["receive", "orders"])
        .args(arguments);
    command.stderr(Stdio::piped()).spawn().unwrap()
}

/// The only consumer, once what is said of it holds.
fn listed(dev: &Dev, holds: impl Fn(&Value) -> bool) -> Value {
    let start = Instant::now();
    loop {
        let all = dev.json("consumer list orders");
        if let [one] = &all.as_array().unwrap()[..]
            && holds(one)
        {
            return one.clone();
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{all:#}");
        sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_receiver_that_is_drained_finishes_what_it_has_and_ends() {
    let dev = Dev::start();
    assert!(dev.stdout("consumer list orders").contains("no consumers"));
    dev.stdout("send orders first");
    let directory = tempfile::tempdir().unwrap();
    let go_on = directory.path().join("go-on");
    let waits = format!("while ! test -e {}; do sleep 0.05; done", go_on.display());
    let busy = receiver(&dev, "worker-1", &["--follow", "--exec", &waits]);
    let one = listed(&dev, |one| one["inFlight"] == 1);
    assert_eq!(
        (&one["name"], &one["podUid"]),
        (&"worker-1".into(), &"uid-worker-1".into())
    );
    assert_eq!(
        (&one["draining"], &one["idleMs"]),
        (&false.into(), &0.into())
    );
    let shown = dev.stdout("consumer list orders");
    assert!(
        shown.contains("worker-1") && shown.contains("receiving"),
        "{shown}"
    );

    let drained = dev.json("consumer drain orders uid-worker-1 --by pod-uid --for 5m");
    assert_eq!(
        (&drained["consumers"], &drained["forMs"]),
        (&1.into(), &300_000.into())
    );
    assert!(dev.stdout("consumer list orders").contains("draining"));
    dev.stdout("send orders second");
    std::fs::write(go_on, "").unwrap();
    let output = busy.wait_with_output().unwrap();
    assert_eq!(code(&output), Some(0), "{output:?}");
    assert!(stderr(&output).contains("drained"), "{output:?}");
    let stats = &dev.json("queue get orders")["stats"];
    assert_eq!(
        (&stats["ackedTotal"], &stats["ready"]),
        (&1.into(), &1.into())
    );

    // It is started again, as a pod's container is.
    let again = receiver(&dev, "worker-1", &["--ack"])
        .wait_with_output()
        .unwrap();
    assert!(
        again.status.success() && stderr(&again).contains("drained"),
        "{again:?}"
    );
    let undone = dev.stdout("consumer drain orders worker-1 --undo");
    assert!(undone.contains("no longer drained"), "{undone}");
    let last = receiver(&dev, "worker-1", &["--ack"])
        .wait_with_output()
        .unwrap();
    assert!(
        last.status.success() && stderr(&last).is_empty(),
        "{last:?}"
    );
    assert_eq!(dev.json("queue get orders")["stats"]["ackedTotal"], 2);
}

#[test]
fn what_cannot_be_drained_is_refused() {
    let dev = Dev::start();
    for (line, exit) in [
        ("consumer drain nowhere worker-1", 3),
        ("consumer drain orders worker-1 --group nobody", 3),
        ("consumer list orders --group nobody", 3),
        ("consumer drain orders", 2),
        ("consumer drain orders worker-1 --for 2h", 2),
        ("consumer drain orders worker-1 --for 0s", 2),
        ("consumer drain orders worker-1 --undo --for 1m", 2),
    ] {
        let output = dev.run(line);
        assert_eq!(code(&output), Some(exit), "{line}: {output:?}");
    }
    let nobody = dev.stdout("consumer drain orders worker-1");
    assert!(
        nobody.contains("no consumer of orders is meant now"),
        "{nobody}"
    );
}
