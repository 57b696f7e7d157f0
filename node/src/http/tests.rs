//! The listener over TCP, as a kubelet or Prometheus asks it.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

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

async fn ask(address: SocketAddr, line: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{line} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
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
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    assert!(TcpStream::connect(address).await.is_err());
}
