//! One send stream to one node.

use roadstead_proto::v1::message_service_client::MessageServiceClient;
use roadstead_proto::v1::send_stream_request::Frame as Up;
use roadstead_proto::v1::send_stream_response::Frame as Down;
use roadstead_proto::v1::{QueueRef, SendBatch, SendResult, SendStreamOpen, SendStreamRequest};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::channels::{MAX_FRAME_BYTES, Service};
use crate::error::Fault;

/// What a link reports to the engine; first the link's number, where one is needed.
#[derive(Debug)]
pub(crate) enum Report {
    /// The server takes this many more bytes.
    Credit(u64, u64),
    /// The answer to a batch, by its number.
    Answer(u64, Vec<SendResult>),
    /// The link is over; what was in flight on it goes unanswered.
    Lost(u64, Fault),
}

/// The engine's end of a link. What goes in is bounded by the credit that the server gave.
#[derive(Debug)]
pub(crate) struct Link {
    frames: mpsc::UnboundedSender<SendStreamRequest>,
}

impl Link {
    /// Opens a stream in the background. Reports end with exactly one `Lost`.
    pub fn open(
        number: u64,
        service: Service,
        open: (QueueRef, String),
        reports: mpsc::UnboundedSender<Report>,
    ) -> Self {
        let (frames, outgoing) = mpsc::unbounded_channel();
        let (queue, producer_id) = open;
        let first = SendStreamOpen {
            queue: Some(queue),
            producer_id,
        };
        let link = Self { frames };
        link.send(Up::Open(first));
        tokio::spawn(async move {
            let fault = match run(number, service, outgoing, &reports).await {
                Ok(()) => Fault::unreachable("the server ended the stream"),
                Err(status) => Fault::from(status),
            };
            // Nobody listens any more once the producer is gone.
            let _ = reports.send(Report::Lost(number, fault));
        });
        link
    }

    /// Sends a batch; that the link is broken is reported as `Lost`.
    pub fn batch(&self, batch: SendBatch) {
        self.send(Up::Batch(batch));
    }

    fn send(&self, frame: Up) {
        // A closed channel means that the stream is over, which is reported apart.
        let _ = self.frames.send(SendStreamRequest { frame: Some(frame) });
    }
}

async fn run(
    number: u64,
    service: Service,
    outgoing: mpsc::UnboundedReceiver<SendStreamRequest>,
    reports: &mpsc::UnboundedSender<Report>,
) -> Result<(), tonic::Status> {
    let mut client = MessageServiceClient::new(service).max_decoding_message_size(MAX_FRAME_BYTES);
    let answer = client
        .send_stream(UnboundedReceiverStream::new(outgoing))
        .await?;
    let mut incoming = answer.into_inner();
    while let Some(frame) = incoming.message().await? {
        let report = match frame.frame {
            Some(Down::Credit(credit)) => Report::Credit(number, credit.bytes),
            Some(Down::Result(result)) => Report::Answer(result.batch_id, result.results),
            None => continue,
        };
        if reports.send(report).is_err() {
            break;
        }
    }
    Ok(())
}
