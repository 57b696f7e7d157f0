//! The services of `roadstead.v1`: each procedure is a call of the gateway or of the admin side.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::{Stream, StreamExt};
use openraft_rt_tokio::TokioRuntime;
use roadstead_proto::v1::cluster_service_server::ClusterService;
use roadstead_proto::v1::message_service_server::MessageService;
use roadstead_proto::v1::queue_service_server::QueueService;
use roadstead_proto::v1::{
    CompleteRequest, CompleteResponse, CreateQueueRequest, CreateQueueResponse,
    DeleteMessageRequest, DeleteMessageResponse, DeleteQueueRequest, DeleteQueueResponse,
    DrainConsumersRequest, DrainConsumersResponse, GetClusterStatusRequest,
    GetClusterStatusResponse, GetQueueRequest, GetQueueResponse, GetQueueStatsRequest,
    GetQueueStatsResponse, GetTopologyRequest, GetTopologyResponse, ListConsumersRequest,
    ListConsumersResponse, ListQueuesRequest, ListQueuesResponse, PeekMessagesRequest,
    PeekMessagesResponse, PurgeQueueRequest, PurgeQueueResponse, ReceiveRequest, ReceiveResponse,
    ReceiveStreamRequest, ReceiveStreamResponse, RedriveMessageRequest, RedriveMessageResponse,
    RedriveMessagesRequest, RedriveMessagesResponse, SeekGroupRequest, SeekGroupResponse,
    SendRequest, SendResponse, SendStreamRequest, SendStreamResponse, SettleRequest,
    SettleResponse, UpdateQueueRequest, UpdateQueueResponse,
};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::inbound::{frames, principal, replies};
use super::status::to_status;
use super::streams::Streams;
use super::unary::unary;
use crate::gateway::Gateway;

/// Queues, messages and topology: what clients ask, on whichever listener.
#[derive(Clone)]
pub struct ClientServices {
    /// Who answers.
    pub gateway: Arc<Gateway<TokioRuntime>>,
    /// Cancelled: streams take in nothing more, and end when what they took in is answered.
    pub drain: CancellationToken,
    /// Places for streams.
    pub streams: Streams,
}

type Reply<T> = Result<Response<T>, Status>;
/// What a procedure streams back.
pub type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl QueueService for ClientServices {
    unary! {
        |services| services.gateway;
        create_queue(CreateQueueRequest) -> CreateQueueResponse;
        update_queue(UpdateQueueRequest) -> UpdateQueueResponse;
        delete_queue(DeleteQueueRequest) -> DeleteQueueResponse;
        get_queue(GetQueueRequest) -> GetQueueResponse;
        list_queues(ListQueuesRequest) -> ListQueuesResponse;
        get_queue_stats(GetQueueStatsRequest) -> GetQueueStatsResponse;
        purge_queue(PurgeQueueRequest) -> PurgeQueueResponse;
        peek_messages(PeekMessagesRequest) -> PeekMessagesResponse;
        delete_message(DeleteMessageRequest) -> DeleteMessageResponse;
        redrive_messages(RedriveMessagesRequest) -> RedriveMessagesResponse;
        redrive_message(RedriveMessageRequest) -> RedriveMessageResponse;
        seek_group(SeekGroupRequest) -> SeekGroupResponse;
        list_consumers(ListConsumersRequest) -> ListConsumersResponse;
        drain_consumers(DrainConsumersRequest) -> DrainConsumersResponse;
    }
}

impl ClusterService for ClientServices {
    unary! {
        |services| services.gateway;
        get_topology(GetTopologyRequest) -> GetTopologyResponse;
        get_cluster_status(GetClusterStatusRequest) -> GetClusterStatusResponse;
    }
}

#[async_trait]
impl MessageService for ClientServices {
    type SendStreamStream = Replies<SendStreamResponse>;
    type ReceiveStreamStream = Replies<ReceiveStreamResponse>;

    unary! {
        |services| services.gateway;
        send(SendRequest) -> SendResponse;
        receive(ReceiveRequest) -> ReceiveResponse;
        settle(SettleRequest) -> SettleResponse;
        complete(CompleteRequest) -> CompleteResponse;
    }

    async fn send_stream(
        &self,
        request: Request<Streaming<SendStreamRequest>>,
    ) -> Reply<Self::SendStreamStream> {
        let principal = principal(&request)?;
        let place = self.streams.take().map_err(to_status)?;
        let (frames, why) = frames(request, self.drain.clone());
        let answers = self.gateway.send_stream(principal, frames);
        Ok(Response::new(holding(place, replies(answers, why))))
    }

    async fn receive_stream(
        &self,
        request: Request<Streaming<ReceiveStreamRequest>>,
    ) -> Reply<Self::ReceiveStreamStream> {
        let principal = principal(&request)?;
        let place = self.streams.take().map_err(to_status)?;
        let (frames, why) = frames(request, self.drain.clone());
        let answers = self.gateway.receive_stream(principal, frames);
        Ok(Response::new(holding(place, replies(answers, why))))
    }
}

/// The same replies; the place is taken until the last one is read, or nobody reads them.
fn holding<T: 'static>(
    place: OwnedSemaphorePermit,
    replies: impl Stream<Item = Result<T, Status>> + Send + 'static,
) -> Replies<T> {
    Box::pin(replies.inspect(move |_| {
        let _held = &place;
    }))
}
