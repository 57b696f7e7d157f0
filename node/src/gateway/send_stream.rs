//! Streams of sends: batches in, results out, credit in bytes.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;

use futures_util::stream::{FuturesUnordered, StreamExt};
use openraft_rt::Select2;
use roadstead_proto::v1::{
    Ordering, Producer, SendBatch, SendBatchResult, SendCredit, SendRequest, SendResult,
    SendStreamOpen, SendStreamRequest, SendStreamResponse, send_stream_request,
    send_stream_response,
};
use tokio::sync::mpsc;

use super::shards::QueueInfo;
use super::{ApiError, Gateway, validate};
use crate::auth::{Action, Principal};
use crate::runtime::Runtime;
use crate::shard::entry_error;

/// Bytes of bodies that a stream may have on their way.
const CREDIT_BYTES: u64 = 4 << 20;
/// Batches that a stream may have on their way, whatever their size.
const BATCHES_MAX: usize = 64;
/// Frames to the client that may wait for it.
const FRAMES: usize = 16;

type Frame = Result<SendStreamResponse, ApiError>;
type Sending = Pin<Box<dyn Future<Output = (SendBatchResult, u64)> + Send>>;

impl<R: Runtime> Gateway<R> {
    /// Serves a stream of sends until the client ends it. An error is the last frame.
    pub fn send_stream(
        self: &Arc<Self>,
        principal: Principal,
        frames: mpsc::Receiver<SendStreamRequest>,
    ) -> mpsc::Receiver<Frame> {
        let (answers, stream) = mpsc::channel(FRAMES);
        let gateway = self.clone();
        self.scope.spawn(async move {
            if let Err(error) = serve(&gateway, principal, frames, &answers).await {
                let _ = answers.send(Err(error)).await;
            }
        });
        stream
    }
}

struct Stream<R: Runtime> {
    gateway: Arc<Gateway<R>>,
    principal: Principal,
    info: Arc<QueueInfo>,
    producer_id: String,
}

/// Reads the first frame.
async fn open_stream<R: Runtime>(
    gateway: &Arc<Gateway<R>>,
    principal: Principal,
    frames: &mut mpsc::Receiver<SendStreamRequest>,
) -> Result<Option<Arc<Stream<R>>>, ApiError> {
    let Some(first) = frames.recv().await else {
        return Ok(None);
    };
    let Some(send_stream_request::Frame::Open(open)) = first.frame else {
        let message = "the first frame of a stream of sends is `open`";
        return Err(ApiError::invalid("open", message));
    };
    let SendStreamOpen { queue, producer_id } = open;
    let info = gateway
        .queue(&principal, Action::Send, queue.as_ref())
        .await?;
    if !producer_id.is_empty() {
        validate::id("producer_id", &producer_id)?;
    }
    Ok(Some(Arc::new(Stream {
        gateway: gateway.clone(),
        principal,
        info,
        producer_id,
    })))
}

async fn serve<R: Runtime>(
    gateway: &Arc<Gateway<R>>,
    principal: Principal,
    mut frames: mpsc::Receiver<SendStreamRequest>,
    answers: &mpsc::Sender<Frame>,
) -> Result<(), ApiError> {
    let Some(stream) = open_stream(gateway, principal, &mut frames).await? else {
        return Ok(());
    };
    // Where order is kept, a batch waits for the one before: a retry must not overtake it.
    let ordering = stream.info.spec().ordering();
    let ordered = !matches!(ordering, Ordering::Unspecified | Ordering::None);
    let batches_max = if ordered { 1 } else { BATCHES_MAX };
    let mut sending = FuturesUnordered::<Sending>::new();
    let (mut sending_bytes, mut last_batch) = (0, 0);
    let mut open = answers.send(Ok(credit(CREDIT_BYTES))).await.is_ok();
    while open || !sending.is_empty() {
        // A client that ignores its credit is not read from.
        let room = open && sending.len() < batches_max && sending_bytes < CREDIT_BYTES;
        let done = async {
            match sending.next().await {
                Some(done) => done,
                None => std::future::pending().await,
            }
        };
        let more = async {
            if room {
                frames.recv().await
            } else {
                std::future::pending().await
            }
        };
        let event = R::select2(pin!(done), pin!(more)).await;
        match event {
            Select2::First((result, bytes)) => {
                sending_bytes -= bytes;
                let frame = send_stream_response::Frame::Result(result);
                let result = Ok(SendStreamResponse { frame: Some(frame) });
                if answers.send(result).await.is_err()
                    || answers.send(Ok(credit(bytes))).await.is_err()
                {
                    return Ok(());
                }
            }
            Select2::Second(Some(SendStreamRequest { frame })) => match frame {
                Some(send_stream_request::Frame::Batch(batch)) => {
                    // Each entry would be answered; there is no saying how many they are.
                    validate::not_too_many("messages", batch.messages.len())?;
                    last_batch = validate::rising("batch_id", batch.batch_id, last_batch)?;
                    let bytes = batch.messages.iter().map(|m| m.body.len() as u64).sum();
                    sending_bytes += bytes;
                    let stream = stream.clone();
                    sending.push(Box::pin(async move { (stream.send(batch).await, bytes) }));
                }
                Some(send_stream_request::Frame::Open(_)) | None => {
                    let message = "a frame after the first of a stream of sends is a `batch`";
                    return Err(ApiError::invalid("batch", message));
                }
            },
            Select2::Second(None) => open = false,
        }
    }
    Ok(())
}

impl<R: Runtime> Stream<R> {
    /// Sends one batch; whatever is wrong with it is said in its results.
    async fn send(&self, batch: SendBatch) -> SendBatchResult {
        let SendBatch {
            batch_id,
            messages,
            partition,
            first_sequence,
            atomic,
        } = batch;
        let count = messages.len();
        let producer = (first_sequence > 0).then(|| Producer {
            id: self.producer_id.clone(),
            first_sequence,
        });
        let sent = match validate::producer(producer.as_ref(), partition) {
            Ok(()) => {
                let request = SendRequest {
                    queue: None,
                    messages,
                    producer,
                    partition,
                    atomic,
                };
                // What it promises may have changed since the stream was opened.
                let info = self.gateway.queues.by_id(self.info.id());
                let info = info.unwrap_or_else(|| self.info.clone());
                self.gateway.send_to(&self.principal, &info, request).await
            }
            Err(error) => Err(error),
        };
        let results = sent.map_or_else(
            |error| {
                let error = Some(entry_error(&error));
                vec![
                    SendResult {
                        error,
                        ..SendResult::default()
                    };
                    count.max(1)
                ]
            },
            |sent| sent.results,
        );
        SendBatchResult { batch_id, results }
    }
}

fn credit(bytes: u64) -> SendStreamResponse {
    let frame = send_stream_response::Frame::Credit(SendCredit { bytes });
    SendStreamResponse { frame: Some(frame) }
}
