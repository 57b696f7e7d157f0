//! The quota of a namespace while several create queues at the same time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use roadstead_node::auth::Principal;
use roadstead_node::gateway::ApiError;
use roadstead_proto::v1::{
    CreateQueueRequest, DeletePolicy, DeleteQueueRequest, ListNamespaceQuotasRequest,
    ListQueuesRequest, QueueLimits, QueueSpec, Quota, QuotaUsage, SetNamespaceQuotaRequest,
};
use roadstead_tests::live::LiveCluster;
use roadstead_tests::live::cluster::{PATIENCE, queue_ref};
use tonic::Code;

use super::leaders::move_away;
use super::small;

/// Messages of all queues of the namespace.
const LIMIT: u64 = 1_000;
/// Messages of one queue: 14 of them and a rest.
const EACH: u64 = 70;

/// Fails where the answer did not come, too.
async fn create(cluster: &LiveCluster, host: usize, name: &str) -> Result<(), ApiError> {
    let limits = QueueLimits {
        max_messages: EACH,
        ..QueueLimits::default()
    };
    let request = CreateQueueRequest {
        queue: Some(queue_ref(name)),
        spec: Some(QueueSpec {
            limits: Some(limits),
            ..QueueSpec::default()
        }),
    };
    let call = cluster.hosts[host].run(|node| async move {
        let who = Principal::Anonymous;
        node.gateway().create_queue(&who, request).await
    });
    call.await.expect("the host runs").map(drop)
}

async fn delete(cluster: &LiveCluster, host: usize, name: &str) -> Result<(), ApiError> {
    let request = DeleteQueueRequest {
        queue: Some(queue_ref(name)),
        policy: DeletePolicy::Always.into(),
    };
    let call = cluster.hosts[host].run(|node| async move {
        let who = Principal::Anonymous;
        node.gateway().delete_queue(&who, request).await
    });
    call.await.expect("the host runs").map(drop)
}

/// Creates queues until it is stopped, and deletes one of its own when it is refused; how often
/// it was not, and how often it was.
async fn churn(cluster: Arc<LiveCluster>, host: usize, stop: Arc<AtomicBool>) -> (u32, u32) {
    let (mut created, mut refused) = (0, 0);
    let mut mine = VecDeque::new();
    while !stop.load(Relaxed) {
        let name = format!("of-{host}-{}", created + refused);
        match create(&cluster, host, &name).await {
            Ok(()) => {
                created += 1;
                mine.push_back(name);
            }
            Err(error) if error.code == Code::ResourceExhausted => {
                assert!(error.message.contains("its quota of messages"), "{error}");
                assert!(!error.detail.retryable, "{error}");
                refused += 1;
                let Some(old) = mine.pop_front() else {
                    continue;
                };
                while let Err(error) = delete(&cluster, host, &old).await
                    && error.code != Code::NotFound
                {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            // The leader has gone: whether it was created is found out by the next try.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    (created, refused)
}

/// What is taken, as soon as the catalog's leader says so.
async fn usage(cluster: &LiveCluster, host: usize) -> QuotaUsage {
    loop {
        let call = cluster.hosts[host].run(|node| async move {
            let (who, request) = (Principal::Operator, ListNamespaceQuotasRequest {});
            node.admin().list_namespace_quotas(&who, request).await
        });
        if let Ok(listed) = call.await.expect("the host runs") {
            assert_eq!(listed.quotas.len(), 1, "{listed:?}");
            return listed.quotas[0].usage.clone().expect("of a namespace");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn set(cluster: &LiveCluster) {
    let request = SetNamespaceQuotaRequest {
        namespace: "default".to_owned(),
        quota: Some(Quota {
            messages: LIMIT,
            ..Quota::default()
        }),
        fence: 0,
    };
    let call = cluster.hosts[0].run(|node| async move {
        let who = Principal::Operator;
        node.admin().set_namespace_quota(&who, request).await
    });
    let set = call.await.expect("the host runs");
    set.expect("a quota is set");
}

async fn queues(cluster: &LiveCluster, host: usize) -> usize {
    let call = cluster.hosts[host].run(|node| async move {
        let (who, request) = (Principal::Anonymous, ListQueuesRequest::default());
        node.gateway().list_queues(&who, request).await
    });
    let listed = call.await.expect("the host runs");
    listed.expect("queues are listed").queues.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_who_create_queues_never_get_beyond_the_quota() {
    let cluster = LiveCluster::found(3, small()).await;
    let cluster = Arc::new(cluster.expect("a cluster is founded"));
    set(&cluster).await;
    let stop = Arc::new(AtomicBool::new(false));
    let clients = [0, 1].map(|host| tokio::spawn(churn(cluster.clone(), host, stop.clone())));
    let (mut looks, mut most) = (0, 0);
    for _ in 0..4 {
        let round = Instant::now();
        while round.elapsed() < Duration::from_secs(2) {
            let usage = usage(&cluster, 2).await;
            assert!(
                usage.messages <= LIMIT && usage.over.is_empty(),
                "{usage:?}"
            );
            most = most.max(usage.messages);
            looks += 1;
        }
        move_away(&cluster, 0).await;
    }
    stop.store(true, Relaxed);
    for client in clients {
        let (created, refused) = client.await.expect("it ends");
        println!("{created} created, {refused} refused");
        assert!(created > 0 && refused > 0);
    }
    println!("{looks} looks, at most {most} messages");
    assert_eq!(most, LIMIT / EACH * EACH, "there was room for more");
    // What a client left half deleted counts until the catalog's leader has finished it.
    let (deadline, mut last) = (Instant::now() + PATIENCE, 0);
    while queues(&cluster, 0).await < 14 {
        assert!(Instant::now() < deadline, "there is room that nobody gets");
        match create(&cluster, 0, &format!("last-{last}")).await {
            Ok(()) => last += 1,
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    let refused = create(&cluster, 0, "one-more").await.map_err(|it| it.code);
    assert_eq!(refused, Err(Code::ResourceExhausted));
    let usage = usage(&cluster, 0).await;
    assert_eq!((usage.queues, usage.messages), (14, 980));
}
