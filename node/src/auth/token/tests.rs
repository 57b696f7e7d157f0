//! Against an API server that this test plays.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::tls::testing::TestCa;
use crate::tls::{ClientTls, Source};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Answers each request with a status line and body chosen by the token in it; ends with the test.
async fn api_server(answer: fn(&str) -> String) -> (SocketAddr, TestCa, Arc<AtomicUsize>) {
    let ca = TestCa::new();
    let tls = ClientTls::open(Source::Memory(ca.issue("localhost", "")))
        .unwrap()
        .current();
    let mut config = (*tls.server).clone();
    config.alpn_protocols.clear();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(tcp).await else {
                continue;
            };
            let mut request = Vec::new();
            while !request.ends_with(b"}}") {
                if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            counter.fetch_add(1, Ordering::Relaxed);
            let answer = answer(&String::from_utf8_lossy(&request));
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.flush().await;
        }
    });
    (address, ca, asked)
}

fn client(address: SocketAddr, ca: &TestCa, directory: &Path) -> TokenAuthenticator {
    std::fs::write(directory.join("ca.crt"), ca.pem()).unwrap();
    std::fs::write(directory.join("token"), "of-this-pod\n").unwrap();
    TokenAuthenticator::new(ApiServer {
        host: "localhost".to_owned(),
        port: address.port(),
        directory: directory.to_owned(),
    })
}

