//! What `roadstead dev` and `roadstead demo` refuse before they start.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::fs;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{BINARY, Dev, code, stderr};

/// What a command says that has ended by itself after a few seconds, in failure.
fn refusal_of(arguments: &[&str]) -> String {
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
    assert_eq!(code(&output), Some(1), "{output:?}");
    stderr(&output)
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
    let said = refusal_of(&["dev", "--port", "0", "--data-dir", path]);
    assert!(
        said.contains("of 3 nodes") && said.contains("--nodes 3"),
        "{said}"
    );
    assert!(start.elapsed() < Duration::from_secs(5), "{said}");

    fs::remove_file(folder.path().join("node/ca.crt")).unwrap();
    let said = refusal_of(&["dev", "--port", "0", "--nodes", "3", "--data-dir", path]);
    assert_eq!(said.matches("No such file").count(), 1, "{said}");
}
