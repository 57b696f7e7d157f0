//! Sends of which some messages are refused: these with their reasons, the others are sent. Pure.

use roadstead_core::shard::Refusal;
use roadstead_proto::v1::{QueueRef, QueueSpec, SendRequest, SendResponse, SendResult};

use super::ApiError;
use crate::shard::{entry_error, refused};

/// A send of messages that are valid for a queue with this specification.
pub(super) struct ValidSend {
    pub request: SendRequest,
    pub spec: QueueSpec,
    /// Places, from 0 and rising, of the refused ones among all that have numbers of a producer.
    pub left_out: Vec<u32>,
}

impl ValidSend {
    /// Of which nothing was refused.
    pub fn whole(request: SendRequest, spec: QueueSpec) -> Self {
        Self {
            request,
            spec,
            left_out: Vec::new(),
        }
    }
}

/// One result per message of the request: an error where it is refused, also for the sake of
/// others; those without are to be sent.
pub(super) fn results(
    request: &SendRequest,
    queue: &QueueRef,
    refusals: Vec<(usize, ApiError)>,
) -> Vec<SendResult> {
    let partition = request.partition.unwrap_or_default();
    let others = if request.atomic {
        failed(partition, &refused(Refusal::BatchRefused, queue))
    } else {
        SendResult::default()
    };
    let mut results = vec![others; request.messages.len()];
    for (place, error) in refusals {
        let mut error = error.about(queue);
        error.message = format!("queue {queue}: {}", error.message);
        results[place] = failed(partition, &error);
    }
    results
}

/// The messages that are to be sent, with their places in the request.
pub(super) fn rest(
    mut request: SendRequest,
    spec: QueueSpec,
    results: &[SendResult],
) -> (Vec<usize>, ValidSend) {
    let (left_out, places): (Vec<_>, Vec<_>) =
        (0..results.len()).partition(|&place| results[place].error.is_some());
    let mut of = results.iter();
    let is_sent = |result: &SendResult| result.error.is_none();
    request.messages.retain(|_| of.next().is_some_and(is_sent));
    let numbered = request.producer.is_some();
    let left_out = left_out.into_iter().filter(|_| numbered);
    let left_out = left_out.map(|place| place as u32).collect();
    let rest = ValidSend {
        request,
        spec,
        left_out,
    };
    (places, rest)
}

/// Puts what became of a part of the messages where they stand in the request.
pub(super) fn put(
    results: &mut [SendResult],
    partition: u32,
    places: &[usize],
    sent: Result<SendResponse, ApiError>,
) {
    match sent {
        Ok(sent) => {
            for (place, result) in places.iter().zip(sent.results) {
                results[*place] = result;
            }
        }
        Err(error) => {
            for place in places {
                results[*place] = failed(partition, &error);
            }
        }
    }
}

fn failed(partition: u32, error: &ApiError) -> SendResult {
    SendResult {
        partition,
        error: Some(entry_error(error)),
        ..SendResult::default()
    }
}
