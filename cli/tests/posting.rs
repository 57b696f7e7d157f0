//! `roadstead receive --post`: messages as HTTP requests.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::collections::BTreeSet;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::endpoint::{Answer, Endpoint, OK, Request};
use common::{Dev, code, signal, stderr, until};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};

type Reply = fn(&Request) -> Answer;

fn poster(dev: &Dev, endpoint: &Endpoint, more: &[&str]) -> Child {
    let url = format!("http://{}/hooks?shop=1", endpoint.address);
    let mut arguments = vec!["receive", "orders", "--follow", "--post", &url];
    arguments.extend(more);
    dev.spawn(&arguments)
}

fn stats(dev: &Dev, queue: &str) -> Value {
    dev.json(&format!("queue get {queue}"))["stats"].clone()
}

/// How a dead letter died.
fn dead(dev: &Dev) -> String {
    let mut error = String::new();
    until("a dead letter", || {
        let peeked = dev.json("queue peek dead");
        error = peeked[0]["deadLetter"]["error"]
            .as_str()
            .unwrap_or("")
            .into();
        !error.is_empty()
    });
    dev.stdout("receive dead --ack");
    error
}

#[test]
fn a_message_is_posted_as_an_event_and_acked() {
    let dev = Dev::start();
    let endpoint = Endpoint::start(|_| OK);
    let sent = "send orders {\"n\":1} --key c3 --content-type application/json \
                --attribute type=order.paid --attribute Region=eu --attribute shop=a%b";
    let id = dev.json(sent)["id"].clone();
    let url = format!("http://{}/hooks?shop=1", endpoint.address);
    let line = format!("receive orders --post {url} --post-header Authorization:x");
    let summary = dev.json(&line);
    assert_eq!(
        (&summary["delivered"], &summary["acked"]),
        (&1.into(), &1.into())
    );
    assert_eq!(stats(&dev, "orders")["ackedTotal"], 1);
    let seen = endpoint.seen();
    let request = &seen[0];
    assert_eq!((seen.len(), &*request.body), (1, "{\"n\":1}"));
    assert_eq!(request.line, "POST /hooks?shop=1 HTTP/1.1");
    for (name, value) in [
        ("ce-specversion", "1.0"),
        ("ce-id", id.as_str().unwrap()),
        ("ce-source", "/roadstead/default/orders"),
        ("ce-type", "order.paid"),
        ("ce-subject", "c3"),
        ("ce-shop", "a%25b"),
        ("roadstead-attribute-region", "eu"),
        ("roadstead-delivery-count", "1"),
        ("content-type", "application/json"),
        ("authorization", "x"),
        ("host", &endpoint.address),
    ] {
        assert_eq!(request.headers[name], value, "{name}");
    }

    dev.stdout("send orders {\"n\":2} --content-type application/json");
    dev.stdout(&format!(
        "receive orders --post {url} --cloudevents structured"
    ));
    let request = &endpoint.seen()[1];
    let event: Value = serde_json::from_str(&request.body).unwrap();
    assert_eq!(event["data"], json!({"n": 2}));
    assert_eq!(event["source"], "/roadstead/default/orders");
    let media = &request.headers["content-type"];
    assert!(media.starts_with("application/cloudevents+json"), "{media}");
}

#[test]
fn a_busy_endpoint_says_when_to_try_again() {
    let dev = Dev::start();
    for status in [429, 503] {
        // As the queue says it would be tomorrow.
        dev.stdout("queue create slow --backoff fixed --backoff-initial 1h");
        dev.stdout("send slow x");
        let endpoint = Endpoint::start(move |request| match request.number {
            0 => Answer::Status(status, "retry-after: 2\r\n", "later"),
            _ => OK,
        });
        let url = format!("http://{}/", endpoint.address);
        let start = Instant::now();
        let refused = dev.run(&format!("receive slow --post {url}"));
        assert_eq!(code(&refused), Some(1), "{refused:?}");
        assert!(
            stderr(&refused).contains("later; it goes back"),
            "{refused:?}"
        );
        dev.stdout(&format!("receive slow --post {url} --wait 20s"));
        let took = start.elapsed();
        assert!(took >= Duration::from_secs(2), "{took:?}");
        assert_eq!(endpoint.seen()[1].headers["roadstead-delivery-count"], "2");
        dev.stdout("queue delete slow");
    }
}

