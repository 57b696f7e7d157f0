//! `roadstead receive`: commands per message, and stopping.

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

use common::{BINARY, Dev, code};

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

/// Sends SIGTERM.
fn tell(process: &Child) {
    let kill = Command::new("kill").arg(process.id().to_string()).status();
    assert!(kill.unwrap().success());
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
    tell(&receiver);
    assert!(receiver.wait().unwrap().success());
    assert!(ended.exists());
    assert_eq!(dev.json("queue get orders")["stats"]["ackedTotal"], 1);
}