fn created(status: &str) -> String {
    let body = format!(r#"{{"kind":"TokenReview","status":{status}}}"#);
    format!(
        "HTTP/1.1 201 Created\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn review(request: &str) -> String {
    let lower = request.to_ascii_lowercase();
    if !lower.starts_with("post /apis/authentication.k8s.io/v1/tokenreviews http/1.1")
        || !lower.contains("authorization: bearer of-this-pod\r\n")
        || !request.contains(r#""audiences":["roadstead"]"#)
    {
        return "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n".to_owned();
    }
    let user = r#"{"username":"system:serviceaccount:shop:worker"}"#;
    created(&if request.contains(r#""token":"good""#) {
        format!(r#"{{"authenticated":true,"audiences":["roadstead"],"user":{user}}}"#)
    } else {
        r#"{"authenticated":false}"#.to_owned()
    })
}

#[tokio::test]
async fn a_token_is_asked_for_once_and_remembered() {
    let directory = tempfile::tempdir().unwrap();
    let (address, ca, asked) = api_server(review).await;
    let tokens = client(address, &ca, directory.path());
    let shown = || tokens.authenticate(Some(b"Bearer good"), HERE);
    let (one, two, three) = tokio::join!(shown(), shown(), shown());
    for principal in [one, two, three, shown().await] {
        assert_eq!(principal.unwrap().to_string(), "serviceaccount shop/worker");
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);

    for _ in 0..2 {
        let error = tokens
            .authenticate(Some(b"bearer bad"), HERE)
            .await
            .unwrap_err();
        assert_eq!(error.code, Code::Unauthenticated);
        assert!(error.message.contains("audience than roadstead"), "{error}");
    }
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn an_api_server_that_refuses_or_is_not_itself_leaves_callers_unknown() {
    let directory = tempfile::tempdir().unwrap();
    let forbid = |_: &str| "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n".to_owned();
    let (address, ca, _) = api_server(forbid).await;
    let tokens = client(address, &ca, directory.path());
    let error = tokens
        .authenticate(Some(b"Bearer good"), HERE)
        .await
        .unwrap_err();
    assert_eq!(error.code, Code::Unavailable);
    assert!(error.message.contains("403 Forbidden"), "{error}");
    assert!(error.detail.retryable);

    let tokens = client(address, &TestCa::new(), directory.path());
    let error = tokens
        .authenticate(Some(b"Bearer good"), HERE)
        .await
        .unwrap_err();
    assert_eq!(error.code, Code::Unavailable, "{error}");
}

#[tokio::test]
async fn an_endless_answer_is_cut() {
    let directory = tempfile::tempdir().unwrap();
    let long = |_: &str| {
        let body = "x".repeat(100_000);
        format!("HTTP/1.1 201 Created\r\ncontent-length: 100000\r\n\r\n{body}")
    };
    let (address, ca, _) = api_server(long).await;
    let tokens = client(address, &ca, directory.path());
    let error = tokens
        .authenticate(Some(b"Bearer good"), HERE)
        .await
        .unwrap_err();
    assert!(error.message.contains("length limit exceeded"), "{error}");
}

/// Never answers.
struct Silent;

impl Reviewer for Silent {
    fn review(self: Arc<Self>, _: String) -> BoxFuture<'static, Verdict> {
        std::future::pending().boxed()
    }
}

#[tokio::test]
async fn a_silent_api_server_costs_a_bounded_time() {
    let tokens = TokenAuthenticator::with_reviewer(Arc::new(Silent), Duration::from_millis(20));
    let error = tokens
        .authenticate(Some(b"Bearer good"), HERE)
        .await
        .unwrap_err();
    assert_eq!(error.code, Code::Unavailable);
    assert!(error.message.contains("did not answer in 20ms"), "{error}");
}

/// Knows one token at once; answers of no other.
struct OneOnly;

impl Reviewer for OneOnly {
    fn review(self: Arc<Self>, token: String) -> BoxFuture<'static, Verdict> {
        if token == "good" {
            return std::future::ready(Ok(Some(Principal::Operator))).boxed();
        }
        std::future::pending().boxed()
    }
}

/// Waits for tokens that were made up.
fn make_up(tokens: &Arc<TokenAuthenticator>, address: IpAddr) -> tokio::task::JoinSet<()> {
    let mut callers = tokio::task::JoinSet::new();
    for number in 0..100 {
        let tokens = Arc::clone(tokens);
        callers.spawn(async move {
            let header = format!("Bearer {number}-{address}");
            let _ = tokens.authenticate(Some(header.as_bytes()), address).await;
        });
    }
    callers
}

async fn is_known(tokens: &TokenAuthenticator) -> bool {
    let good = tokens.authenticate(Some(b"Bearer good"), HERE);
    let good = timeout(Duration::from_secs(1), good).await;
    good.is_ok_and(|known| known.is_ok())
}

#[tokio::test]
async fn tokens_that_somebody_makes_up_keep_no_other_address_waiting() {
    let tokens = TokenAuthenticator::with_reviewer(Arc::new(OneOnly), REVIEW_TIMEOUT);
    let tokens = Arc::new(tokens);
    let _callers = make_up(&tokens, Ipv4Addr::new(10, 0, 0, 1).into());
    tokio::task::yield_now().await;
    assert!(is_known(&tokens).await);
}

#[tokio::test]
async fn callers_who_went_away_keep_nobody_waiting() {
    let tokens = TokenAuthenticator::with_reviewer(Arc::new(OneOnly), REVIEW_TIMEOUT);
    let tokens = Arc::new(tokens);
    let mut callers: Vec<_> = (1..=4)
        .map(|last| make_up(&tokens, Ipv4Addr::new(10, 0, 0, last).into()))
        .collect();
    tokio::time::sleep(Duration::from_millis(50)).await;
    for callers in &mut callers {
        callers.shutdown().await;
    }
    assert!(is_known(&tokens).await);
}

#[tokio::test]
async fn other_headers_are_refused_without_asking() {
    let tokens = TokenAuthenticator::with_reviewer(Arc::new(Silent), REVIEW_TIMEOUT);
    let long = format!("Bearer {}", "x".repeat(MAX_TOKEN + 1));
    let headers: [Option<&[u8]>; 7] = [
        None,
        Some(b""),
        Some(b"Bearer"),
        Some(b"Bearer "),
        Some(b"Basic abc"),
        Some(b"Bearer \xff"),
        Some(long.as_bytes()),
    ];
    for header in headers {
        let error = tokens.authenticate(header, HERE).await.unwrap_err();
        assert_eq!(error.code, Code::Unauthenticated, "{header:?}");
    }
}