#[test]
fn what_is_not_taken_is_tried_again_and_dies_with_the_reason() {
    let dev = Dev::start();
    dev.stdout("queue create dead");
    dev.stdout("queue create jobs --dead-letter dead --max-deliveries 2 --backoff none");
    let post = |endpoint: &str| {
        dev.stdout("send jobs x");
        let line = "receive jobs --follow --post-timeout 2s --post";
        let url = format!("http://{endpoint}/");
        let mut arguments: Vec<&str> = line.split(' ').collect();
        arguments.push(&url);
        let mut poster = dev.spawn(&arguments);
        let why = dead(&dev);
        signal(&poster, "TERM");
        assert!(poster.wait().unwrap().success());
        why
    };
    let cases: [(Reply, &str); 5] = [
        (
            |_| Answer::Status(500, "", "out of  order\r\n"),
            "500 Internal Server Error: out of order",
        ),
        (
            |_| Answer::Status(404, "retry-after: 9\r\n", ""),
            "the answer was 404 Not Found",
        ),
        (
            |_| Answer::Status(301, "location: /\r\n", ""),
            "301 Moved Permanently",
        ),
        (|_| Answer::Hang, "in 2s"),
        (|_| Answer::Close, "no answer from"),
    ];
    for (reply, words) in cases {
        let endpoint = Endpoint::start(reply);
        let why = post(&endpoint.address);
        assert!(why.contains(words), "{words}: {why}");
        assert_eq!(endpoint.seen().len(), 2, "{words}");
    }
    let why = post("127.0.0.1:1");
    assert!(why.contains("refused"), "{why}");
}

#[test]
fn several_are_posted_at_once_on_connections_that_are_kept() {
    let dev = Dev::start();
    let lines: Vec<String> = (0..200).map(|n| format!("{n}\n")).collect();
    dev.run_with("send orders --ndjson -", &lines.concat());
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let highest = most.clone();
    let endpoint = Endpoint::start(move |_| {
        highest.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        sleep(Duration::from_millis(100));
        now.fetch_sub(1, Ordering::SeqCst);
        OK
    });
    let line = format!(
        "receive orders -c 150 --concurrency 8 --post http://{}",
        endpoint.address
    );
    assert_eq!(dev.json(&line)["acked"], 150);
    let seen = endpoint.seen();
    let bodies: BTreeSet<&str> = seen.iter().map(|request| &*request.body).collect();
    let connections: BTreeSet<_> = seen.iter().map(|request| request.connection).collect();
    assert_eq!((seen.len(), bodies.len()), (150, 150));
    assert_eq!(most.load(Ordering::SeqCst), 8);
    assert!(connections.len() <= 16, "{connections:?}");
    let stats = stats(&dev, "orders");
    assert_eq!(
        (&stats["ready"], &stats["redeliveredTotal"]),
        (&50.into(), &0.into()),
        "{stats}"
    );
}

#[test]
fn a_lease_lasts_as_long_as_the_answer_takes() {
    let dev = Dev::start();
    dev.stdout("queue update orders --lease 3s");
    dev.stdout("send orders x");
    let endpoint = Endpoint::start(|_| {
        sleep(Duration::from_secs(8));
        OK
    });
    let url = format!("http://{}", endpoint.address);
    assert_eq!(
        dev.json(&format!("receive orders --post {url}"))["acked"],
        1
    );
    assert_eq!(endpoint.seen().len(), 1);
}

#[test]
fn what_is_under_way_may_end_when_it_is_time_to_stop() {
    let dev = Dev::start();
    dev.stdout("send orders slow");
    let endpoint = Endpoint::start(|_| {
        sleep(Duration::from_secs(1));
        OK
    });
    let poster = poster(&dev, &endpoint, &["-o", "json"]);
    until("a request", || endpoint.seen().len() == 1);
    dev.stdout("send orders late");
    signal(&poster, "TERM");
    let output = poster.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(summary["acked"].as_u64() >= Some(1), "{summary}");
    let late = 2 - summary["acked"].as_u64().unwrap();
    assert_eq!(stats(&dev, "orders")["ready"], late);
}

