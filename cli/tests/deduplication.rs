//! Queues that know messages again, from the command line.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use common::{Dev, code, stderr};
use serde_json::json;

#[test]
fn a_message_that_is_sent_again_is_not_added_again() {
    let dev = Dev::start();
    dev.stdout("queue create once --partitions 4 --deduplication id --deduplication-window 1h");
    let spec = &dev.json("queue get once")["spec"]["deduplication"];
    let defaults = json!({"by": "ID", "scope": "Queue", "window": "1h", "maxIds": 1_000_000});
    assert_eq!(*spec, defaults);
    let send = "send once body --deduplication-id order-7";
    let first = dev.json(send);
    let again = dev.json(send);
    assert_eq!(
        (&first["duplicate"], &again["duplicate"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(first["id"], again["id"]);
    let told = dev.run(send);
    assert!(stderr(&told).contains("was not added"), "{told:?}");

    // A file that was sent in part is sent again.
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("orders.ndjson");
    let lines = |count: usize| (0..count).map(|n| format!("{{\"order\": \"{n}\"}}\n"));
    for (count, duplicates) in [(3, 0), (5, 3)] {
        std::fs::write(&file, lines(count).collect::<String>()).unwrap();
        let path = file.to_str().unwrap();
        let line = format!("send once --ndjson {path} --deduplication-member order");
        let sent = json!({"sent": count, "failed": 0, "duplicates": duplicates});
        assert_eq!(dev.json(&line), sent);
    }
    let path = file.to_str().unwrap();
    let missing = dev.run(&format!(
        "send once --ndjson {path} --deduplication-member no"
    ));
    assert_eq!(code(&missing), Some(1), "{missing:?}");
    assert!(
        stderr(&missing).contains("its member \"no\" is no text"),
        "{missing:?}"
    );
    let stats = &dev.json("queue get once")["stats"];
    assert_eq!(
        (&stats["ready"], &stats["deduplicationIds"]),
        (&json!(6), &json!(6))
    );
    assert_ne!(dev.json("receive once")["deduplicationId"], "");
}

#[test]
fn what_nobody_would_keep_is_refused_with_the_reason() {
    let dev = Dev::start();
    for (line, exit, words) in [
        (
            "send orders x --deduplication-id a",
            2,
            "the queue has no deduplication",
        ),
        (
            "queue create x --deduplication id --deduplication-window 25h",
            2,
            "not in 1s..24h",
        ),
        (
            "queue create x --partitions 2 --ordering per-key --deduplication id \
             --deduplication-scope queue",
            2,
            "use scope Key",
        ),
    ] {
        let refused = dev.run(line);
        assert_eq!(code(&refused), Some(exit), "{line}: {refused:?}");
        assert!(stderr(&refused).contains(words), "{line}: {refused:?}");
    }
    dev.stdout("queue create once --deduplication content");
    for (line, words) in [
        (
            "queue update once --partitions 2",
            "take deduplication away first",
        ),
        (
            "queue update once --deduplication-scope key",
            "take deduplication away first",
        ),
    ] {
        let refused = dev.run(line);
        assert_eq!(code(&refused), Some(6), "{line}: {refused:?}");
        assert!(stderr(&refused).contains(words), "{line}: {refused:?}");
    }
    dev.stdout("queue update once --deduplication none --partitions 2");
    let spec = &dev.json("queue get once")["spec"];
    assert_eq!(
        (&spec["partitions"], spec.get("deduplication")),
        (&json!(2), None)
    );
}
