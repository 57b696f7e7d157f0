//! A cluster for the tests of one file.

#![allow(dead_code, reason = "not every file of tests uses all of it")]

pub mod endpoint;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

pub const BINARY: &str = env!("CARGO_BIN_EXE_roadstead");

const DEV: [&str; 7] = ["dev", "--port", "0", "--shards", "2", "-o", "json"];
/// Where a file system of its own is; nobody else sees it there.
const MOUNT: &str = "/mnt";

/// `roadstead dev`, which ends with its value.
pub struct Dev {
    process: Child,
    pub endpoint: String,
    pub report: Value,
}

impl Dev {
    pub fn start() -> Self {
        let quickstart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/quickstart");
        Self::with(&["-f", quickstart.to_str().unwrap()])
    }

    pub fn with(arguments: &[&str]) -> Self {
        let mut command = Command::new(BINARY);
        command.args(DEV).args(arguments);
        Self::run_as(command)
    }

    /// One whose data stays here when it ends; port 0 is any.
    pub fn kept(data: &Path, port: &str) -> Self {
        let mut command = Command::new(BINARY);
        command.args(["dev", "--shards", "2", "-o", "json", "--port", port]);
        command.arg("--data-dir").arg(data);
        Self::run_as(command)
    }

    /// One whose data is on a file system of its own, in memory, of this size: `d` in its root.
    pub fn on_file_system(size: &str) -> Self {
        // As root a mount of its own is enough; others need a user of their own for it.
        let root = fs::metadata("/proc/self").unwrap().uid() == 0;
        let mut command = Command::new("unshare");
        command.arg(if root { "-m" } else { "-Urm" });
        let script = r#"mount -t tmpfs -o size=$1 tmpfs "$2" && at=$2 && shift 2 &&
            exec "$@" --data-dir "$at/d""#;
        command.args(["sh", "-c", script, "sh", size, MOUNT, BINARY]);
        command.args(DEV);
        Self::run_as(command)
    }

    /// The root of its own file system.
    pub fn root(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{MOUNT}", self.process.id()))
    }

    pub fn is_running(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    fn run_as(mut command: Command) -> Self {
        let mut process = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut text = String::new();
        while serde_json::from_str::<Value>(&text).is_err() {
            text += &lines
                .next()
                .expect("dev ended before it said where it is")
                .unwrap();
        }
        let report: Value = serde_json::from_str(&text).unwrap();
        let endpoint = report["nodes"][0]["client"].as_str().unwrap().to_owned();
        Self {
            process,
            endpoint,
            report,
        }
    }

    /// Ends it; what it has said on stderr.
    pub fn stop(mut self) -> String {
        self.tell();
        let mut said = String::new();
        let mut stderr = self.process.stderr.take().unwrap();
        stderr.read_to_string(&mut said).unwrap();
        said
    }

    fn tell(&self) {
        self.signal("TERM");
        // One that was stopped hears of it only when it goes on.
        self.signal("CONT");
    }

    /// Sends it a signal, by its name.
    pub fn signal(&self, name: &str) {
        signal(&self.process, name);
    }

    /// Starts the binary against it, with what it says kept.
    pub fn spawn(&self, arguments: &[&str]) -> Child {
        let mut command = Command::new(BINARY);
        command
            .env("ROADSTEAD_ENDPOINT", &self.endpoint)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    pub fn run(&self, line: &str) -> Output {
        self.run_with(line, "")
    }

    pub fn run_with(&self, line: &str, stdin: &str) -> Output {
        let mut command = Command::new(BINARY);
        command
            .env("ROADSTEAD_ENDPOINT", &self.endpoint)
            .args(line.split_whitespace());
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        process
            .stdin
            .take()
            .unwrap()
            .write_all(stdin.as_bytes())
            .unwrap();
        process.wait_with_output().unwrap()
    }

    pub fn stdout(&self, line: &str) -> String {
        let output = self.run(line);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.stdout(&format!("{line} -o json"))).unwrap()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        self.tell();
        let _ = self.process.wait();
    }
}

/// Sends a signal to a process that the test started.
pub fn signal(process: &Child, name: &str) {
    let id = process.id().to_string();
    let kill = Command::new("kill").args(["-s", name, &id]).status();
    assert!(kill.unwrap().success());
}

/// Waits until `check` holds.
pub fn until(what: &str, mut check: impl FnMut() -> bool) {
    let start = Instant::now();
    while !check() {
        assert!(start.elapsed() < Duration::from_mins(2), "never: {what}");
        sleep(Duration::from_millis(20));
    }
}

/// The code that a command ended with.
pub fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

/// The binary with these arguments, without a cluster.
pub fn run(arguments: &[&str]) -> Output {
    Command::new(BINARY).args(arguments).output().unwrap()
}

/// What a command said on stderr.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
