//! The queues of a run.

use std::time::Duration;

use openraft_rt::AsyncRuntime as _;
use roadstead_node::auth::Principal;
use roadstead_proto::v1::{
    CreateQueueRequest, DeadLetterPolicy, GetQueueStatsRequest, Ordering as KeyOrder, QueueRef,
    QueueSpec, QueueStats, RetryPolicy,
};

use super::client::{Channel, Failed};
use super::context::{count, note};
use super::runtime::Sim;

/// Deliveries before a message is a dead letter.
pub const MAX_DELIVERIES: u32 = 4;

/// A queue of the run.
#[derive(Debug, Clone, Copy)]
pub struct Queue {
    /// Its name.
    pub name: &'static str,
    /// Its partitions.
    pub partitions: u32,
    /// Whether its messages have ordering keys.
    pub keyed: bool,
    /// Whether it takes the dead letters of the others.
    pub dead: bool,
}

/// All of them; the one for dead letters first, for the others name it.
pub const QUEUES: [Queue; 3] = [
    Queue {
        name: "dead",
        partitions: 2,
        keyed: false,
        dead: true,
    },
    Queue {
        name: "orders",
        partitions: 3,
        keyed: true,
        dead: false,
    },
    Queue {
        name: "jobs",
        partitions: 2,
        keyed: false,
        dead: false,
    },
];

/// Creates a queue; the error says what was answered last.
pub async fn create(channel: &Channel, queue: Queue) -> Result<(), String> {
    let order = if queue.keyed {
        KeyOrder::PerKey
    } else {
        KeyOrder::None
    };
    let dead_letter = (!queue.dead).then(|| DeadLetterPolicy {
        queue: "dead".into(),
    });
    let max_deliveries = if queue.dead { 1_000 } else { MAX_DELIVERIES };
    let request = CreateQueueRequest {
        queue: Some(QueueRef {
            namespace: "default".into(),
            name: queue.name.into(),
        }),
        spec: Some(QueueSpec {
            partitions: queue.partitions,
            ordering: order.into(),
            lease: Some(prost_types::Duration {
                seconds: 8,
                nanos: 0,
            }),
            retries: Some(RetryPolicy {
                max_deliveries,
                ..RetryPolicy::default()
            }),
            dead_letter,
            ..QueueSpec::default()
        }),
    };
    let mut last = String::new();
    for _ in 0..50 {
        let request = request.clone();
        let creating = channel.call(channel.any_host(), |gateway| async move {
            gateway.create_queue(&Principal::Anonymous, request).await
        });
        match creating.await {
            Ok(_) => return Ok(()),
            Err(Failed::Refused(why) | Failed::Unknown(why)) => last = why,
            Err(Failed::Said(error)) => last = error.to_string(),
        }
        Sim::sleep(Duration::from_millis(100)).await;
    }
    Err(last)
}

/// Waits until no queue holds anything.
pub async fn empty(channel: &Channel) {
    'again: loop {
        Sim::sleep(Duration::from_millis(200)).await;
        for queue in QUEUES {
            let request = GetQueueStatsRequest {
                queue: Some(QueueRef {
                    namespace: "default".into(),
                    name: queue.name.into(),
                }),
                ..GetQueueStatsRequest::default()
            };
            let asking = channel.call(channel.any_host(), |gateway| async move {
                gateway
                    .get_queue_stats(&Principal::Anonymous, request)
                    .await
            });
            let stats = asking.await.ok().and_then(|answer| answer.stats);
            let Some(stats) = stats.filter(|stats| stats.partitions_unavailable == 0) else {
                continue 'again;
            };
            count("stats read");
            if held(&stats) > 0 {
                note(format_args!("{} still holds {stats:?}", queue.name));
                continue 'again;
            }
        }
        return;
    }
}

fn held(stats: &QueueStats) -> u64 {
    stats.ready + stats.in_flight + stats.delayed + stats.blocked + stats.outbox
}
