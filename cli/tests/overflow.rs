//! Queues that are full, and batches that are sent as a whole, from the command line.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use common::{Dev, code, stderr};
use serde_json::json;

#[test]
fn the_oldest_makes_room_where_the_queue_says_so() {
    let dev = Dev::start();
    dev.stdout("queue create latest --max-messages 2 --overflow drop-oldest");
    assert_eq!(
        dev.json("queue get latest")["spec"]["overflow"],
        "DropOldest"
    );
    for body in ["a", "b", "c"] {
        dev.stdout(&format!("send latest {body}"));
    }
    let got = dev.stdout("receive latest -c 2 --ack --wait 0s");
    assert_eq!(got.lines().collect::<Vec<_>>(), ["b", "c"]);

    dev.stdout("queue create dead");
    dev.stdout(
        "queue create jobs --max-messages 1 --overflow dead-letter-oldest --dead-letter dead",
    );
    dev.stdout("send jobs first");
    dev.stdout("send jobs second");
    let dead = dev.json("receive dead --wait 10s");
    assert_eq!(
        (&dead["body"], &dead["deadLetter"]["reason"]),
        (&json!("first"), &json!("OVERFLOW"))
    );
    for (line, words) in [
        ("queue create x --overflow drop-oldest", "never overflows"),
        (
            "queue create x --max-messages 1 --overflow dead-letter-oldest",
            "need a dead-letter queue",
        ),
    ] {
        let refused = dev.run(line);
        assert_eq!(code(&refused), Some(2), "{line}: {refused:?}");
        assert!(stderr(&refused).contains(words), "{line}: {refused:?}");
    }
}

#[test]
fn the_lines_of_a_file_are_sent_as_a_whole_or_not_at_all() {
    let dev = Dev::start();
    dev.stdout("queue create few --max-messages 4");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("orders.ndjson");
    std::fs::write(&file, "1\n2\n3\n").unwrap();
    let path = file.to_str().unwrap();
    let line = format!("send few --ndjson {path} --atomic");
    let sent = json!({"sent": 3, "failed": 0, "duplicates": 0});
    assert_eq!(dev.json(&line), sent);
    assert_eq!(dev.json("queue get few")["stats"]["ready"], 3);
    std::fs::write(&file, "1\nno json\n3\n").unwrap();
    assert_eq!(code(&dev.run(&line)), Some(1));
    assert_eq!(dev.json("queue get few")["stats"]["ready"], 3);
    std::fs::write(&file, "1\n".repeat(1_001)).unwrap();
    let refused = dev.run(&line);
    assert!(
        stderr(&refused).contains("1 to 1000 messages"),
        "{refused:?}"
    );
}
