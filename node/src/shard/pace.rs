//! Sends that are held up by the rate of their queue, each behind those that came before it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use roadstead_core::shard::PartitionId;
use roadstead_proto::v1::OutgoingMessage;

use super::desk::Desk;
use super::replica::Replica;
use crate::gateway::validate::message_size;
use crate::runtime::Runtime;

/// How long a send is held up at most: what would have to wait longer is refused at once. Shorter
/// than a try of another node takes (`gateway::route`).
const PATIENCE: Duration = Duration::from_secs(1);

/// What is held up or on its way of queues that have a rate.
#[derive(Debug, Default)]
pub struct Paces(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    messages: BTreeMap<PartitionId, u64>,
    bytes: usize,
}

/// A send among those of its partition, until it is dropped.
#[derive(Debug)]
pub(super) struct Place<'a> {
    paces: &'a Paces,
    partition: PartitionId,
    messages: u64,
    bytes: usize,
    /// Messages of the partition before it.
    ahead: u64,
}

impl Paces {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, partition: PartitionId, messages: u64, bytes: usize) -> Place<'_> {
        let mut held = self.held();
        held.bytes += bytes;
        let count = held.messages.entry(partition).or_default();
        let ahead = *count;
        *count += messages;
        drop(held);
        Place {
            paces: self,
            partition,
            messages,
            bytes,
            ahead,
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut held = self.paces.held();
        held.bytes -= self.bytes;
        if let Some(count) = held.messages.get_mut(&self.partition) {
            *count -= self.messages;
            if *count == 0 {
                held.messages.remove(&self.partition);
            }
        }
    }
}

/// Waits until the rate of its queue lets a send come behind the others, where that is soon and not
/// too much is held up already. None: the queue has no rate.
pub(super) async fn wait<'a, R: Runtime, P: Replica>(
    desk: &'a Desk<R, P>,
    partition: PartitionId,
    messages: &[OutgoingMessage],
) -> Option<Place<'a>> {
    let has_rate = desk.replica.read(|machine, _| {
        let config = machine.config(partition);
        config.is_some_and(|config| config.rate != 0)
    });
    if !has_rate {
        return None;
    }
    let (count, bytes) = (
        messages.len() as u64,
        messages.iter().map(message_size).sum(),
    );
    let place = desk.paces.take(partition, count, bytes);
    let now = desk.replica.cluster_time();
    let wait = desk
        .replica
        .read(|machine, _| machine.rate_wait_ms(partition, (place.ahead, count), now));
    let wait = Duration::from_millis(wait);
    let too_much = desk.paces.held().bytes > desk.options.intake_bytes / 4;
    if !wait.is_zero() && wait <= PATIENCE && !too_much {
        R::sleep(wait).await;
    }
    Some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_send_has_those_before_it_ahead_until_they_are_over() {
        let of = |partition| PartitionId {
            queue: 1,
            partition,
        };
        let paces = Paces::default();
        let first = paces.take(of(0), 10, 100);
        let second = paces.take(of(0), 5, 50);
        let other = paces.take(of(1), 1, 10);
        assert_eq!((first.ahead, second.ahead, other.ahead), (0, 10, 0));
        drop(first);
        assert_eq!(paces.take(of(0), 1, 1).ahead, 5);
        drop((second, other));
        let held = paces.held();
        assert!(held.messages.is_empty() && held.bytes == 0, "{held:?}");
    }
}
