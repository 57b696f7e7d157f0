//! A message in the hands of the application.

use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use roadstead_proto::v1::settlement::Action;
use roadstead_proto::v1::{Ack, Extend, Nack, Reject, Settlement};
use tokio::sync::{mpsc, oneshot};

use super::complete::{Completed, Completing, Output};
use super::engine::Command;
use super::settles::{Asker, Settling};
use crate::error::{Fault, SettleError};
use crate::message::ReceivedMessage;

/// One message, leased to this consumer. Its lease is kept alive until it is settled; dropping it
/// unsettled gives it back, and it counts as delivered.
#[derive(Debug)]
pub struct Delivery {
    message: Arc<ReceivedMessage>,
    /// Empty where there is nothing to settle (at most once).
    receipt: Bytes,
    settled: bool,
    commands: mpsc::UnboundedSender<Command>,
}

const UNSTARTED: Nack = Nack {
    delay: None,
    error: String::new(),
    unstarted: true,
};

/// A settlement on its way. It is sent whether this is awaited or not; awaiting it tells whether it
/// was done.
#[derive(Debug)]
pub struct Settled(Option<oneshot::Receiver<Result<(), SettleError>>>);

impl Future for Settled {
    type Output = Result<(), SettleError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(receiver) = &mut self.0 else {
            return Poll::Ready(Ok(()));
        };
        let polled = Pin::new(receiver).poll(context);
        polled.map(|answer| answer.unwrap_or(Err(SettleError::Closed)))
    }
}

impl Deref for Delivery {
    type Target = ReceivedMessage;

    fn deref(&self) -> &ReceivedMessage {
        &self.message
    }
}

impl Delivery {
    pub(crate) fn new(
        message: ReceivedMessage,
        receipt: Bytes,
        commands: mpsc::UnboundedSender<Command>,
    ) -> Self {
        Self {
            message: Arc::new(message),
            receipt,
            settled: false,
            commands,
        }
    }

    /// The message, to keep.
    pub fn message(&self) -> Arc<ReceivedMessage> {
        self.message.clone()
    }

    /// Done: the message is gone for this group.
    pub fn ack(mut self) -> Settled {
        self.settle(Action::Ack(Ack {}))
    }

    /// Done, and these messages came of it: the ack and the sends are one step, of which a crash
    /// leaves all or nothing. At most 1,000 outputs, 16 MiB in all. Not of a queue that delivers
    /// at most once: its deliveries are acked already.
    ///
    /// # Errors
    /// Nothing was sent unless the error says that it is not known. Where the outputs are refused,
    /// the message goes back with the reason, as after a nack.
    pub fn complete(mut self, outputs: impl IntoIterator<Item = Output>) -> Completed {
        let (asker, answer) = oneshot::channel();
        self.settled = true;
        if self.receipt.is_empty() {
            // Were the engine gone, nobody would count any more.
            let _ = self.commands.send(Command::Done(self.message.partition));
            let message = "a delivery of a queue that delivers at most once cannot be completed";
            let fault = Fault::invalid("receipts", message.to_owned());
            // The other end is here.
            let _ = asker.send(Err(SettleError::Refused(Box::new(fault))));
            return Completed(answer);
        }
        let completing = Completing {
            partition: self.message.partition,
            receipt: self.receipt.clone(),
            outputs: outputs.into_iter().collect(),
            asker,
        };
        // Were the engine gone, the asker would be dropped and the answer be `Closed`.
        let _ = self.commands.send(Command::Complete(completing));
        Completed(answer)
    }

    /// Not done: deliver it again, not before a delay of at most 12 h has passed; `None`: as the
    /// queue's backoff says. The text is kept for the case that it becomes a dead letter.
    pub fn nack(mut self, delay: impl Into<Option<Duration>>, error: impl Into<String>) -> Settled {
        let delay = delay.into();
        let delay = delay.and_then(|delay| prost_types::Duration::try_from(delay).ok());
        self.settle(Action::Nack(Nack {
            delay,
            error: error.into(),
            unstarted: false,
        }))
    }

    /// Hands it back as if it had not been delivered: it does not count as a delivery.
    pub fn release(mut self) -> Settled {
        self.settle(Action::Nack(UNSTARTED))
    }

    /// Never deliver it again: dead-letter it now.
    pub fn reject(mut self, error: impl Into<String>) -> Settled {
        self.settle(Action::Reject(Reject {
            error: error.into(),
        }))
    }

    /// Sets the lease to end this long from now, at most 12 h; the lease is kept alive anyway.
    pub fn extend(&self, lease: Duration) -> Settled {
        let lease = prost_types::Duration::try_from(lease).ok();
        self.send(Action::Extend(Extend { lease }))
    }

    fn settle(&mut self, action: Action) -> Settled {
        self.settled = true;
        self.send(action)
    }

    fn send(&self, action: Action) -> Settled {
        if self.receipt.is_empty() {
            if self.settled {
                // Were the engine gone, nobody would count any more.
                let _ = self.commands.send(Command::Done(self.message.partition));
            }
            return Settled(None);
        }
        let (sender, receiver) = oneshot::channel();
        let settling = self.settling(action, Asker::Application(sender));
        // Were the engine gone, the sender would be dropped and the answer be `Closed`.
        let _ = self.commands.send(Command::Settle(settling));
        Settled(Some(receiver))
    }

    fn settling(&self, action: Action, asker: Asker) -> Settling {
        Settling {
            partition: self.message.partition,
            settlement: Settlement {
                receipt: self.receipt.clone(),
                action: Some(action),
            },
            since: Instant::now(),
            asker,
            retried: false,
        }
    }

    /// It can be given back: it was not acked by being delivered.
    pub(crate) fn is_leased(&self) -> bool {
        !self.receipt.is_empty()
    }

    /// Gives back what the application has not seen; it does not count as a delivery. `None` where
    /// there is nothing to give back.
    pub(crate) fn unstarted(mut self) -> Option<Settling> {
        self.settled = true;
        self.is_leased()
            .then(|| self.settling(Action::Nack(UNSTARTED), Asker::Return))
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        let error = "the consumer dropped the message without settling it".to_owned();
        // Nobody waits for the answer.
        drop(self.settle(Action::Nack(Nack {
            delay: None,
            error,
            unstarted: false,
        })));
    }
}
