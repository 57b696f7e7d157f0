//! `roadstead receive`: commands per message, stopping, and queues that deliver at most once.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{BINARY, Dev, code, signal, stderr};
use roadstead_client::{Client, Message, Outcome, SendError};
use serde_json::Value;

/// A receiver of the queue orders, whose stderr is kept.
fn receiver(dev: &Dev, arguments: &[&str]) -> Child {
    let mut command = Command::new(BINARY);
    command
        .env("ROADSTEAD_ENDPOINT", &dev.endpoint)
        .args(["receive", "orders"])
        .args(arguments);
    command.stderr(Stdio::piped()).spawn().unwrap()
}

fn wait_for(file: &Path) {
    let start = Instant::now();
    while !file.exists() {
        assert!(start.elapsed() < Duration::from_secs(20), "it never began");
        sleep(Duration::from_millis(5));
    }
}

/// A command that is told to stop, writes its process down, and goes on.
fn stubborn(directory: &Path) -> String {
    let (told, begun) = (directory.join("told"), directory.join("begun"));
    format!(
        "trap 'touch {}' TERM; echo $$ > {}; while :; do sleep 0.1; done",
        told.display(),
        begun.display()
    )
}

fn is_running(directory: &Path) -> bool {
    let process = std::fs::read_to_string(directory.join("begun")).unwrap();
    let state = std::fs::read_to_string(format!("/proc/{}/status", process.trim()));
    state.is_ok_and(|state| !state.contains("State:\tZ"))
}

#[test]
fn a_command_per_message() {
    let dev = Dev::start();
    dev.stdout("send orders ok");
    let mut command = Command::new(BINARY);
    command
        .env("ROADSTEAD_ENDPOINT", &dev.endpoint)
        .args(["receive", "orders", "--exec"]);
    let run = |exec: &str, command: &mut Command| command.arg(exec).output().unwrap();
    let failed = run("test \"$(cat)\" = other", &mut command);
    assert!(
        String::from_utf8_lossy(&failed.stderr).contains("goes back"),
        "{failed:?}"
    );
    assert_eq!(code(&failed), Some(1), "a command failed");
    let mut command = Command::new(BINARY);
    command
        .env("ROADSTEAD_ENDPOINT", &dev.endpoint)
        .args(["receive", "orders", "--exec"]);
    let done = run(
        "test \"$(cat)\" = ok && test $ROADSTEAD_DELIVERY_COUNT = 2",
        &mut command,
    );
    assert!(done.status.success() && done.stderr.is_empty(), "{done:?}");
    assert_eq!(dev.json("queue get orders")["stats"]["ackedTotal"], 1);
}

#[test]
fn a_command_that_runs_may_end_when_its_receiver_is_told_to_stop() {
    let dev = Dev::start();
    dev.stdout("send orders slow");
    let directory = tempfile::tempdir().unwrap();
    let (begun, ended) = (
        directory.path().join("begun"),
        directory.path().join("ended"),
    );
    let command = format!(
        "touch {}; sleep 1; touch {}",
        begun.display(),
        ended.display()
    );
    let mut receiver = receiver(&dev, &["--follow", "--exec", &command]);
    wait_for(&begun);
    signal(&receiver, "TERM");
    assert!(receiver.wait().unwrap().success());
    assert!(ended.exists());
    assert_eq!(dev.json("queue get orders")["stats"]["ackedTotal"], 1);
}

#[test]
fn a_command_that_does_not_end_in_time_is_told_and_killed() {
    let dev = Dev::start();
    dev.stdout("send orders slow");
    let directory = tempfile::tempdir().unwrap();
    let command = stubborn(directory.path());
    let receiver = receiver(&dev, &["--follow", "--grace", "1s", "--exec", &command]);
    wait_for(&directory.path().join("begun"));
    let start = Instant::now();
    signal(&receiver, "TERM");
    let output = receiver.wait_with_output().unwrap();
    assert!(start.elapsed() < Duration::from_secs(6), "{output:?}");
    assert_eq!(code(&output), Some(1), "{output:?}");
    assert!(stderr(&output).contains("goes back"), "{output:?}");
    assert!(
        directory.path().join("told").exists(),
        "it was not asked to end"
    );
    assert!(!is_running(directory.path()));
    let again = dev.json("receive orders --ack");
    assert_eq!(
        (&again["body"], &again["deliveryCount"]),
        (&"slow".into(), &1.into())
    );
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let dev = Dev::start();
    dev.stdout("send orders slow");
    let directory = tempfile::tempdir().unwrap();
    let command = stubborn(directory.path());
    let mut receiver = receiver(&dev, &["--follow", "--exec", &command]);
    wait_for(&directory.path().join("begun"));
    signal(&receiver, "TERM");
    sleep(Duration::from_millis(500));
    assert!(
        receiver.try_wait().unwrap().is_none(),
        "one signal leaves it its grace"
    );
    signal(&receiver, "TERM");
    let start = Instant::now();
    let output = receiver.wait_with_output().unwrap();
    assert!(start.elapsed() < Duration::from_secs(3), "{output:?}");
    assert_eq!(code(&output), Some(1), "{output:?}");
    assert!(!is_running(directory.path()));
    assert_eq!(dev.json("receive orders --ack")["body"], "slow");
}

