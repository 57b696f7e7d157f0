//! Queues and the cluster: plain calls.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use roadstead_proto::v1::admin_service_client::AdminServiceClient;
use roadstead_proto::v1::cluster_service_client::ClusterServiceClient;
use roadstead_proto::v1::message_service_client::MessageServiceClient;
use roadstead_proto::v1::queue_service_client::QueueServiceClient;
use roadstead_proto::v1::{
    ConsumerSelector, CreateQueueRequest, CreateQueueResponse, DeleteMessageRequest, DeletePolicy,
    DeleteQueueRequest, DrainConsumersRequest, GetClusterStatusRequest, GetClusterStatusResponse,
    GetQueueRequest, GetQueueStatsRequest, ListConsumersRequest, ListConsumersResponse,
    ListMembersRequest, ListMembersResponse, ListQueuesRequest, PeekMessagesRequest,
    PeekMessagesResponse, PurgeQueueRequest, Queue, QueueRef, QueueSpec, QueueStats,
    ReceiveRequest, RedriveMessageRequest, RedriveMessagesRequest, RedriveMessagesResponse,
    SeekGroupRequest, SeekGroupResponse, SettleRequest, SettleResult, Settlement,
    TransferLeadershipRequest, UpdateQueueRequest, seek_group_request,
};
use uuid::Uuid;

use crate::channels::MAX_FRAME_BYTES;
use crate::client::Client;
use crate::consumer::identity;
use crate::error::CallError;
use crate::message::ReceivedMessage;

/// Calls `$method` of `$service` with `$request`, again while that may help.
macro_rules! unary {
    ($client:expr, $service:ident, $method:ident, $request:expr) => {{
        let request = $request;
        $client.call(move |service| {
            let request = request.clone();
            async move {
                $service::new(service)
                    .max_decoding_message_size(MAX_FRAME_BYTES)
                    .$method(request)
                    .await
            }
        })
    }};
}

pub(crate) use unary;

impl Client {
    /// Creates a queue; one that exists with the same specification is fine.
    pub async fn create_queue(
        &self,
        name: &str,
        spec: QueueSpec,
    ) -> Result<CreateQueueResponse, CallError> {
        let request = CreateQueueRequest {
            queue: Some(self.queue_ref(name)),
            spec: Some(spec),
        };
        unary!(self, QueueServiceClient, create_queue, request).await
    }

    /// Replaces a queue's specification; returns the queue as it is now.
    pub async fn update_queue(&self, name: &str, spec: QueueSpec) -> Result<Queue, CallError> {
        let request = UpdateQueueRequest {
            queue: Some(self.queue_ref(name)),
            spec: Some(spec),
            expected_generation: 0,
        };
        let answer = unary!(self, QueueServiceClient, update_queue, request).await?;
        Ok(answer.queue.unwrap_or_default())
    }

    /// Deletes a queue; returns how many messages went with it.
    pub async fn delete_queue(&self, name: &str, policy: DeletePolicy) -> Result<u64, CallError> {
        let request = DeleteQueueRequest {
            queue: Some(self.queue_ref(name)),
            policy: policy.into(),
        };
        Ok(unary!(self, QueueServiceClient, delete_queue, request)
            .await?
            .messages)
    }

    /// One queue with its specification.
    pub async fn queue(&self, name: &str) -> Result<Queue, CallError> {
        let request = GetQueueRequest {
            queue: Some(self.queue_ref(name)),
        };
        let answer = unary!(self, QueueServiceClient, get_queue, request).await?;
        Ok(answer.queue.unwrap_or_default())
    }

