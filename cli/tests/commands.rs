//! The binary as people run it, against a cluster of its own.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{BINARY, Dev, code};

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
    assert_eq!(code(&large), Some(1));
    let why = String::from_utf8_lossy(&large.stderr);
    assert!(why.contains("at most 16777216"), "{why}");
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "it is not tried again"
    );
}

#[test]
fn load_with_a_clean_ledger() {
    let dev = Dev::start();
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (produced, consumed) = (path("produced"), path("consumed"));
    dev.stdout(&format!(
        "load produce --queue orders --messages 500 --ledger {produced}"
    ));
    dev.stdout(&format!(
        "load consume --queue orders --idle 1s --ledger {consumed}"
    ));
    let clean = dev.stdout(&format!("load check {produced} {consumed}"));
    assert_eq!(clean.trim(), "sent=500 acked=500 lost=0 duplicates=0");
    assert_eq!(code(&dev.run(&format!("load check {produced}"))), Some(1));
}

#[test]
fn a_benchmark_without_consumers_says_nothing_of_them() {
    let dev = Dev::start();
    let line = "bench --duration 300ms --warmup 0s --consumers 0 --producers 1 --size 32";
    let text = dev.stdout(line);
    assert!(
        text.contains("send") && !text.contains("end to end"),
        "{text}"
    );
    let value = dev.json(line);
    assert!(
        value["endToEndMs"].is_null() && value["sendMs"]["p50"].is_number(),
        "{value}"
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
