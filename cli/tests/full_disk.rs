//! A node whose disk fills, on a small file system of its own.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{Dev, code, stderr};

const FILE_SYSTEM: &str = "1g";
const BODY: usize = 60_000;
const LINES: usize = 400;
/// Sends are refused long before.
const MOST: usize = 30_000;

/// Sends until sends are refused; how many were accepted.
fn fill(dev: &Dev) -> usize {
    let line = format!("\"{}\"\n", "x".repeat(BODY));
    let lines = line.repeat(LINES);
    let mut accepted = 0;
    while accepted < MOST {
        let sent = dev.run_with("send q --ndjson - -o json", &lines);
        let said: serde_json::Value = serde_json::from_slice(&sent.stdout).unwrap();
        accepted += usize::try_from(said["sent"].as_u64().unwrap()).unwrap();
        if code(&sent) == Some(7) {
            return accepted;
        }
        assert_eq!(code(&sent), Some(0), "{}", stderr(&sent));
    }
    panic!("{accepted} messages fit into {FILE_SYSTEM}");
}

/// Takes what is left of the file system, to the last byte.
fn take_the_rest(path: &PathBuf) {
    let mut ballast = File::create(path).unwrap();
    for size in [1 << 20, 4 << 10, 1] {
        let piece = vec![0; size];
        loop {
            match ballast.write_all(&piece) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[test]
fn a_full_disk_loses_nothing_refuses_sends_and_takes_them_again() {
    let mut dev = Dev::on_file_system(FILE_SYSTEM);
    dev.stdout("queue create q");
    let accepted = fill(&dev);
    assert!(accepted > 1_000, "{accepted} of {BODY} bytes each");
    let ballast = dev.root().join("ballast");
    take_the_rest(&ballast);
    let mut received = 0;
    while received < accepted {
        let count = (accepted - received).min(1_000);
        let got = dev.stdout(&format!("receive q -c {count} --wait 20s --ack -o json"));
        let more = got.lines().count();
        assert!(more > 0, "{received} of {accepted} received");
        received += more;
    }
    assert!(dev.is_running());
    std::fs::remove_file(&ballast).unwrap();
    let start = Instant::now();
    loop {
        let sent = dev.run("send q hello");
        if sent.status.success() {
            break;
        }
        assert!(
            start.elapsed() < Duration::from_mins(2),
            "{}",
            stderr(&sent)
        );
        sleep(Duration::from_millis(500));
    }
    assert!(dev.is_running());
}