    /// All queues of a namespace, in order; of every namespace that this client may see when it is
    /// empty.
    pub async fn queues(&self, namespace: &str) -> Result<Vec<Queue>, CallError> {
        let mut queues = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = ListQueuesRequest {
                namespace: namespace.to_owned(),
                page_size: 1000,
                page_token,
            };
            let answer = unary!(self, QueueServiceClient, list_queues, request).await?;
            queues.extend(answer.queues);
            page_token = answer.next_page_token;
            if page_token.is_empty() {
                return Ok(queues);
            }
        }
    }

    /// Live counts of the group `default` of a queue.
    pub async fn queue_stats(&self, name: &str) -> Result<QueueStats, CallError> {
        self.stats(name, "", false).await
    }

    /// Live counts of a consumer group of a queue.
    pub async fn group_stats(&self, name: &str, group: &str) -> Result<QueueStats, CallError> {
        self.stats(name, group, false).await
    }

    /// The same, from leaders that first make sure that a majority follows them; the partitions of
    /// others are counted as unavailable. Costs the cluster a write per shard.
    pub async fn confirmed_queue_stats(&self, name: &str) -> Result<QueueStats, CallError> {
        self.stats(name, "", true).await
    }

    async fn stats(
        &self,
        name: &str,
        group: &str,
        confirmed: bool,
    ) -> Result<QueueStats, CallError> {
        let request = GetQueueStatsRequest {
            queue: Some(self.queue_ref(name)),
            confirmed,
            group: group.to_owned(),
        };
        let answer = unary!(self, QueueServiceClient, get_queue_stats, request).await?;
        Ok(answer.stats.unwrap_or_default())
    }

    /// Removes every message that is not leased; returns how many.
    pub async fn purge_queue(&self, name: &str) -> Result<u64, CallError> {
        let request = PurgeQueueRequest {
            queue: Some(self.queue_ref(name)),
        };
        Ok(unary!(self, QueueServiceClient, purge_queue, request)
            .await?
            .messages)
    }

    /// Lets a consumer group begin with another message, in one partition or in all.
    pub async fn seek(
        &self,
        name: &str,
        group: &str,
        to: seek_group_request::To,
        partition: Option<u32>,
    ) -> Result<SeekGroupResponse, CallError> {
        let request = SeekGroupRequest {
            queue: Some(self.queue_ref(name)),
            group: group.to_owned(),
            to: Some(to),
            partition,
        };
        unary!(self, QueueServiceClient, seek_group, request).await
    }

    /// Who has streams of deliveries of a consumer group, in order of their sessions: all pages in
    /// one. What the leaders of `partitions_unavailable` know is missing.
    pub async fn consumers(
        &self,
        name: &str,
        group: &str,
    ) -> Result<ListConsumersResponse, CallError> {
        let mut all = ListConsumersResponse::default();
        let mut page_token = String::new();
        loop {
            let request = ListConsumersRequest {
                queue: Some(self.queue_ref(name)),
                group: group.to_owned(),
                page_size: 1000,
                page_token,
            };
            let page = unary!(self, QueueServiceClient, list_consumers, request).await?;
            all.consumers.extend(page.consumers);
            let missing = page.partitions_unavailable;
            all.partitions_unavailable = all.partitions_unavailable.max(missing);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(all);
            }
        }
    }

    /// Drains the consumers of a group that 1..1,000 selectors mean, for 1 ms..1 h, or takes that
    /// back (`None`); returns how many are meant, as of now. Those that are drained get no
    /// deliveries, settle what they have, and hear so ([`crate::Consumer::is_draining`]).
    pub async fn drain_consumers(
        &self,
        name: &str,
        group: &str,
        selectors: Vec<ConsumerSelector>,
        time: Option<Duration>,
    ) -> Result<u32, CallError> {
        let request = DrainConsumersRequest {
            queue: Some(self.queue_ref(name)),
            group: group.to_owned(),
            selectors,
            drain: time.is_some(),
            duration: time.and_then(|time| prost_types::Duration::try_from(time).ok()),
        };
        let answer = unary!(self, QueueServiceClient, drain_consumers, request).await?;
        Ok(answer.consumers)
    }

    /// A page of messages, which are not leased: it may be empty and yet not be the last one.
    /// [`Client::browse`] goes from page to page.
    pub async fn peek_page(
        &self,
        request: PeekMessagesRequest,
    ) -> Result<PeekMessagesResponse, CallError> {
        unary!(self, QueueServiceClient, peek_messages, request).await
    }

    /// Deletes the message at a location, as a peek shows it. With a `message_id` that is not
    /// empty only if it is that message; with `force` also while it is leased.
    ///
    /// After an answer that was lost on its way it may say that there is no message: this call has
    /// deleted it then, or it had gone before.
    pub async fn delete_message(
        &self,
        name: &str,
        location: &str,
        message_id: &str,
        force: bool,
    ) -> Result<(), CallError> {
        let request = DeleteMessageRequest {
            queue: Some(self.queue_ref(name)),
            location: location.to_owned(),
            message_id: message_id.to_owned(),
            force,
        };
        unary!(self, QueueServiceClient, delete_message, request).await?;
        Ok(())
    }

    /// Moves a bounded piece of a queue's messages to another queue. [`Client::redrive`] goes from
    /// piece to piece.
    pub async fn redrive_piece(
        &self,
        request: RedriveMessagesRequest,
    ) -> Result<RedriveMessagesResponse, CallError> {
        unary!(self, QueueServiceClient, redrive_messages, request).await
    }

    /// Moves one message to another queue, and changes it if that is asked for; both happen or
    /// neither. Returns where it goes, as `namespace/name`. What is said of lost answers at
    /// [`Client::delete_message`] holds here too.
    pub async fn redrive_message(
        &self,
        request: RedriveMessageRequest,
    ) -> Result<String, CallError> {
        let answer = unary!(self, QueueServiceClient, redrive_message, request).await?;
        let QueueRef { namespace, name } = answer.queue.unwrap_or_default();
        Ok(format!("{namespace}/{name}"))
    }

    /// Receives up to `max_messages` (1..1,000), waiting up to `wait` (at most 60 s) for the first.
    /// Each comes with the receipt to settle it by.
    ///
    /// An answer that is lost costs nothing: the call is made again, and gets the same messages. A
    /// call that is given up keeps what it was given until those leases end.
    /// For one message now and then; a [`crate::Consumer`] is faster and keeps leases alive.
    pub async fn receive(
        &self,
        name: &str,
        max_messages: u32,
        wait: Duration,
    ) -> Result<Vec<(ReceivedMessage, bytes::Bytes)>, CallError> {
        let request = ReceiveRequest {
            queue: Some(self.queue_ref(name)),
            max_messages,
            wait: prost_types::Duration::try_from(wait).ok(),
            consumer: Some(identity()),
            retry_token: Uuid::new_v4().to_string(),
            ..ReceiveRequest::default()
        };
        self.receive_as(request).await
    }

    /// The same as a request says it: with a lease, a consumer group or a retry token of its own.
    pub async fn receive_as(
        &self,
        request: ReceiveRequest,
    ) -> Result<Vec<(ReceivedMessage, bytes::Bytes)>, CallError> {
        let wait = request.wait.and_then(|wait| Duration::try_from(wait).ok());
        let patience = wait.unwrap_or_default() + Duration::from_secs(10);
        let tries = AtomicU32::new(0);
        let call = |service| {
            let mut request = request.clone();
            request.retried |= tries.fetch_add(1, Ordering::Relaxed) > 0;
            async move {
                MessageServiceClient::new(service)
                    .max_decoding_message_size(MAX_FRAME_BYTES)
                    .receive(request)
                    .await
            }
        };
        let answer = self.shared().call(patience, call).await?;
        let deliveries = answer.deliveries.into_iter();
        Ok(deliveries.map(ReceivedMessage::split).collect())
    }

    /// Settles 1..1,000 deliveries; one result for each, in the same order.
    pub async fn settle(
        &self,
        name: &str,
        settlements: Vec<Settlement>,
    ) -> Result<Vec<SettleResult>, CallError> {
        let request = SettleRequest {
            queue: Some(self.queue_ref(name)),
            settlements,
        };
        Ok(unary!(self, MessageServiceClient, settle, request)
            .await?
            .results)
    }

    /// Members and shards, as the cluster sees them.
    pub async fn cluster_status(&self) -> Result<GetClusterStatusResponse, CallError> {
        let request = GetClusterStatusRequest {};
        unary!(self, ClusterServiceClient, get_cluster_status, request).await
    }

    /// Members and shards; served on the admin listener only.
    pub async fn members(&self) -> Result<ListMembersResponse, CallError> {
        unary!(
            self,
            AdminServiceClient,
            list_members,
            ListMembersRequest {}
        )
        .await
    }

    /// Moves leaderships; served on the admin listener only. Returns the shards that moved.
    pub async fn transfer_leadership(
        &self,
        request: TransferLeadershipRequest,
    ) -> Result<Vec<u32>, CallError> {
        Ok(
            unary!(self, AdminServiceClient, transfer_leadership, request)
                .await?
                .shards,
        )
    }
}
