//! The listener over TCP, as a kubelet or Prometheus asks it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::*;

struct Stub(Result<(), String>);

impl Observe for Stub {
    fn readiness(&self) -> Result<(), String> {
        self.0.clone()
    }

    fn observe(&self) -> Observation {
        Observation::default()
    }
}

async fn start(ready: Result<(), String>) -> (SocketAddr, CancellationToken) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    tokio::spawn(serve(listener, Arc::new(Stub(ready)), stop.clone()));
    (address, stop)
}

/// A listener whose connections may take only this long.
async fn start_within(moment: Duration) -> (SocketAddr, CancellationToken) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let (node, limits) = (
        Arc::new(Stub(Ok(()))),
        Limits {
            header: moment,
            life: moment,
            ..Limits::default()
        },
    );
    tokio::spawn(serve_within(listener, node, stop.clone(), limits));
    (address, stop)
}

async fn ask(address: SocketAddr, line: &str) -> String {
    try_to_ask(address, line).await.unwrap()
}

async fn try_to_ask(address: SocketAddr, line: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("{line} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// Whether the listener closes a connection soon.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let end = async { while stream.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {} };
    timeout(Duration::from_secs(5), end).await.is_ok()
}

#[tokio::test]
async fn readiness_is_the_nodes_own_and_says_why_not() {
    let (address, _stop) = start(Ok(())).await;
    assert!(
        ask(address, "GET /readyz")
            .await
            .starts_with("HTTP/1.1 200 ")
    );

    let (address, _stop) = start(Err("group 3 has not caught up".to_owned())).await;
    let answer = ask(address, "GET /readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(
        answer.ends_with("not ready: group 3 has not caught up\n"),
        "{answer}"
    );
    assert!(
        ask(address, "GET /livez")
            .await
            .starts_with("HTTP/1.1 200 ")
    );
}

#[tokio::test]
async fn metrics_are_open_metrics_and_nothing_else_is_served() {
    let (address, stop) = start(Ok(())).await;
    let answer = ask(address, "GET /metrics").await;
    assert!(
        answer.contains("content-type: application/openmetrics-text"),
        "{answer}"
    );
    assert!(
        answer.contains("roadstead_build_info{version=\""),
        "{answer}"
    );
    assert!(
        ask(address, "GET /secrets")
            .await
            .starts_with("HTTP/1.1 404 ")
    );
    assert!(
        ask(address, "POST /readyz")
            .await
            .starts_with("HTTP/1.1 405 ")
    );

    stop.cancel();
    sleep(Duration::from_millis(20)).await;
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_probe_is_answered_while_idle_connections_come_which_are_bounded() {
    let (address, _stop) = start(Ok(())).await;
    let flood = tokio::spawn(async move {
        let mut idle = VecDeque::new();
        for _ in 0..10_000 {
            idle.push_back(TcpStream::connect(address).await.unwrap());
            // Those that the listener must have closed need no descriptor here.
            if idle.len() > 512 {
                idle.pop_front();
            }
        }
        idle
    });
    while !flood.is_finished() {
        let mut tries = 0;
        // As often as a kubelet asks before it restarts a pod.
        while !try_to_ask(address, "GET /livez")
            .await
            .is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 "))
        {
            tries += 1;
            assert!(tries < 3, "no answer to a probe");
        }
    }
    let mut idle = flood.await.unwrap();
    for stream in idle.iter_mut().take(256) {
        assert!(is_closed(stream).await);
    }
}

#[tokio::test]
async fn a_header_comes_within_its_time_or_never() {
    let (address, _stop) = start_within(Duration::from_millis(200)).await;
    let mut idle = TcpStream::connect(address).await.unwrap();
    let (mut reads, mut writes) = TcpStream::connect(address).await.unwrap().into_split();
    let trickle = async {
        let _ = writes.write_all(b"GET /livez HTTP/1.1\r\nx: ").await;
        while writes.write_all(b"x").await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    let mut nothing = [0; 64];
    let ended = async {
        tokio::select! {
            () = trickle => {}
            _ = reads.read(&mut nothing) => {}
        }
    };
    assert!(timeout(Duration::from_secs(5), ended).await.is_ok());
    assert!(is_closed(&mut idle).await);
}

#[tokio::test]
async fn who_does_not_read_answers_is_cut() {
    let (address, _stop) = start_within(Duration::from_millis(200)).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let asked = async {
        let request = b"GET /metrics HTTP/1.1\r\nhost: node\r\n\r\n";
        while stream.write_all(request).await.is_ok() {}
    };
    assert!(timeout(Duration::from_secs(10), asked).await.is_ok());
}