#[test]
fn what_has_no_answer_when_the_grace_is_over_goes_back_uncounted() {
    let dev = Dev::start();
    dev.stdout("send orders slow");
    for signals in [1, 2] {
        let endpoint = Endpoint::start(|_| Answer::Hang);
        let grace = if signals == 1 { "500ms" } else { "50s" };
        let poster = poster(&dev, &endpoint, &["--grace", grace]);
        until("a request", || endpoint.seen().len() == 1);
        let start = Instant::now();
        for _ in 0..signals {
            signal(&poster, "TERM");
            sleep(Duration::from_millis(100));
        }
        let output = poster.wait_with_output().unwrap();
        assert!(start.elapsed() < Duration::from_secs(10), "{output:?}");
        assert_eq!(code(&output), Some(1), "{output:?}");
        let said = stderr(&output);
        assert!(said.contains("1 of 1 messages not done"), "{said}");
        assert!(said.contains("handed back"), "{said}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 handed back"));
        assert_eq!(endpoint.seen()[0].headers["roadstead-delivery-count"], "1");
    }
    assert_eq!(dev.json("receive orders --ack")["deliveryCount"], 1);
}

#[test]
fn what_is_delivered_at_most_once_is_posted_once() {
    let dev = Dev::start();
    dev.stdout("queue create once --at-most-once");
    for body in ["a", "b", "c"] {
        dev.stdout(&format!("send once {body}"));
    }
    let endpoint = Endpoint::start(|_| Answer::Status(500, "", ""));
    let line = format!("receive once -c 2 --post http://{}", endpoint.address);
    let failed = dev.run(&line);
    assert!(stderr(&failed).contains("it is lost"), "{failed:?}");
    assert_eq!(endpoint.seen().len(), 2);
    assert_eq!(dev.stdout("receive once --ack").trim(), "c");
}

#[test]
fn an_endpoint_is_trusted_by_its_authority() {
    let dev = Dev::start();
    let folder = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = folder.path().join("ca.crt");
    std::fs::write(&ca, authority.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(authority, key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let secret = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth();
    let config = config
        .with_single_cert(vec![certificate.der().clone()], secret)
        .unwrap();
    let endpoint = Endpoint::secure(config);
    let url = format!(
        "https://{}",
        endpoint.address.replace("127.0.0.1", "localhost")
    );

    dev.stdout("queue update orders --backoff none");
    dev.stdout("send orders x");
    let ca = ca.to_str().unwrap();
    // Without it the certificate is unknown, or the system has none at all.
    let refused = dev.run(&format!("receive orders --post {url}"));
    assert_eq!(code(&refused), Some(1), "{refused:?}");
    assert!(stderr(&refused).contains("certificate"), "{refused:?}");
    dev.stdout(&format!("receive orders --post {url} --post-ca-file {ca}"));
    assert_eq!(endpoint.seen().len(), 1);
    let missing = dev.run(&format!(
        "receive orders --post {url} --post-ca-file /nowhere"
    ));
    assert!(
        stderr(&missing).contains("cannot read CA certificates /nowhere"),
        "{missing:?}"
    );
}

#[test]
fn options_that_do_not_fit_are_refused() {
    let dev = Dev::start();
    for (line, words) in [
        ("receive orders --post shop/hooks", "is no URL"),
        ("receive orders --post http://a:b@shop/", "by --post-header"),
        (
            "receive orders --post http://shop --ack",
            "cannot be used with",
        ),
        ("receive orders --post-timeout 1s", "--post <URL>"),
        (
            "receive orders --exec true --concurrency 3",
            "cannot be used with",
        ),
        (
            "receive orders --post http://shop --concurrency 0",
            "at least 1",
        ),
        (
            "receive orders --post http://shop --post-header ce-id:1",
            "follows from the message",
        ),
    ] {
        let refused = dev.run(line);
        assert_eq!(code(&refused), Some(2), "{line}: {refused:?}");
        assert!(stderr(&refused).contains(words), "{line}: {refused:?}");
    }
}
