//! What a consumer holds: which receipts, in which partition, and when each lease is to be
//! extended. Pure.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;

#[derive(Debug)]
struct Lease {
    partition: u32,
    /// When the lease ends, as far as is known here.
    until: Instant,
    /// An extension is on its way.
    extending: bool,
    /// It is being settled: it is no longer extended.
    settling: bool,
    /// The settlement has been sent: it no longer counts.
    sent: bool,
}

/// All unsettled deliveries of one consumer.
#[derive(Debug)]
pub(crate) struct Held {
    leases: BTreeMap<Bytes, Lease>,
    counts: BTreeMap<u32, u32>,
    /// How long a lease lasts when it is extended.
    length: Duration,
}

impl Held {
    /// `length`: what each extension asks for; zero: leases are not extended.
    pub fn new(length: Duration) -> Self {
        Self {
            leases: BTreeMap::new(),
            counts: BTreeMap::new(),
            length,
        }
    }

    /// Takes in a delivery; `false` when it is held already.
    pub fn insert(&mut self, receipt: Bytes, partition: u32, until: Instant) -> bool {
        let lease = Lease {
            partition,
            until,
            extending: false,
            settling: false,
            sent: false,
        };
        if self.leases.contains_key(&receipt) {
            return false;
        }
        self.leases.insert(receipt, lease);
        *self.counts.entry(partition).or_default() += 1;
        true
    }

    /// The delivery is being settled.
    pub fn settling(&mut self, receipt: &Bytes) {
        if let Some(lease) = self.leases.get_mut(receipt) {
            lease.settling = true;
        }
    }

    /// The settlement is on the wire: whatever is sent behind it may count on it. `false` when
    /// that is known, or it does not end the lease.
    pub fn sent(&mut self, receipt: &Bytes) -> bool {
        let lease = self.leases.get_mut(receipt);
        let Some(lease) = lease.filter(|lease| lease.settling && !lease.sent) else {
            return false;
        };
        lease.sent = true;
        let partition = lease.partition;
        self.uncount(partition);
        true
    }

    /// The delivery is settled, or its lease is known to be over.
    pub fn remove(&mut self, receipt: &Bytes) {
        if let Some(lease) = self.leases.remove(receipt)
            && !lease.sent
        {
            self.uncount(lease.partition);
        }
    }

    /// Takes in a delivery without a lease (at most once).
    pub fn insert_unleased(&mut self, partition: u32) {
        *self.counts.entry(partition).or_default() += 1;
    }

    /// The application is done with a delivery without a lease.
    pub fn uncount(&mut self, partition: u32) {
        if let Some(count) = self.counts.get_mut(&partition) {
            *count = count.saturating_sub(1);
        }
    }

    /// Deliveries of a partition that wait for the application or are with it.
    pub fn count(&self, partition: u32) -> u32 {
        self.counts.get(&partition).copied().unwrap_or(0)
    }

    /// The same of all partitions.
    pub fn count_all(&self) -> u32 {
        self.counts.values().sum()
    }

    /// Nothing is held, not even for a settlement's answer.
    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    /// Receipts of the partitions that `of` names, for a reopened stream.
    pub fn receipts(&self, of: impl Fn(u32) -> bool) -> Vec<Bytes> {
        let held = self.leases.iter().filter(|(_, lease)| of(lease.partition));
        held.map(|(receipt, _)| receipt.clone()).collect()
    }

    /// Leases of which half is over, now marked as being extended: receipt and partition.
    pub fn due(&mut self, now: Instant) -> Vec<(Bytes, u32)> {
        if self.length.is_zero() {
            return Vec::new();
        }
        let mut due = Vec::new();
        for (receipt, lease) in &mut self.leases {
            if !lease.settling && !lease.extending && lease.until <= now + self.length / 2 {
                lease.extending = true;
                due.push((receipt.clone(), lease.partition));
            }
        }
        due
    }

    /// An extension was answered: `asked` is when it was asked for; `None` when it was not done and
    /// may be asked for again.
    pub fn extended(&mut self, receipt: &Bytes, asked: Option<Instant>) {
        if let Some(lease) = self.leases.get_mut(receipt) {
            lease.extending = false;
            if let Some(asked) = asked {
                lease.until = asked + self.length;
            }
        }
    }

    /// How often to look for leases that are due; `None` while none can be.
    pub fn pace(&self) -> Option<Duration> {
        let idle = self.leases.is_empty() || self.length.is_zero();
        let pace = (self.length / 10).clamp(Duration::from_millis(10), Duration::from_secs(1));
        (!idle).then_some(pace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_lease_is_extended_once_at_half_its_time() {
        let now = Instant::now();
        let mut held = Held::new(10 * SECOND);
        let receipt = Bytes::from_static(b"r");
        assert!(held.insert(receipt.clone(), 3, now + 10 * SECOND));
        assert!(
            !held.insert(receipt.clone(), 3, now + 10 * SECOND),
            "it is held already"
        );
        assert!(held.due(now + 4 * SECOND).is_empty());
        let later = now + 5 * SECOND;
        assert_eq!(held.due(later), [(receipt.clone(), 3)]);
        assert!(held.due(later).is_empty(), "it is on its way");
        held.extended(&receipt, None);
        assert_eq!(held.due(later).len(), 1, "it failed and is asked for again");
        held.extended(&receipt, Some(later));
        assert!(held.due(later + 4 * SECOND).is_empty());
        assert_eq!(held.due(later + 5 * SECOND).len(), 1);
    }

    #[test]
    fn what_is_being_settled_is_held_but_does_not_count() {
        let now = Instant::now();
        let mut held = Held::new(SECOND);
        let receipt = Bytes::from_static(b"r");
        held.insert(receipt.clone(), 3, now);
        assert_eq!((held.count(3), held.count(4), held.count_all()), (1, 0, 1));
        assert!(!held.sent(&receipt), "an extension was sent");
        held.settling(&receipt);
        assert_eq!(held.count(3), 1);
        assert!(held.sent(&receipt) && !held.sent(&receipt));
        assert_eq!(held.count(3), 0);
        assert!(held.due(now + SECOND).is_empty());
        assert_eq!(
            held.receipts(|partition| partition == 3),
            std::slice::from_ref(&receipt)
        );
        assert!(held.receipts(|partition| partition == 4).is_empty());
        held.remove(&receipt);
        assert!(held.is_empty());
        assert_eq!(held.count(3), 0);
    }

    #[test]
    fn a_lease_of_no_length_is_left_alone() {
        let now = Instant::now();
        let mut held = Held::new(Duration::ZERO);
        held.insert(Bytes::from_static(b"r"), 0, now);
        assert!(held.due(now + SECOND).is_empty());
        assert_eq!(held.pace(), None);
    }
}