#[test]
fn what_is_delivered_at_most_once_is_never_said_to_go_back() {
    let dev = Dev::start();
    dev.stdout("queue create once --at-most-once");
    dev.stdout("send once first");
    let looked = dev.run("receive once");
    assert_eq!(code(&looked), Some(1), "{looked:?}");
    assert!(stderr(&looked).contains("queue peek once"), "{looked:?}");
    let failed = dev.run("receive once --exec false");
    assert_eq!(code(&failed), Some(1), "{failed:?}");
    let why = stderr(&failed);
    assert!(
        why.contains("is lost") && !why.contains("goes back"),
        "{why}"
    );
}

#[test]
fn a_message_beyond_the_count_stays_in_an_at_most_once_queue() {
    let dev = Dev::start();
    dev.stdout("queue create once --at-most-once");
    for number in 0..6 {
        dev.stdout(&format!("send once {number}"));
    }
    for count in [1, 2, 3] {
        let taken = dev.stdout(&format!("receive once --ack -c {count} --wait 2s"));
        assert_eq!(taken.lines().count(), count, "{taken}");
    }
}

#[test]
fn a_receiver_ends_when_its_queue_is_deleted() {
    let dev = Dev::start();
    for anew in [false, true] {
        dev.stdout("send orders first");
        let directory = tempfile::tempdir().unwrap();
        let begun = directory.path().join("begun");
        let command = format!("touch {}", begun.display());
        let mut receiver = receiver(&dev, &["--follow", "--exec", &command]);
        wait_for(&begun);
        dev.stdout("queue delete orders --with-messages");
        dev.stdout("queue create orders");
        if anew {
            // What comes to the new queue is not for it.
            dev.stdout("send orders second");
        }
        let start = Instant::now();
        while receiver.try_wait().unwrap().is_none() {
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "it waits for ever"
            );
            sleep(Duration::from_millis(20));
        }
        let output = receiver.wait_with_output().unwrap();
        assert_eq!(code(&output), Some(3), "{output:?}");
        let why = stderr(&output);
        assert!(why.contains("queue default/orders does not exist"), "{why}");
    }
}

#[tokio::test]
async fn clients_hear_that_their_queue_is_gone() {
    let dev = Dev::start();
    let client = Client::builder().endpoints([&dev.endpoint]);
    let client = client.connect().await.unwrap();
    let producer = client.producer("orders").start().await.unwrap();
    producer.send(Message::new("first")).await.unwrap();
    let consumer = client.consumer("orders").start().await.unwrap();
    consumer.next().await.unwrap().unwrap().ack().await.unwrap();
    let run = consumer.run(1, |_| async { Outcome::Ack }, std::future::pending());
    let run = tokio::spawn(run);
    dev.stdout("queue delete orders --with-messages");
    let ended = tokio::time::timeout(Duration::from_secs(20), run).await;
    let ended = ended.expect("it waits for ever").unwrap().unwrap_err();
    let gone = "queue default/orders does not exist";
    assert!(ended.to_string().contains(gone), "{ended}");
    let refused = producer.send(Message::new("late")).await.unwrap_err();
    assert!(matches!(refused, SendError::Refused(_)), "{refused}");
    assert!(refused.to_string().contains(gone), "{refused}");
}

#[test]
fn as_many_as_are_wanted_come_from_one_partition_of_several() {
    let dev = Dev::with(&["--nodes", "3"]);
    dev.stdout("queue create wide --partitions 2");
    let start = Instant::now();
    let leaders = || {
        let status = dev.json("cluster status");
        let shards = status["shards"].as_array().unwrap().clone();
        let leaders = shards.iter().filter(|shard| shard["shard"] != 0);
        leaders
            .map(|shard| shard["leader"].clone())
            .collect::<Vec<_>>()
    };
    loop {
        let now = leaders();
        if now.len() == 2 && now[0] != now[1] && !now.contains(&Value::Null) {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(40), "{now:?}");
        sleep(Duration::from_millis(200));
    }
    for body in ["a", "b", "c"] {
        dev.stdout(&format!("send wide {body} --key same"));
    }
    let looked = dev.stdout("receive wide -c 3");
    assert_eq!(looked.lines().collect::<Vec<_>>(), ["a", "b", "c"]);
}

