//! What `roadstead dev` and `roadstead demo` refuse before they start, and what they pass over.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{BINARY, Dev, code, run, stderr};
use serde_json::json;

const QUEUE: &str = "apiVersion: roadstead.dev/v1alpha1\nkind: Queue\n\
                     metadata: {name: NAME}\nspec: {clusterRef: {name: main}}\n";

fn queue(name: &str) -> String {
    QUEUE.replace("NAME", name)
}

/// What `dev -f` says of a file of this name and text, which it refuses.
fn refusal(name: &str, text: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    fs::write(&file, text).unwrap();
    refusal_of(&["dev", "--port", "0", "-f", file.to_str().unwrap()], 2)
}

/// What a command says that has ended by itself after a few seconds, with this code.
fn refusal_of(arguments: &[&str], expected: i32) -> String {
    let mut process = Command::new(BINARY)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while process.try_wait().unwrap().is_none() && start.elapsed() < Duration::from_mins(1) {
        sleep(Duration::from_millis(20));
    }
    let in_time = process.try_wait().unwrap().is_some();
    process.kill().unwrap();
    let output = process.wait_with_output().unwrap();
    assert!(in_time, "{arguments:?} is still running: {output:?}");
    assert_eq!(code(&output), Some(expected), "{output:?}");
    stderr(&output)
}

#[test]
fn manifests_that_kubernetes_refuses_are_refused() {
    let strict = queue("a").replace("main}", "main}, ordering: Strict, partitions: 2");
    let same = format!(
        "{}---\n{}",
        queue("a"),
        queue("b").replace("main}", "main}, queueName: a")
    );
    let cases = [
        (queue("Q_1"), "metadata.name \"Q_1\""),
        (queue("A"), "metadata.name \"A\""),
        (
            queue("a").replace("v1alpha1", "v2"),
            "it must be \"roadstead.dev/v1alpha1\"",
        ),
        (strict, "needs partitions: 1"),
        (same, "the queue default/a too"),
        (String::new(), "holds no object"),
        ("a: 1\n".to_owned(), "has no kind"),
        (
            "apiVersion: v1\nkind: Secret\n".to_owned(),
            "there is no Queue",
        ),
    ];
    for (text, words) in cases {
        let said = refusal("a.yaml", &text);
        assert!(said.contains(words), "{text}: {said}");
    }
}

#[test]
fn what_no_cluster_can_be_is_wrong_usage() {
    for (option, number, words) in [
        ("--nodes", "0", "one node, or three"),
        ("--nodes", "2", "two bear no failure"),
        ("--shards", "0", "1..=256"),
        ("--shards", "257", "1..=256"),
    ] {
        let said = refusal_of(&["dev", "--port", "0", option, number], 2);
        assert!(said.contains(words), "{said}");
    }
    let said = refusal_of(&["dev", "--port", "0", "-f", "/nowhere.yaml"], 1);
    assert!(said.contains("cannot read /nowhere.yaml"), "{said}");
}

#[test]
fn a_demo_that_cannot_go_on_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tiny.yaml");
    let demo = [
        "demo",
        "--clients",
        "2",
        "--messages",
        "400",
        "-f",
        file.to_str().unwrap(),
    ];
    let tiny = queue("tiny").replace("main}", "main}, limits: {maxMessageBytes: \"10\"}");
    fs::write(&file, tiny).unwrap();
    let said = refusal_of(&demo, 1);
    assert!(said.contains("200 of 200 messages of a producer"), "{said}");
    assert!(
        said.contains("10 bytes") || said.contains("at most 10"),
        "{said}"
    );

    let once = queue("once").replace("main}", "main}, delivery: AtMostOnce");
    fs::write(&file, once).unwrap();
    let said = refusal_of(&demo, 2);
    assert!(
        said.contains("AtMostOnce") && said.contains("lost"),
        "{said}"
    );
}

#[test]
fn a_demo_ends_with_its_ledger() {
    let quickstart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/quickstart");
    let path = quickstart.to_str().unwrap();
    let output = run(&["demo", "--messages", "4000", "-f", path]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", stderr(&output));
    assert!(text.contains("sent 4,000, failed 0, "), "{text}");
    let crash = text.lines().find(|line| line.ends_with("now a crash"));
    let crash: Vec<&str> = crash.unwrap().split(' ').collect();
    let count = |word: &str| word.replace([',', '.'], "").parse::<u64>().unwrap();
    let (sent, left) = (count(crash[1]), count(crash[4]));
    assert_eq!(sent + left, 4_000, "{text}");
    assert!(sent >= 1_600 && left > 0, "{text}");
    assert!(
        text.contains(&format!("\n  {BINARY} dev --nodes 3")),
        "{text}"
    );
    let ledger = text.lines().find(|line| line.starts_with("sent=")).unwrap();
    let duplicates = ledger.strip_prefix("sent=4000 acked=4000 lost=0 duplicates=");
    assert!(
        duplicates.is_some_and(|count| count.parse::<u64>().is_ok()),
        "{text}"
    );
}

#[test]
fn a_demo_whose_sends_are_over_before_the_crash_fails() {
    let quickstart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/quickstart");
    let path = quickstart.to_str().unwrap();
    let said = refusal_of(&["demo", "--messages", "1", "-f", path], 1);
    assert!(said.contains("raise --messages"), "{said}");
}

#[test]
fn lists_and_other_files_are_read_and_other_kinds_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let list = "{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [ITEM]}";
    let item = "{\"apiVersion\": \"roadstead.dev/v1alpha1\", \"kind\": \"Queue\", \"metadata\": \
                {\"name\": \"listed\"}, \"spec\": {\"clusterRef\": {\"name\": \"main\"}}}";
    fs::write(folder.path().join("a.json"), list.replace("ITEM", item)).unwrap();
    fs::write(folder.path().join("b.yml"), queue("second")).unwrap();
    let other = "apiVersion: v1\nkind: Secret\nmetadata: {name: keys}\n";
    fs::write(folder.path().join("c.yaml"), other).unwrap();
    let dev = Dev::with(&["-f", folder.path().to_str().unwrap()]);
    let queues = &dev.report["queues"];
    assert_eq!(queues, &json!(["default/listed", "default/second"]));
    let said = dev.stop();
    assert!(
        said.contains("passed over: Secret keys (dev has no operator)"),
        "{said}"
    );
}

#[test]
fn a_folder_of_another_number_of_nodes_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    Dev::with(&["--data-dir", path]).stop();
    for name in ["node-2", "node-3"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    let start = Instant::now();
    let said = refusal_of(&["dev", "--port", "0", "--data-dir", path], 1);
    assert!(
        said.contains("of 3 nodes") && said.contains("--nodes 3"),
        "{said}"
    );
    assert!(start.elapsed() < Duration::from_secs(5), "{said}");

    fs::remove_file(folder.path().join("node/ca.crt")).unwrap();
    let three = ["dev", "--port", "0", "--nodes", "3", "--data-dir", path];
    let said = refusal_of(&three, 1);
    assert_eq!(said.matches("No such file").count(), 1, "{said}");
}

#[test]
fn a_folder_of_another_number_of_shards_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    // With two shards.
    Dev::with(&["--data-dir", path]).stop();
    let four = ["dev", "--port", "0", "--data-dir", path, "--shards", "4"];
    let said = refusal_of(&four, 1);
    assert!(
        said.contains("of 2 shards, not of 4") && said.contains("--shards 2"),
        "{said}"
    );
    Dev::with(&["--data-dir", path]).stop();
}
