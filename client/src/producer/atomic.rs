//! Messages that are sent as a whole or not at all.

use std::collections::BTreeSet;
use std::time::Instant;

use tokio::sync::oneshot;
use tonic::Code;

use super::batch::{Accepted, Pending};
use super::engine::{Command, Reply};
use super::{Producer, Sending};
use crate::channels::MAX_REQUEST_BYTES;
use crate::error::{Fault, SendError};
use crate::message::Message;

/// Messages of an atomic batch at most.
const BATCH_MAX: usize = 1_000;

impl Producer {
    /// Sends messages that are added as a whole or not at all, in one step: no consumer sees a part
    /// of them. 1..=1,000 messages of one partition: with one ordering key, or none.
    ///
    /// # Errors
    /// Of the first message that was refused, with the reason; none was added then, unless the
    /// error says that it is not known.
    pub async fn send_atomic(
        &self,
        messages: impl IntoIterator<Item = Message>,
    ) -> Result<Vec<Accepted>, SendError> {
        let messages: Vec<Message> = messages.into_iter().collect();
        let partition = self.partition_of_all(&messages)?;
        let sending = self.enqueue_together(partition, messages).await;
        let mut accepted = Vec::with_capacity(sending.len());
        let mut first = None;
        for one in sending {
            match one.await {
                Ok(one) => accepted.push(one),
                // That it was refused with another one says less than the other one's reason.
                Err(error) => {
                    first = match first {
                        Some(known) if !refused_with_another(&known) => Some(known),
                        _ => Some(error),
                    }
                }
            }
        }
        first.map_or(Ok(accepted), Err)
    }

    /// The partition that an atomic batch belongs to; None: any.
    fn partition_of_all(&self, messages: &[Message]) -> Result<Option<u32>, SendError> {
        let size: usize = messages.iter().map(Message::content_size).sum();
        let refused = |fault| Err(SendError::Refused(Box::new(fault)));
        if size > MAX_REQUEST_BYTES {
            return refused(Fault::too_large(size, MAX_REQUEST_BYTES));
        }
        if messages.is_empty() || messages.len() > BATCH_MAX {
            let count = messages.len();
            let message = format!("an atomic batch has 1 to {BATCH_MAX} messages, not {count}");
            return refused(Fault::invalid("messages", message));
        }
        let partitions = messages
            .iter()
            .filter_map(|message| self.partition_of(message))
            .collect::<BTreeSet<_>>();
        if partitions.len() > 1 {
            let message = "an atomic batch lies in one partition, and the ordering keys or \
                           deduplication ids of this one belong to several: send one for each"
                .to_owned();
            return refused(Fault::invalid("messages", message));
        }
        Ok(partitions.first().copied())
    }

    async fn enqueue_together(
        &self,
        partition: Option<u32>,
        messages: Vec<Message>,
    ) -> Vec<Sending> {
        let size = messages.iter().map(Message::size).sum::<usize>();
        let share = u32::try_from(size.min(self.buffer_bytes)).unwrap_or(u32::MAX);
        // The semaphore is never closed, so this only waits.
        let Ok(budget) = self.budget.clone().acquire_many_owned(share).await else {
            return Vec::new();
        };
        // They are finished together: the first gives back what all of them hold.
        let mut budget = Some(budget);
        let since = Instant::now();
        let mut together = messages.len();
        let mut sending = Vec::with_capacity(together);
        let mut batch = Vec::with_capacity(together);
        for message in messages {
            let (sender, receiver) = oneshot::channel();
            sending.push(Sending(receiver));
            batch.push(Pending {
                size: message.size(),
                message: message.0,
                since,
                deadline: since + self.timeout,
                together: std::mem::take(&mut together),
                reply: Reply {
                    sender,
                    _budget: budget.take(),
                },
            });
        }
        // Were the engine gone, the replies would be dropped and the answer be `Closed`.
        let _ = self.commands.send(Command::SendTogether(partition, batch));
        sending
    }
}

/// Whether a message of an atomic batch was refused for another one's sake.
fn refused_with_another(error: &SendError) -> bool {
    matches!(error, SendError::Refused(fault) if fault.code == Code::Aborted)
}
