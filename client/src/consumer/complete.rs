//! Acks that send what came of a message with them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use roadstead_proto::v1::message_service_client::MessageServiceClient;
use roadstead_proto::v1::{CompleteRequest, Output as WireOutput, QueueRef};
use tokio::sync::{mpsc, oneshot};
use tonic::Code;

use super::engine::Command;
use crate::client::Shared;
use crate::error::{CallError, SettleError};
use crate::message::Message;

/// How long the call is tried again while it may help.
const PATIENCE: Duration = Duration::from_secs(10);

/// A message that came of another one, and the queue that it goes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    queue: String,
    message: Message,
}

impl Output {
    /// `queue`: `name` or `namespace/name`.
    pub fn new(queue: &str, message: Message) -> Self {
        Self {
            queue: queue.to_owned(),
            message,
        }
    }
}

/// A message on its way to be acked with its outputs. It is sent whether this is awaited or not;
/// awaiting it gives the outputs' message ids, in their order.
#[derive(Debug)]
pub struct Completed(pub(crate) oneshot::Receiver<Result<Vec<String>, SettleError>>);

impl Future for Completed {
    type Output = Result<Vec<String>, SettleError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = Pin::new(&mut self.0).poll(context);
        polled.map(|answer| answer.unwrap_or(Err(SettleError::Closed)))
    }
}

/// One delivery that is to be completed.
#[derive(Debug)]
pub(crate) struct Completing {
    pub partition: u32,
    pub receipt: Bytes,
    pub outputs: Vec<Output>,
    pub asker: oneshot::Sender<Result<Vec<String>, SettleError>>,
}

impl Completing {
    /// Makes the call and tells whoever asked; then the engine, that the delivery is held no more.
    pub async fn run(
        self,
        shared: Arc<Shared>,
        queue: Option<QueueRef>,
        engine: mpsc::UnboundedSender<Command>,
    ) {
        let output = |output: &Output| WireOutput {
            queue: Some(shared.queue_ref(&output.queue)),
            message: Some(output.message.0.clone()),
        };
        let request = CompleteRequest {
            queue,
            receipts: vec![self.receipt.clone()],
            outputs: self.outputs.iter().map(output).collect(),
        };
        let mut tries = 0;
        let answer = shared.call(PATIENCE, |service| {
            tries += 1;
            let request = request.clone();
            async move { MessageServiceClient::new(service).complete(request).await }
        });
        let answer = answer.await;
        let outcome = answer
            .map(|answer| answer.message_ids)
            .map_err(|error| reason(error, tries));
        let refused = match &outcome {
            Err(SettleError::Refused(fault)) => Some(fault.message.clone()),
            _ => None,
        };
        // Whoever completed it may not wait for the answer, and the engine may have ended.
        let _ = self.asker.send(outcome);
        let _ = engine.send(Command::Completed {
            partition: self.partition,
            receipt: self.receipt,
            refused,
        });
    }
}

/// A receipt that is gone at the second try may have been acked by the first.
fn reason(error: CallError, tries: u32) -> SettleError {
    let fault = match error {
        CallError::Refused(fault) => fault,
        CallError::Unreachable { last, .. } => return SettleError::Unknown(last),
    };
    let stale = fault.code == Code::NotFound && fault.field == "receipts";
    match (stale, fault.retryable) {
        (true, _) if tries < 2 => SettleError::Stale(fault),
        // A refusal says nothing of a first try that was not answered.
        (false, false) if tries < 2 => SettleError::Refused(fault),
        _ => SettleError::Unknown(fault),
    }
}
