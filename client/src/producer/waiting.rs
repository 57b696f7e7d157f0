//! Messages that wait for their batch, in the order in which they were sent.

use std::collections::VecDeque;
use std::time::Instant;

use super::batch::{Pending, Verdict};
use super::lanes::Limits;
use crate::error::Fault;

/// Messages that must go together with the first that waits.
pub(crate) fn least<T>(waiting: &VecDeque<Pending<T>>) -> usize {
    waiting.front().map_or(1, |first| first.together.max(1))
}

/// Messages and bytes of the batch that those who wait begin with: an atomic one as it is, else
/// what fits before the next atomic one.
pub(crate) fn batch_of<T>(waiting: &VecDeque<Pending<T>>, limits: &Limits) -> (usize, usize) {
    let together = waiting.front().map_or(0, |first| first.together);
    if together > 0 {
        let bytes = waiting.iter().take(together).map(|it| it.size).sum();
        return (together, bytes);
    }
    let (mut count, mut bytes) = (0, 0);
    for pending in waiting.iter().take(limits.batch_messages) {
        let full = count > 0 && bytes + pending.size > limits.batch_bytes;
        if full || pending.together > 0 {
            break;
        }
        count += 1;
        bytes += pending.size;
    }
    (count, bytes)
}

/// Gives up those in front whose time is over; `fault` says why they could not be sent.
pub(crate) fn expire<T>(
    waiting: &mut VecDeque<Pending<T>>,
    now: Instant,
    fault: &Fault,
    verdicts: &mut Vec<Verdict<T>>,
) {
    while waiting.front().is_some_and(|first| first.deadline <= now)
        && let Some(pending) = waiting.pop_front()
    {
        verdicts.push(pending.not_sent(now, fault));
    }
}
