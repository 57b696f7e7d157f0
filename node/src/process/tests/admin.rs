//! What whoever administers a node finds at its peer and admin listener.

use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;

use roadstead_proto::v1::{
    ListNamespaceQuotasRequest, QueueLimits, Quota, SetNamespaceQuotaRequest, UpdateQueueRequest,
};

use super::*;
use crate::api::detail_of;

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

fn limited(max_messages: u64) -> QueueSpec {
    let limits = QueueLimits {
        max_messages,
        ..QueueLimits::default()
    };
    QueueSpec {
        limits: Some(limits),
        ..QueueSpec::default()
    }
}

/// Of 100 messages, which is said to be the quota.
fn is_about_quota(status: &Status) {
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    let message = status.message();
    let words = "namespace default: its quota of messages is 100, other queues take ";
    assert!(message.starts_with(words), "{message}");
    let detail = detail_of(status).unwrap();
    assert_eq!(detail.field, "limits.max_messages");
    assert!(!detail.retryable, "it does not pass by itself");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_is_set_shown_and_held() {
    let (ca, directory) = (TestCa::new(), tempfile::tempdir().unwrap());
    let process = start(directory.path(), &ca).await;
    found(&process, &ca).await;
    until_ready(&process).await;
    let channel = as_operator(&process, &ca).await;
    let mut admin = AdminServiceClient::new(channel.clone());
    let mut queues = QueueServiceClient::new(channel);
    let quota = |messages| SetNamespaceQuotaRequest {
        namespace: "default".to_owned(),
        quota: Some(Quota {
            messages,
            ..Quota::default()
        }),
        fence: 0,
    };
    admin.set_namespace_quota(quota(100)).await.unwrap();
    let queue = |name: &str, max_messages| CreateQueueRequest {
        queue: Some(QueueRef {
            namespace: "default".to_owned(),
            name: name.to_owned(),
        }),
        spec: Some(limited(max_messages)),
    };
    queues.create_queue(queue("orders", 60)).await.unwrap();
    for too_much in [41, 0] {
        let refused = queues.create_queue(queue("more", too_much)).await;
        is_about_quota(&refused.unwrap_err());
    }
    queues.create_queue(queue("more", 40)).await.unwrap();
    let update = UpdateQueueRequest {
        queue: Some(orders()),
        spec: Some(limited(61)),
        expected_generation: 0,
    };
    let refused = queues.update_queue(update).await;
    is_about_quota(&refused.unwrap_err());

    admin.set_namespace_quota(quota(99)).await.unwrap();
    let listed = admin.list_namespace_quotas(ListNamespaceQuotasRequest {});
    let listed = listed.await.unwrap().into_inner().quotas;
    let usage = listed[0].usage.clone().unwrap();
    assert_eq!((usage.queues, usage.messages), (2, 100));
    assert_eq!(usage.over, ["messages"]);
    let wrong = SetNamespaceQuotaRequest {
        namespace: "No".to_owned(),
        ..quota(1)
    };
    let status = admin.set_namespace_quota(wrong).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    process.kill().await;
}
