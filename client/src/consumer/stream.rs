//! One receive stream to one node.

use std::time::Duration;

use roadstead_proto::v1::message_service_client::MessageServiceClient;
use roadstead_proto::v1::receive_stream_request::Frame as Up;
use roadstead_proto::v1::receive_stream_response::Frame as Down;
use roadstead_proto::v1::{
    Delivery, ReceiveCredit, ReceiveStreamOpen, ReceiveStreamRequest, SettleBatch, SettleResult,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::channels::{MAX_FRAME_BYTES, Service};
use crate::error::Fault;

/// What a stream reports to the engine, with the stream's number.
#[derive(Debug)]
pub(crate) enum Report {
    /// The stream is served, with the id of its group.
    Opened(u64, u32),
    Deliveries(u64, Vec<Delivery>),
    /// The answer to a batch of settlements.
    Settled(u64, u64, Vec<SettleResult>),
    /// Credit came back unused.
    Returned(u64, u32),
    /// All credit is used, and there is more.
    Available(u64),
    /// The consumer is drained for this long, or not any more.
    Draining(u64, Option<Duration>),
    /// The stream is over.
    Ended(u64, Fault),
}

/// The engine's end of a stream. What goes in is bounded by what the consumer holds. Dropping it
/// half-closes the stream.
#[derive(Debug)]
pub(crate) struct Stream {
    frames: mpsc::UnboundedSender<ReceiveStreamRequest>,
}

impl Stream {
    /// Opens a stream in the background. Reports end with exactly one `Ended`.
    pub fn open(
        number: u64,
        service: Service,
        open: ReceiveStreamOpen,
        reports: mpsc::UnboundedSender<Report>,
    ) -> Self {
        let (frames, outgoing) = mpsc::unbounded_channel();
        let stream = Self { frames };
        stream.send(Up::Open(open));
        tokio::spawn(async move {
            let fault = match run(number, service, outgoing, &reports).await {
                Ok(()) => Fault::unreachable("the server ended the stream"),
                Err(status) => Fault::from(status),
            };
            // Nobody listens any more once the consumer is gone.
            let _ = reports.send(Report::Ended(number, fault));
        });
        stream
    }

    /// The server may deliver this many more; 0 takes back what is unused.
    pub fn credit(&self, messages: u32) {
        self.send(Up::Credit(ReceiveCredit { messages }));
    }

    pub fn settle(&self, batch: SettleBatch) {
        self.send(Up::Settle(batch));
    }

    fn send(&self, frame: Up) {
        // A closed channel means that the stream is over, which is reported apart.
        let _ = self
            .frames
            .send(ReceiveStreamRequest { frame: Some(frame) });
    }
}

async fn run(
    number: u64,
    service: Service,
    outgoing: mpsc::UnboundedReceiver<ReceiveStreamRequest>,
    reports: &mpsc::UnboundedSender<Report>,
) -> Result<(), tonic::Status> {
    let mut client = MessageServiceClient::new(service).max_decoding_message_size(MAX_FRAME_BYTES);
    let answer = client
        .receive_stream(UnboundedReceiverStream::new(outgoing))
        .await?;
    let mut incoming = answer.into_inner();
    while let Some(frame) = incoming.message().await? {
        let report = match frame.frame {
            Some(Down::Opened(opened)) => Report::Opened(number, opened.group_id),
            Some(Down::Deliveries(batch)) => Report::Deliveries(number, batch.deliveries),
            Some(Down::Settled(batch)) => Report::Settled(number, batch.batch_id, batch.results),
            Some(Down::Draining(draining)) => {
                let left = draining.remaining.map(Duration::try_from);
                Report::Draining(number, left.and_then(Result::ok))
            }
            Some(Down::Returned(returned)) => Report::Returned(number, returned.messages),
            Some(Down::Available(_)) => Report::Available(number),
            None => continue,
        };
        if reports.send(report).is_err() {
            break;
        }
    }
    Ok(())
}
