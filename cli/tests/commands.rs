//! The binary as people run it, against a cluster of its own.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{BINARY, Dev, code, signal, stderr};
use roadstead_client::Client;
use roadstead_client::proto::TransferLeadershipRequest;

#[test]
fn a_queue_from_its_creation_to_its_end() {
    let dev = Dev::start();
    let listed = dev.stdout("queue ls");
    assert!(
        listed.contains("default/orders") && listed.contains("READY"),
        "{listed}"
    );

    dev.stdout("queue create mail --partitions 2 --lease 10s");
    dev.stdout("queue create mail --partitions 2 --lease 10s");
    let other = dev.run("queue create mail --partitions 3");
    assert_eq!(code(&other), Some(6), "{other:?}");

    let id = dev.stdout("send mail hello --attribute from=test");
    let sent = dev.run_with("send mail --ndjson -", "{\"n\":1}\n\n{\"n\":2}\n");
    assert!(
        String::from_utf8_lossy(&sent.stdout).contains("sent 2"),
        "{sent:?}"
    );
    let sent = dev.run_with("send mail --ndjson -", "no json\n{\"n\":3}\n");
    assert_eq!(code(&sent), Some(1), "{sent:?}");
    let why = String::from_utf8_lossy(&sent.stderr);
    assert!(why.contains("line 1 of -"), "{why}");
    let peeked = dev.json("queue peek mail");
    assert_eq!(peeked.as_array().unwrap().len(), 3);
    let of_id = peeked
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["id"] == id.trim())
        .unwrap();
    assert_eq!(
        (&of_id["body"], &of_id["attributes"]["from"]),
        (&"hello".into(), &"test".into())
    );

    let looked = dev.stdout("receive mail -c 3");
    assert!(
        looked.contains("hello") && looked.contains("{\"n\":2}"),
        "{looked}"
    );
    let taken = dev.run("receive mail -c 2 --ack");
    assert_eq!(
        String::from_utf8_lossy(&taken.stdout).lines().count(),
        2,
        "{taken:?}"
    );
    assert_eq!(dev.json("queue get mail")["stats"]["ackedTotal"], 2);

    let full = dev.run("queue delete mail");
    assert_eq!(code(&full), Some(6), "{full:?}");
    let why = String::from_utf8_lossy(&full.stderr);
    assert!(
        why.contains("--with-messages") && !why.contains("ALWAYS"),
        "{why}"
    );
    dev.stdout("queue purge mail");
    dev.stdout("queue delete mail");
    let gone = dev.run("queue get mail");
    assert_eq!(code(&gone), Some(3));
    assert!(
        String::from_utf8_lossy(&gone.stderr).contains("default/mail"),
        "{gone:?}"
    );
}

#[test]
fn a_body_comes_out_as_it_went_in_or_is_refused_at_once() {
    let dev = Dev::start();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("body");
    std::fs::write(&file, [0, 1, 0xff, 0xfe]).unwrap();
    dev.stdout(&format!("send orders -f {}", file.display()));
    assert_eq!(dev.json("receive orders")["bodyBase64"], "AAH//g==");
    let raw = dev.run("receive orders --ack");
    assert_eq!(raw.stdout, [0, 1, 0xff, 0xfe, b'\n']);

    let exact = r#"{"b": 1,"a":12345678901234567890123,"b":2.0}"#;
    dev.run_with("send orders --ndjson -", exact);
    assert_eq!(dev.json("queue peek orders")[0]["body"], exact);
    let first = dev.json("receive orders --ack");
    assert_eq!(first["body"], exact);
    // What was received can be sent again.
    dev.run_with("send orders --ndjson -", first["body"].as_str().unwrap());
    assert_eq!(dev.json("receive orders --ack")["body"], exact);

    std::fs::write(&file, vec![7; 17 << 20]).unwrap();
    let start = Instant::now();
    let large = dev.run(&format!("send orders -f {}", file.display()));
    assert_eq!(code(&large), Some(2));
    let why = String::from_utf8_lossy(&large.stderr);
    assert!(why.contains("at most 16777216"), "{why}");
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "it is not tried again"
    );
}

#[test]
fn the_cluster_is_shown() {
    let dev = Dev::start();
    // Shards are placed and report a moment after the node is ready.
    let started = Instant::now();
    let status = loop {
        let status = dev.json("cluster status");
        if status["shards"].as_array().map(Vec::len) == Some(3) {
            break status;
        }
        assert!(started.elapsed() < Duration::from_secs(10), "{status}");
        sleep(Duration::from_millis(100));
    };
    assert_eq!(status["members"][0]["name"], "node-1");
    let tls = dev.report["adminTls"].as_str().unwrap();
    let (admin, id) = (&dev.report["nodes"][0]["admin"], &dev.report["clusterId"]);
    let (admin, id) = (admin.as_str().unwrap(), id.as_str().unwrap());
    let members = dev.stdout(&format!(
        "cluster members --endpoint {admin} --server-name {id} --ca-file {tls}/ca.crt \
         --cert-file {tls}/tls.crt --key-file {tls}/tls.key"
    ));
    assert!(members.contains("node-1"), "{members}");
}

