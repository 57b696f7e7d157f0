//! A handler per message, several at once, and an orderly end.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Consumer, Delivery, Output};
use crate::error::{ReceiveError, SettleError};
use crate::message::ReceivedMessage;

/// What a handler made of a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Done.
    Ack,
    /// Done, and these messages came of it: acked and sent in one step.
    Complete(Vec<Output>),
    /// Not done: deliver it again.
    Nack {
        /// Not before this has passed, at most 12 h; `None`: as the queue's backoff says.
        delay: Option<Duration>,
        /// Kept for the case that it becomes a dead letter.
        error: String,
    },
    /// Never deliver it again: dead-letter it now.
    Reject {
        /// Kept with the dead letter.
        error: String,
    },
}

impl<E: std::fmt::Display> From<Result<(), E>> for Outcome {
    fn from(result: Result<(), E>) -> Self {
        match result {
            Ok(()) => Self::Ack,
            Err(error) => Self::Nack {
                delay: None,
                error: error.to_string(),
            },
        }
    }
}

/// What a run did, by the server's answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunReport {
    /// Messages acked.
    pub acked: u64,
    /// Messages nacked or rejected by the handler.
    pub failed: u64,
    /// Messages whose settlement was not done, for instance because the lease had ended.
    pub unsettled: u64,
    /// Handlers that were still at work when the grace was over; their messages went back.
    pub cut: u64,
}

enum Done {
    Acked,
    Failed,
    Unsettled,
}

impl Consumer {
    /// Calls `handler` for each message, `concurrency` at once, until `stop` resolves, or the
    /// consumer is drained and is to [end then](super::ConsumerBuilder::end_when_drained); then
    /// fetches no more, gives back what was not begun, and lets handlers and settlements finish
    /// within the grace. A handler that panics nacks its message.
    ///
    /// # Errors
    /// When the server refuses to deliver: the queue was deleted, also when one of the same name
    /// was made since, as that is another queue; or the right to use it is gone.
    pub async fn run<H, F, O>(
        self,
        concurrency: usize,
        handler: H,
        stop: impl Future<Output = ()>,
    ) -> Result<RunReport, ReceiveError>
    where
        H: Fn(Arc<ReceivedMessage>) -> F,
        F: Future<Output = O> + Send + 'static,
        O: Into<Outcome> + 'static,
    {
        let mut stop = pin!(stop);
        let mut tasks: JoinSet<Done> = JoinSet::new();
        let mut report = RunReport::default();
        loop {
            let room = tasks.len() < concurrency.max(1);
            tokio::select! {
                biased;
                () = &mut stop => break,
                Some(done) = tasks.join_next() => report.count(done.ok().as_ref()),
                next = self.next(), if room => match next? {
                    Some(delivery) => {
                        let work = handler(delivery.message());
                        tasks.spawn(handle(delivery, work));
                    }
                    None => break,
                },
            }
        }
        self.stop();
        let deadline = Instant::now() + self.grace;
        let finish = async {
            while let Some(done) = tasks.join_next().await {
                report.count(done.ok().as_ref());
            }
        };
        if timeout(self.grace, finish).await.is_err() {
            report.cut = tasks.len() as u64;
            tasks.shutdown().await;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        self.close(left.max(Duration::from_millis(500))).await;
        Ok(report)
    }
}

impl RunReport {
    /// `None`: the handler panicked, and its message went back.
    fn count(&mut self, done: Option<&Done>) {
        match done {
            Some(Done::Acked) => self.acked += 1,
            Some(Done::Failed) | None => self.failed += 1,
            Some(Done::Unsettled) => self.unsettled += 1,
        }
    }
}

async fn handle<O: Into<Outcome>>(delivery: Delivery, work: impl Future<Output = O>) -> Done {
    let id = delivery.id.clone();
    let outcome = work.await.into();
    let acked = matches!(outcome, Outcome::Ack | Outcome::Complete(_));
    match settle(delivery, outcome).await {
        Ok(()) if acked => Done::Acked,
        Ok(()) => Done::Failed,
        Err(error) => {
            tracing::warn!(message = %id, %error, "a message was handled and not settled");
            Done::Unsettled
        }
    }
}

async fn settle(delivery: Delivery, outcome: Outcome) -> Result<(), SettleError> {
    match outcome {
        Outcome::Ack => delivery.ack().await,
        Outcome::Complete(outputs) => delivery.complete(outputs).await.map(drop),
        Outcome::Nack { delay, error } => delivery.nack(delay, error).await,
        Outcome::Reject { error } => delivery.reject(error).await,
    }
}