/// Why the message of that body is dead, once it is.
fn dead(dev: &Dev, body: &str) -> Value {
    let start = Instant::now();
    loop {
        let peeked = dev.json("queue peek dead");
        let mut messages = peeked.as_array().unwrap().iter();
        if let Some(found) = messages.find(|message| message["body"] == body) {
            return found["deadLetter"].clone();
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{peeked}");
        sleep(Duration::from_millis(50));
    }
}

#[test]
fn what_is_ready_comes_without_a_wait() {
    let dev = Dev::start();
    for body in ["a", "b", "c"] {
        dev.stdout(&format!("send orders {body}"));
    }
    let looked = dev.stdout("receive orders -c 2 --wait 0s");
    assert_eq!(looked.lines().count(), 2, "{looked}");
    let taken = dev.stdout("receive orders -c 5 --ack --wait 0s");
    assert_eq!(taken.lines().count(), 3, "{taken}");
    let start = Instant::now();
    let nothing = dev.run("receive orders --wait 0s");
    assert!(nothing.stdout.is_empty(), "{nothing:?}");
    assert!(stderr(&nothing).contains("no message in"), "{nothing:?}");
    assert!(start.elapsed() < Duration::from_secs(2), "{nothing:?}");
}

#[test]
fn peek_shows_why_a_message_is_dead() {
    let dev = Dev::start();
    dev.stdout("queue create dead");
    dev.stdout("queue create jobs --dead-letter dead --max-deliveries 1");
    dev.stdout("send jobs poison");
    dev.stdout("send dead sent-here");
    dev.run("receive jobs --exec false");
    let found = dead(&dev, "poison");
    assert_eq!(found["reason"], "MAX_DELIVERIES", "{found}");
    assert_eq!(found["sourceQueue"], "default/jobs", "{found}");
    assert_eq!(found["deliveryCount"], 1, "{found}");
    assert!(found["error"].as_str().unwrap().contains("exit"), "{found}");
    let table = dev.stdout("queue peek dead");
    assert!(
        table.contains("MAX_DELIVERIES in default/jobs: "),
        "{table}"
    );
    assert!(!dev.stdout("queue peek jobs").contains("DEAD LETTER"));
}

#[test]
fn what_failed_waits_as_the_queue_says() {
    let dev = Dev::start();
    dev.stdout("queue create jobs --backoff fixed --backoff-initial 2s --backoff-jitter 0");
    let spec = dev.json("queue get jobs")["spec"]["backoff"].clone();
    assert_eq!(
        (&spec["type"], &spec["initial"]),
        (&"Fixed".into(), &"2s".into())
    );
    dev.stdout("send jobs x");
    let failed = Instant::now();
    dev.run("receive jobs --exec false");
    while dev.stdout("receive jobs --ack").is_empty() {
        assert!(
            failed.elapsed() < Duration::from_secs(20),
            "it never came back"
        );
    }
    assert!(
        failed.elapsed() >= Duration::from_secs(2),
        "{:?}",
        failed.elapsed()
    );

    dev.stdout("queue update jobs --backoff none");
    dev.stdout("send jobs y");
    dev.run("receive jobs --exec false");
    assert_eq!(dev.json("queue peek jobs")[0]["state"], "Ready");
}

#[test]
fn a_message_has_times_of_its_own() {
    let dev = Dev::start();
    dev.stdout("queue create dead");
    dev.stdout("queue create jobs --dead-letter dead --on-expiry dead-letter");
    dev.stdout("send jobs brief --time-to-live 200ms");
    assert_eq!(dead(&dev, "brief")["reason"], "EXPIRED");
    dev.stdout("send jobs past --not-before 2001-01-01T00:00:00Z");
    dev.stdout("send jobs soon --not-before 2000-01-01T00:00:00Z --delay 1h");
    let peeked = dev.json("queue peek jobs");
    let state = |n: usize| (peeked[n]["body"].clone(), peeked[n]["state"].clone());
    assert_eq!(state(0), ("past".into(), "Ready".into()));
    assert_eq!(state(1), ("soon".into(), "Delayed".into()));
    let far = dev.run("send jobs far --not-before 2999-01-01T00:00:00Z");
    assert!(
        stderr(&far).contains("choose an earlier not_before"),
        "{far:?}"
    );
    let none = dev.run("queue create plain --on-expiry dead-letter");
    assert!(
        stderr(&none).contains("need a dead-letter queue"),
        "{none:?}"
    );
}