#[test]
fn failures_have_codes_and_say_what_to_do() {
    let nobody = Command::new(BINARY)
        .args([
            "queue",
            "ls",
            "--endpoint",
            "127.0.0.1:1",
            "--timeout",
            "200ms",
        ])
        .output()
        .unwrap();
    assert_eq!(code(&nobody), Some(4));
    let text = String::from_utf8_lossy(&nobody.stderr);
    assert!(
        text.contains("127.0.0.1:1") && text.contains("check that"),
        "{text}"
    );
    for usage in [
        "queue get",
        "queue create x --partitions 0",
        "queue update x --max-deliveries 0",
        "queue update x --max-in-flight 1000001",
        "bench --duration 0s",
        "bench --producers 0",
        "bench --size 31",
        "queue create x/y/z",
        "-n Bad_NS queue ls",
        "receive x -c 0",
        "demo --clients 0",
        "queue get bad.name",
        "send mail",
        "send mail body --file README.md",
        "bench --batch 1001",
        "bench --outstanding 10 --rate 5",
        "queue ls --endpoint nonsense",
    ] {
        let output = Command::new(BINARY)
            .args(usage.split_whitespace())
            .output()
            .unwrap();
        assert_eq!(code(&output), Some(2), "{usage}: {output:?}");
        let named = ["x/y/z", "Bad_NS"];
        for name in named.iter().filter(|name| usage.contains(**name)) {
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(text.contains(&format!("{name:?} is no")), "{text}");
        }
    }
}

#[test]
fn wrong_values_are_told_from_wrong_options() {
    for (line, words) in [
        ("queue create x --partitions -1", "-1 is not in 1..=1024"),
        (
            "receive x -c 0",
            "'0' for '--count <COUNT>': must be at least 1",
        ),
        ("demo --messages -1", "must be at least 1"),
        ("bench --producers 0", "must be at least 1"),
        ("queue ls --timeout 0s", "it must be more than 0"),
        ("queue create x --lease -5s", "\"-5s\" is no duration"),
        ("send x body --delay -1s", "\"-1s\" is no duration"),
        ("bench --size 100Mi", "at most 16777216"),
        ("queue update x", "say what to change, by --partitions, "),
        ("send x body -a a=1 -a b=1 -a a=2", "attribute \"a\""),
    ] {
        let output = common::run(&line.split(' ').collect::<Vec<_>>());
        assert_eq!(code(&output), Some(2), "{line}: {output:?}");
        assert!(stderr(&output).contains(words), "{line}: {output:?}");
    }
}

#[test]
fn arguments_of_any_bytes_are_read() {
    for format in ["table", "json"] {
        let mut command = Command::new(BINARY);
        command.args(["-o", format, "queue", "get"]);
        let output = command.arg(OsStr::from_bytes(b"\xff")).output().unwrap();
        assert_eq!(code(&output), Some(2), "{output:?}");
        let said = stderr(&output);
        assert!(said.contains("invalid UTF-8"), "{said}");
        assert_eq!(
            said.contains("INVALID_ARGUMENT"),
            format == "json",
            "{said}"
        );
    }
}

#[test]
fn the_usage_of_what_is_missing_names_nothing_that_is_given() {
    let mut command = Command::new(BINARY);
    command.env("ROADSTEAD_ENDPOINT", "localhost:1");
    command.env("POD_NAME", "p");
    let output = command.args(["load", "produce"]).output().unwrap();
    assert_eq!(code(&output), Some(2), "{output:?}");
    let said = stderr(&output);
    let usage = said.lines().find(|line| line.starts_with("Usage: "));
    let wanted = "load produce --queue <QUEUE> --ledger <FILE> --messages <MESSAGES>";
    assert!(usage.is_some_and(|usage| usage.ends_with(wanted)), "{said}");
}

