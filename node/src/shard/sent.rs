//! What became of a send, op by op.

use roadstead_core::shard::{PartitionId, Refusal, Reply, SendOutcome};
use roadstead_proto::v1::{EntryError, QueueRef, SendResult};

use super::refusal::{entry_error, refused};
use super::send::odd_reply;
use crate::gateway::ApiError;

/// The results so far, in the order of the messages.
pub(super) struct Sent {
    shard: u16,
    partition: PartitionId,
    queue: QueueRef,
    /// There is one op: what fails fails the call.
    single: bool,
    pub(super) results: Vec<SendResult>,
    /// Places of those that were not added, as their keys live here no more.
    pub(super) moved: Vec<u32>,
    /// Why what follows is not sent.
    held_back: Option<EntryError>,
}

impl Sent {
    pub(super) fn new(shard: u16, (partition, queue): (PartitionId, QueueRef), ops: usize) -> Self {
        Self {
            shard,
            partition,
            queue,
            single: ops == 1,
            results: Vec::new(),
            moved: Vec::new(),
            held_back: None,
        }
    }

    pub(super) fn queue(&self) -> &QueueRef {
        &self.queue
    }

    pub(super) fn is_empty(&self) -> bool {
        self.results.is_empty()
    }

    /// Whether the next messages are not to be sent, as they would overtake others; they are
    /// refused for the same reason then.
    pub(super) fn hold_back(&mut self, count: usize) -> bool {
        let Some(error) = self.held_back.clone() else {
            return false;
        };
        self.fail(count, error);
        true
    }

    /// Takes the outcome of the next messages; where they are sent `in_turn`, those that follow are
    /// held back once one has failed for now.
    ///
    /// # Errors
    /// That of the call, where it had one op.
    pub(super) fn take(
        &mut self,
        count: usize,
        outcome: Result<Reply, ApiError>,
        in_turn: bool,
    ) -> Result<(), ApiError> {
        let before = self.results.len();
        match outcome {
            Ok(Reply::Sent(outcomes)) => {
                let temporary = temporary(&outcomes, &self.queue);
                let result = |outcome: &_| result(self.partition, &self.queue, *outcome, temporary);
                let results: Vec<_> = outcomes.iter().map(result).collect();
                self.results.extend(results);
                let places = (before as u32..).zip(&outcomes);
                let moved = places.filter(|(_, outcome)| **outcome == SendOutcome::Moved);
                self.moved.extend(moved.map(|(place, _)| place));
            }
            Ok(Reply::Refused(refusal)) if self.single => {
                return Err(refused(refusal, &self.queue));
            }
            Err(error) if self.single => return Err(error.about(&self.queue)),
            Ok(Reply::Refused(refusal)) => {
                self.fail(count, entry_error(&refused(refusal, &self.queue)));
            }
            Ok(_) => self.fail(count, entry_error(&odd_reply(self.shard))),
            Err(error) => self.fail(count, entry_error(&error)),
        }
        if in_turn {
            let errors = self.results[before..].iter();
            let mut errors = errors.filter_map(|result| result.error.as_ref());
            self.held_back = errors.find(|error| error.retryable).cloned();
        }
        Ok(())
    }

    fn fail(&mut self, count: usize, error: EntryError) {
        let result = SendResult {
            partition: self.partition.partition,
            error: Some(error),
            ..SendResult::default()
        };
        self.results.extend(std::iter::repeat_n(result, count));
    }
}

/// Whether what was refused together with others may be accepted later: when those may.
fn temporary(outcomes: &[SendOutcome], queue: &QueueRef) -> bool {
    let mut causes = outcomes.iter().filter_map(|outcome| match outcome {
        SendOutcome::Refused(Refusal::BatchRefused) => None,
        SendOutcome::Refused(refusal) => Some(refused(*refusal, queue)),
        _ => None,
    });
    causes.all(|cause| cause.detail.retryable)
}

fn result(
    partition: PartitionId,
    queue: &QueueRef,
    outcome: SendOutcome,
    temporary: bool,
) -> SendResult {
    let (sequence, duplicate) = match outcome {
        SendOutcome::Accepted { sequence } => (sequence, false),
        SendOutcome::Duplicate { sequence } => (sequence, true),
        SendOutcome::Moved => {
            return SendResult {
                partition: partition.partition,
                ..SendResult::default()
            };
        }
        SendOutcome::Refused(refusal) => {
            let mut error = entry_error(&refused(refusal, queue));
            error.retryable |= temporary && refusal == Refusal::BatchRefused;
            return SendResult {
                partition: partition.partition,
                error: Some(error),
                ..SendResult::default()
            };
        }
    };
    SendResult {
        message_id: message_id(partition, sequence),
        partition: partition.partition,
        sequence,
        duplicate,
        error: None,
    }
}

fn message_id(PartitionId { queue, partition }: PartitionId, sequence: u64) -> String {
    roadstead_core::shard::MessageId {
        queue,
        partition,
        sequence,
    }
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTITION: PartitionId = PartitionId {
        queue: 1,
        partition: 0,
    };

    fn sent(outcomes: &[SendOutcome], in_turn: bool) -> Sent {
        let mut sent = Sent::new(1, (PARTITION, QueueRef::default()), 2);
        let reply = Ok(Reply::Sent(outcomes.to_vec()));
        sent.take(outcomes.len(), reply, in_turn)
            .expect("an entry for each");
        sent
    }

    #[test]
    fn what_would_overtake_what_was_refused_for_now_is_held_back() {
        let accepted = SendOutcome::Accepted { sequence: 1 };
        let for_now = SendOutcome::Refused(Refusal::RateLimit);
        let for_good = SendOutcome::Refused(Refusal::TooLarge);
        for (outcome, in_turn, held) in [
            (for_now, true, true),
            (for_now, false, false),
            (for_good, true, false),
        ] {
            let mut sent = sent(&[accepted, outcome], in_turn);
            assert_eq!(sent.hold_back(2), held);
            let errors: Vec<_> = sent.results.iter().map(|it| it.error.is_some()).collect();
            let expected: &[bool] = if held {
                &[false, true, true, true]
            } else {
                &[false, true]
            };
            assert_eq!(errors, expected);
        }
    }
}
