//! What whoever administers a node finds at its peer and admin listener.

use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn administration_has_reflection_and_health() {
    let (ca, directory) = (TestCa::new(), tempfile::tempdir().unwrap());
    let process = start(directory.path(), &ca).await;
    found(&process, &ca).await;
    until_ready(&process).await;
    let channel = as_operator(&process, &ca).await;

    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::FileContainingSymbol(
            "roadstead.v1.AdminService".to_owned(),
        )),
    };
    let mut reflection = ServerReflectionClient::new(channel.clone());
    let asked = reflection.server_reflection_info(tokio_stream::once(ask));
    let reply = asked.await.unwrap().into_inner().message().await.unwrap();
    let reply = format!("{:?}", reply.unwrap().message_response);
    assert!(reply.contains("FileDescriptorResponse"), "{reply}");

    let mut health = HealthClient::new(channel.clone());
    let begun = Instant::now();
    loop {
        let asked = health.check(HealthCheckRequest::default()).await;
        if asked.unwrap().into_inner().status() == ServingStatus::Serving {
            break;
        }
        assert!(begun.elapsed() < LIMIT, "the node is ready");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let status = MessageServiceClient::new(channel)
        .send(send(vec![message("x")]))
        .await;
    let status = status.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert!(status.message().contains("not served here"), "{status}");
    process.kill().await;
}
