//! The gRPC services of the stand-in.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::time::Duration;

use roadstead_client::proto::cluster_service_server::ClusterService;
use roadstead_client::proto::message_service_server::MessageService;
use roadstead_client::proto::queue_service_server::QueueService;
use roadstead_client::proto::receive_stream_request::Frame as ReceiveUp;
use roadstead_client::proto::receive_stream_response::Frame as ReceiveDown;
use roadstead_client::proto::send_stream_request::Frame as SendUp;
use roadstead_client::proto::send_stream_response::Frame as SendDown;
use roadstead_client::proto::*;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Shared, State, topology};

#[derive(Debug, Clone)]
pub struct Node {
    pub number: usize,
    pub shared: Shared,
}

type Answer<T> = Result<Response<T>, Status>;
type Frames<T> = ReceiverStream<Result<T, Status>>;

fn name(queue: Option<QueueRef>) -> String {
    let queue = queue.unwrap_or_default();
    format!("{}/{}", queue.namespace, queue.name)
}

fn missing(name: &str) -> Status {
    Status::not_found(format!("queue {name} does not exist"))
}

fn refuse(state: &mut State) -> Result<(), Status> {
    if state.faults.refuse_calls > 0 {
        state.faults.refuse_calls -= 1;
        return Err(Status::unavailable("not now"));
    }
    Ok(())
}

/// Calls that no test makes, as `async_trait` would write them.
macro_rules! unimplemented_calls {
    ($($name:ident($request:ty) -> $answer:ty;)*) => {$(
        fn $name<'a, 'b>(
            &'a self,
            _: Request<$request>,
        ) -> Pin<Box<dyn Future<Output = Answer<$answer>> + Send + 'b>>
        where
            'a: 'b,
            Self: 'b,
        {
            Box::pin(async { Err(Status::unimplemented("the stand-in does not")) })
        }
    )*};
}

#[tonic::async_trait]
impl QueueService for Node {
    async fn get_queue(&self, request: Request<GetQueueRequest>) -> Answer<GetQueueResponse> {
        let name = name(request.into_inner().queue);
        let mut state = self.shared.lock();
        refuse(&mut state)?;
        let queue = state.queues.get(&name).ok_or_else(|| missing(&name))?;
        let spec = QueueSpec {
            partitions: queue.partitions,
            ordering: queue.ordering,
            deduplication: queue.deduplication,
            lease: prost_types::Duration::try_from(queue.lease).ok(),
            ..QueueSpec::default()
        };
        let (namespace, name) = name.split_once('/').unwrap_or_default();
        let queue = Queue {
            queue: Some(QueueRef {
                namespace: namespace.into(),
                name: name.into(),
            }),
            shards: (1..=queue.partitions).collect(),
            spec: Some(spec),
            id: queue.id,
            ..Queue::default()
        };
        Ok(Response::new(GetQueueResponse { queue: Some(queue) }))
    }

    async fn peek_messages(
        &self,
        request: Request<PeekMessagesRequest>,
    ) -> Answer<PeekMessagesResponse> {
        let mut state = self.shared.lock();
        refuse(&mut state)?;
        state.peeks.push(request.into_inner());
        Ok(Response::new(state.pages.pop_front().unwrap_or_default()))
    }

    async fn redrive_messages(
        &self,
        request: Request<RedriveMessagesRequest>,
    ) -> Answer<RedriveMessagesResponse> {
        let mut state = self.shared.lock();
        refuse(&mut state)?;
        state.redrives.push(request.into_inner());
        Ok(Response::new(state.pieces.pop_front().unwrap_or_default()))
    }

    unimplemented_calls! {
        create_queue(CreateQueueRequest) -> CreateQueueResponse;
        update_queue(UpdateQueueRequest) -> UpdateQueueResponse;
        delete_queue(DeleteQueueRequest) -> DeleteQueueResponse;
        list_queues(ListQueuesRequest) -> ListQueuesResponse;
        get_queue_stats(GetQueueStatsRequest) -> GetQueueStatsResponse;
        purge_queue(PurgeQueueRequest) -> PurgeQueueResponse;
        delete_message(DeleteMessageRequest) -> DeleteMessageResponse;
        redrive_message(RedriveMessageRequest) -> RedriveMessageResponse;
        seek_group(SeekGroupRequest) -> SeekGroupResponse;
        list_consumers(ListConsumersRequest) -> ListConsumersResponse;
        drain_consumers(DrainConsumersRequest) -> DrainConsumersResponse;
    }
}