#[test]
fn errors_name_what_is_wrong_for_people_and_for_programs() {
    let dev = Dev::start();
    let missing = dev.run("queue get nowhere -o json");
    assert_eq!(code(&missing), Some(3));
    let error: serde_json::Value = serde_json::from_slice(&missing.stderr).unwrap();
    assert_eq!(error["error"]["code"], "NOT_FOUND");
    let message = error["error"]["message"].as_str().unwrap();
    assert!(message.contains("default/nowhere"), "{error}");
    let usage = dev.run("queue get -o json");
    assert_eq!(code(&usage), Some(2));
    let error: serde_json::Value = serde_json::from_slice(&usage.stderr).unwrap();
    assert_eq!(error["error"]["code"], "INVALID_ARGUMENT");

    let long = dev.run("queue create long --lease 13h");
    assert_eq!(code(&long), Some(2), "{long:?}");
    assert!(stderr(&long).contains("13h is not in 0s..12h"), "{long:?}");
    let folder = dev.run("send orders -f /tmp");
    assert!(stderr(&folder).contains("cannot read /tmp"), "{folder:?}");
    let http = dev.report["nodes"][0]["http"].as_str().unwrap();
    let other = dev.run(&format!("queue ls --endpoint {http} --timeout 300ms"));
    assert_eq!(code(&other), Some(4), "{other:?}");
    let why = stderr(&other);
    assert!(
        why.contains("no client listener") && why.contains(http),
        "{why}"
    );
}

/// Starts the binary and waits until `begun` says that it is at work.
fn started(dev: &Dev, line: &str, mut begun: impl FnMut() -> bool) -> Child {
    let mut command = Command::new(BINARY);
    command.env("ROADSTEAD_ENDPOINT", &dev.endpoint);
    command.args(line.split_whitespace()).stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    if line.contains("--ndjson") {
        let stdin = child.stdin.as_mut().unwrap();
        stdin.write_all(b"{\"n\":1}\n{\"n\":2}\n").unwrap();
    }
    let start = Instant::now();
    while !begun() {
        assert!(start.elapsed() < Duration::from_secs(20), "it never began");
        sleep(Duration::from_millis(20));
    }
    child
}

#[test]
fn an_interrupted_benchmark_leaves_no_queue_behind() {
    let dev = Dev::start();
    let line = "bench --duration 30s --warmup 0s --size 32 --producers 1";
    let sent = || dev.stdout("queue ls").contains("bench-");
    let child = started(&dev, line, sent);
    signal(&child, "INT");
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), Some(1), "{output:?}");
    assert!(stderr(&output).contains("interrupted"), "{output:?}");
    let left = dev.stdout("queue ls");
    assert!(!left.contains("bench-"), "{left}");
}

#[test]
fn an_interrupted_send_says_how_many_were_accepted() {
    let dev = Dev::start();
    let arrived = || dev.json("queue get orders")["stats"]["ready"] == 2;
    let mut child = started(&dev, "send orders --ndjson -", arrived);
    // It stays open and says nothing more; waiting for the output would close it.
    let stdin = child.stdin.take();
    signal(&child, "INT");
    let start = Instant::now();
    let output = child.wait_with_output().unwrap();
    assert!(start.elapsed() < Duration::from_secs(10), "{output:?}");
    assert_eq!(code(&output), Some(1), "{output:?}");
    assert!(
        stderr(&output).contains("2 accepted, 0 failed"),
        "{output:?}"
    );
    drop(stdin);
}

#[tokio::test]
async fn leadership_goes_to_members_only() {
    let dev = Dev::start();
    let tls = Path::new(dev.report["adminTls"].as_str().unwrap());
    let admin = dev.report["nodes"][0]["admin"].as_str().unwrap();
    let client = Client::builder()
        .endpoints([admin])
        .server_name(dev.report["clusterId"].as_str().unwrap())
        .ca_file(tls.join("ca.crt"))
        .identity_files(tls.join("tls.crt"), tls.join("tls.key"))
        .direct(false);
    let client = client.connect().await.unwrap();
    let request = TransferLeadershipRequest {
        shard: Some(1),
        to_node: 0xdead,
        ..TransferLeadershipRequest::default()
    };
    let error = client.transfer_leadership(request).await.unwrap_err();
    let said = error.to_string();
    assert!(said.contains("000000000000dead is not a member"), "{said}");
}

#[test]
fn help_and_logs_say_what_is_true_wherever_they_go() {
    let help = |line: &str| {
        let mut command = Command::new(BINARY);
        command.args(line.split_whitespace()).arg("--help");
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let (create, update) = (help("queue create"), help("queue update"));
    assert!(create.contains("Defaults: 1 partition"), "{create}");
    let own = update.split("Connection").next().unwrap();
    assert!(!own.to_lowercase().contains("default:"), "{update}");
    let logged = Command::new(BINARY)
        .args("queue ls --endpoint 127.0.0.1:1 --timeout 200ms".split(' '))
        .env("ROADSTEAD_LOG", "trace")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&logged.stderr);
    assert!(text.contains("TRACE") && !text.contains('\x1b'), "{text}");
}

#[test]
fn completions_are_scripts() {
    for shell in ["bash", "zsh", "fish"] {
        let output = Command::new(BINARY)
            .args(["completions", shell])
            .output()
            .unwrap();
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(
            script.contains("roadstead") && script.contains("transfer-leader"),
            "{shell}"
        );
    }
}
