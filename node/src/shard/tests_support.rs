//! How the tests of a shard's service call it.

use std::time::Duration;

use bytes::Bytes;
use roadstead_core::shard::{Delivered, MessageId, PartitionId, PayloadRef, Received, SessionId};
use roadstead_proto::v1::settlement::Action;
use roadstead_proto::v1::shard_call::Call;
use roadstead_proto::v1::shard_reply::Reply;
use roadstead_proto::v1::{
    Consumer as ConsumerLabel, Delivery, OutgoingMessage, Producer, QueueRef, QueueStats,
    SendResponse, SettleResponse, Settlement, ShardCall, ShardReceive, ShardSend, ShardSettle,
    ShardStats, SubscriptionDown, SubscriptionOpen, SubscriptionUp, subscription_down,
    subscription_up,
};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::ShardOptions;
use super::consumer::{Rank, Wish};
use super::twin::{TwinCluster, queue_info};
use super::wire::duration_ms;
use crate::gateway::ApiError;

pub(super) const QUEUE: u64 = 7;
pub(super) const LONG: Duration = Duration::from_secs(10);

pub(super) fn one_shard() -> TwinCluster {
    one_shard_with(ShardOptions::default())
}

pub(super) fn one_shard_with(options: ShardOptions) -> TwinCluster {
    let options = ShardOptions {
        session_grace: Duration::from_millis(100),
        ..options
    };
    let cluster = TwinCluster::start(1, options);
    cluster.queues.set(queue_info(QUEUE, "a", &[1]));
    cluster
}

pub(super) fn message(body: &str) -> OutgoingMessage {
    OutgoingMessage {
        body: Bytes::from(body.to_owned()),
        ..OutgoingMessage::default()
    }
}

pub(super) async fn call(cluster: &TwinCluster, call: Call) -> Result<Reply, ApiError> {
    // A new service needs a moment to notice that it leads.
    for _ in 0..100 {
        let asked = ShardCall {
            principal: None,
            call: Some(call.clone()),
        };
        match cluster.shards.service(1).call(asked).await {
            Err(error) if error.not_leader.is_some() => sleep(Duration::from_millis(5)).await,
            answer => return answer.map(|reply| reply.reply.unwrap()),
        }
    }
    panic!("the shard never led");
}

pub(super) async fn send(
    cluster: &TwinCluster,
    bodies: &[&str],
    producer: Option<Producer>,
) -> Result<SendResponse, ApiError> {
    let messages = bodies.iter().map(|body| message(body)).collect();
    let send = ShardSend {
        queue_id: QUEUE,
        partition: 0,
        queue: None,
        messages,
        producer,
        ..ShardSend::default()
    };
    match call(cluster, Call::Send(send)).await? {
        Reply::Send(sent) => Ok(sent),
        other => panic!("{other:?}"),
    }
}

pub(super) async fn receive(
    cluster: &TwinCluster,
    max_messages: u32,
    wait_ms: u64,
) -> Vec<Delivery> {
    let receive = ShardReceive {
        queue_id: QUEUE,
        partitions: vec![0],
        max_messages,
        wait: Some(duration_ms(wait_ms)),
        ..ShardReceive::default()
    };
    match call(cluster, Call::Receive(receive)).await.unwrap() {
        Reply::Receive(received) => received.deliveries,
        other => panic!("{other:?}"),
    }
}

pub(super) async fn settle(
    cluster: &TwinCluster,
    receipt: &Bytes,
    action: Action,
) -> SettleResponse {
    let settlement = Settlement {
        receipt: receipt.clone(),
        action: Some(action),
    };
    let settle = ShardSettle {
        queue: None,
        settlements: vec![settlement],
    };
    match call(cluster, Call::Settle(settle)).await.unwrap() {
        Reply::Settle(settled) => settled,
        other => panic!("{other:?}"),
    }
}

pub(super) async fn stats(cluster: &TwinCluster, queue_id: u64) -> QueueStats {
    match call(
        cluster,
        Call::Stats(ShardStats {
            queue_id,
            ..ShardStats::default()
        }),
    )
    .await
    .unwrap()
    {
        Reply::Stats(stats) => stats,
        other => panic!("{other:?}"),
    }
}

pub(super) struct Consumer {
    up: mpsc::Sender<SubscriptionUp>,
    down: mpsc::Receiver<SubscriptionDown>,
}

impl Consumer {
    pub(super) async fn open(cluster: &TwinCluster, session: &str, held: &[Bytes]) -> Self {
        let open = SubscriptionOpen {
            session_id: session.to_owned(),
            held_receipts: held.to_vec(),
            ..SubscriptionOpen::default()
        };
        Self::open_as(cluster, open).await
    }

    pub(super) async fn open_as(cluster: &TwinCluster, open: SubscriptionOpen) -> Self {
        stats(cluster, QUEUE).await;
        let open = SubscriptionOpen {
            queue_id: QUEUE,
            queue: Some(queue_info(QUEUE, "a", &[1]).reference().clone()),
            partitions: vec![0],
            ..open
        };
        let (up, ups) = mpsc::channel(16);
        let (downs, down) = mpsc::channel(1);
        cluster.shards.service(1).subscribe(open, ups, downs);
        Self { up, down }
    }

    pub(super) async fn credit(&self, credit: u32) {
        let frame = Some(subscription_up::Frame::Credit(credit));
        self.up.send(SubscriptionUp { frame }).await.unwrap();
    }

    pub(super) async fn read(&self, bytes: usize) {
        let frame = Some(subscription_up::Frame::Read(bytes as u32));
        self.up.send(SubscriptionUp { frame }).await.unwrap();
    }

    pub(super) async fn is_silent(&mut self) -> bool {
        let more = timeout(Duration::from_millis(200), self.down.recv()).await;
        more.is_err()
    }

    pub(super) async fn next(&mut self) -> subscription_down::Frame {
        timeout(LONG, self.down.recv())
            .await
            .unwrap()
            .unwrap()
            .frame
            .unwrap()
    }

    pub(super) async fn deliveries(&mut self) -> Vec<Delivery> {
        loop {
            match self.next().await {
                subscription_down::Frame::Deliveries(batch) => return batch.deliveries,
                subscription_down::Frame::Available(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

pub(super) fn bodies(deliveries: &[Delivery]) -> Vec<&str> {
    deliveries
        .iter()
        .map(|delivery| std::str::from_utf8(&delivery.body).unwrap())
        .collect()
}

/// A delivery of so many messages.
pub(super) fn received(partition: PartitionId, messages: u16) -> Received {
    let delivered = |slot| Delivered {
        slot,
        delivery_count: 1,
        id: MessageId {
            queue: 1,
            partition: 0,
            sequence: u64::from(slot) + 1,
        },
        sequence: u64::from(slot) + 1,
        payload: PayloadRef {
            index: 1,
            offset: 0,
            len: 1,
        },
        enqueued_at: 0,
        deadline: 0,
        priority: 0,
        first_delivered_at: 0,
        last_delivered_at: 0,
    };
    Received {
        partition,
        group: 0,
        delivery: 1,
        epoch: 0,
        messages: (0..messages).map(delivered).collect(),
        more: false,
    }
}

/// A subscription to these partitions.
pub(super) fn wish(session: Option<u128>, partitions: &[PartitionId]) -> Wish {
    Wish {
        one_time: false,
        queue: QueueRef::default(),
        partitions: partitions.to_vec(),
        group: 0,
        session: session.map(SessionId),
        session_name: String::new(),
        stream: 0,
        lease_ms: None,
        at_most_once: false,
        rank: Rank::default(),
        label: ConsumerLabel::default(),
    }
}