#[tonic::async_trait]
impl ClusterService for Node {
    async fn get_topology(&self, _: Request<GetTopologyRequest>) -> Answer<GetTopologyResponse> {
        let mut state = self.shared.lock();
        refuse(&mut state)?;
        Ok(Response::new(topology(&state)))
    }

    unimplemented_calls! {
        get_cluster_status(GetClusterStatusRequest) -> GetClusterStatusResponse;
    }
}

#[tonic::async_trait]
impl MessageService for Node {
    type SendStreamStream = Frames<SendStreamResponse>;
    type ReceiveStreamStream = Frames<ReceiveStreamResponse>;

    async fn send_stream(
        &self,
        request: Request<Streaming<SendStreamRequest>>,
    ) -> Answer<Self::SendStreamStream> {
        let (down, answers) = mpsc::channel(64);
        tokio::spawn(self.clone().serve_sends(request.into_inner(), down));
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    async fn receive_stream(
        &self,
        request: Request<Streaming<ReceiveStreamRequest>>,
    ) -> Answer<Self::ReceiveStreamStream> {
        let (down, answers) = mpsc::channel(64);
        tokio::spawn(self.clone().serve_receives(request.into_inner(), down));
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    unimplemented_calls! {
        send(SendRequest) -> SendResponse;
        receive(ReceiveRequest) -> ReceiveResponse;
        settle(SettleRequest) -> SettleResponse;
        complete(CompleteRequest) -> CompleteResponse;
    }
}

type SendTo = mpsc::Sender<Result<SendStreamResponse, Status>>;
type ReceiveTo = mpsc::Sender<Result<ReceiveStreamResponse, Status>>;

impl Node {
    async fn serve_sends(self, mut up: Streaming<SendStreamRequest>, down: SendTo) {
        let Ok(Some(SendStreamRequest {
            frame: Some(SendUp::Open(open)),
        })) = up.message().await
        else {
            return;
        };
        let queue = name(open.queue);
        let known = self.shared.lock().queues.contains_key(&queue);
        if !known {
            let _ = down.send(Err(missing(&queue))).await;
            return;
        }
        let frame = |frame| Ok(SendStreamResponse { frame: Some(frame) });
        let _ = down
            .send(frame(SendDown::Credit(SendCredit { bytes: 1 << 20 })))
            .await;
        while let Ok(Some(SendStreamRequest {
            frame: Some(SendUp::Batch(batch)),
        })) = up.message().await
        {
            let bytes = batch
                .messages
                .iter()
                .map(|one| one.body.len() as u64 + 64)
                .sum();
            let id = batch.batch_id;
            let (results, delay) = self.accept(&queue, &open.producer_id, batch);
            sleep(delay).await;
            let Some(results) = results else { return };
            self.shared.changed.notify_waiters();
            let result = SendBatchResult {
                batch_id: id,
                results,
            };
            let _ = down.send(frame(SendDown::Result(result))).await;
            let _ = down
                .send(frame(SendDown::Credit(SendCredit { bytes })))
                .await;
        }
    }

    /// `None`: accepted, and the answer is to be lost.
    fn accept(
        &self,
        queue: &str,
        producer: &str,
        batch: SendBatch,
    ) -> (Option<Vec<SendResult>>, Duration) {
        let mut state = self.shared.lock();
        let delay = match state.faults.mute {
            Some(node) if node == self.number => Duration::from_mins(1),
            _ => state.faults.delay,
        };
        state.batches.push(batch.messages.len());
        let partition = batch.partition.unwrap_or(0);
        if state.leaders.get(&(partition + 1)) != Some(&self.number) {
            state.forwarded += 1;
        }
        if state.faults.refuse_sends > 0 {
            state.faults.refuse_sends -= 1;
            let error = EntryError {
                code: 14,
                message: "not now".into(),
                retryable: true,
            };
            let refused = SendResult {
                error: Some(error),
                ..SendResult::default()
            };
            return (Some(vec![refused; batch.messages.len()]), delay);
        }
        let Some(queue) = state.queues.get_mut(queue) else {
            return (None, delay);
        };
        let numbered = (batch.first_sequence..).zip(batch.messages);
        let send = |(number, message)| queue.send(producer, partition, number, message);
        let results = numbered.map(send).collect();
        if state.faults.lose_answers > 0 {
            state.faults.lose_answers -= 1;
            return (None, delay);
        }
        (Some(results), delay)
    }

    async fn serve_receives(self, mut up: Streaming<ReceiveStreamRequest>, down: ReceiveTo) {
        let Ok(Some(ReceiveStreamRequest {
            frame: Some(ReceiveUp::Open(open)),
        })) = up.message().await
        else {
            return;
        };
        let queue = name(open.queue.clone());
        let partitions: BTreeSet<u32> = open.partitions.iter().copied().collect();
        let again = self.opened(&queue, &open, &partitions);
        let Some((again, opened)) = again else {
            let _ = down.send(Err(missing(&queue))).await;
            return;
        };
        // What is made anew under the names is another one.
        let (queue_id, group_id) = (opened.queue_id, opened.group_id);
        let meant =
            |queue: &&mut super::queue::Queue| (queue.id, queue.group_id) == (queue_id, group_id);
        let frame = |frame| Ok(ReceiveStreamResponse { frame: Some(frame) });
        let _ = down.send(frame(ReceiveDown::Opened(opened))).await;
        let batch = DeliveryBatch { deliveries: again };
        let _ = down.send(frame(ReceiveDown::Deliveries(batch))).await;
        let lease = open.lease.and_then(|lease| Duration::try_from(lease).ok());
        let (mut credit, mut told, mut short) = (0, None, false);
        loop {
            let (deliveries, drained, more) = {
                let mut state = self.shared.lock();
                let Some(queue) = state.queues.get_mut(&queue).filter(meant) else {
                    return;
                };
                let leased = queue.lease(&open.session_id, &partitions, credit, lease);
                (leased, queue.drained, queue.is_ready(&partitions))
            };
            if drained != told {
                told = drained;
                let remaining = drained.and_then(|left| left.try_into().ok());
                let draining = ReceiveStreamDraining { remaining };
                let _ = down.send(frame(ReceiveDown::Draining(draining))).await;
            }
            if !deliveries.is_empty() {
                credit -= deliveries.len() as u32;
                let batch = DeliveryBatch { deliveries };
                let _ = down.send(frame(ReceiveDown::Deliveries(batch))).await;
            }
            if more && credit == 0 && !short {
                short = true;
                let available = ReceiveStreamAvailable {};
                let _ = down.send(frame(ReceiveDown::Available(available))).await;
            }
            let asked = tokio::select! {
                asked = up.message() => asked,
                () = sleep(Duration::from_millis(5)) => continue,
            };
            match asked.ok().flatten().and_then(|asked| asked.frame) {
                Some(ReceiveUp::Credit(ReceiveCredit { messages: 0 })) => {
                    let messages = std::mem::take(&mut credit);
                    let returned = ReceiveStreamReturned { messages };
                    let _ = down.send(frame(ReceiveDown::Returned(returned))).await;
                }
                Some(ReceiveUp::Credit(more)) => (credit, short) = (credit + more.messages, false),
                Some(ReceiveUp::Settle(batch)) => {
                    let Some(batch) = self.settle(&queue, &batch) else {
                        return;
                    };
                    let _ = down.send(frame(ReceiveDown::Settled(batch))).await;
                }
                _ => return,
            }
        }
    }

    /// What is leased to the session already, and what its stream is of.
    fn opened(
        &self,
        queue: &str,
        open: &ReceiveStreamOpen,
        partitions: &BTreeSet<u32>,
    ) -> Option<(Vec<Delivery>, ReceiveStreamOpened)> {
        let mut state = self.shared.lock();
        let queue = state.queues.get_mut(queue);
        let queue = queue.filter(|queue| is_meant(queue, open))?;
        queue.streams.push(open.stream);
        queue.drained_before.push(open.draining.is_some());
        let again = queue.again(&open.session_id, partitions, &open.held_receipts);
        let opened = ReceiveStreamOpened {
            queue_id: queue.id,
            group_id: queue.group_id,
        };
        Some((again, opened))
    }

    fn settle(&self, queue: &str, batch: &SettleBatch) -> Option<SettleBatchResult> {
        let mut state = self.shared.lock();
        let queue = state.queues.get_mut(queue)?;
        let results = batch
            .settlements
            .iter()
            .map(|one| queue.settle(one))
            .collect();
        if state.faults.lose_settles > 0 {
            state.faults.lose_settles -= 1;
            return None;
        }
        Some(SettleBatchResult {
            batch_id: batch.batch_id,
            results,
        })
    }
}

fn is_meant(queue: &super::queue::Queue, open: &ReceiveStreamOpen) -> bool {
    let group = [0, queue.group_id].contains(&open.group_id);
    queue.id == open.queue_id && group
}
