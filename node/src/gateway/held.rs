//! The receipts that a consumer's stream has been given and has not settled. Pure.

use std::collections::BTreeMap;

use bytes::Bytes;
use roadstead_proto::v1::settlement::Action;
use roadstead_proto::v1::{Delivery, Settlement};

use crate::shard::wire::millis;

/// Looked through for what has ended when it has grown by so many.
const SWEEP: usize = 4_096;

/// Receipts with the time when their lease ends, in ms of any monotonic clock.
#[derive(Debug, Default)]
pub struct Held {
    until_ms: BTreeMap<Bytes, u64>,
    sweep_at: usize,
}

impl Held {
    /// These receipts, whose leases end at a time that is not known.
    pub fn new(receipts: Vec<Bytes>) -> Self {
        let until_ms = receipts
            .into_iter()
            .map(|receipt| (receipt, u64::MAX))
            .collect();
        Self {
            until_ms,
            sweep_at: SWEEP,
        }
    }

    /// The consumer gets this one.
    pub fn delivered(&mut self, delivery: &Delivery, now_ms: u64) {
        if delivery.receipt.is_empty() {
            return;
        }
        let until = now_ms + u64::from(delivery.lease_remaining_ms);
        self.until_ms.insert(delivery.receipt.clone(), until);
        if self.until_ms.len() > self.sweep_at.max(SWEEP) {
            // Settled by other ways than this stream, or run out.
            self.until_ms.retain(|_, until| *until > now_ms);
            self.sweep_at = self.until_ms.len() + SWEEP;
        }
    }

    /// The consumer settles these.
    pub fn settled(&mut self, settlements: &[Settlement], now_ms: u64) {
        for Settlement { receipt, action } in settlements {
            if let Some(Action::Extend(extend)) = action {
                if let Some(until) = self.until_ms.get_mut(receipt) {
                    let lease = extend.lease.as_ref().and_then(millis).unwrap_or(0);
                    *until = now_ms.saturating_add(lease);
                }
            } else {
                self.until_ms.remove(receipt);
            }
        }
    }

    /// The receipts that it still holds.
    pub fn receipts(&self) -> Vec<Bytes> {
        self.until_ms.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use roadstead_proto::v1::{Ack, Extend};

    use super::*;

    fn delivery(receipt: usize, lease_remaining_ms: u32) -> Delivery {
        let receipt = Bytes::from(receipt.to_be_bytes().to_vec());
        Delivery {
            receipt,
            lease_remaining_ms,
            ..Delivery::default()
        }
    }

    fn settle(receipt: usize, action: Action) -> Settlement {
        Settlement {
            receipt: delivery(receipt, 0).receipt,
            action: Some(action),
        }
    }

    #[test]
    fn what_is_settled_is_not_held() {
        let mut held = Held::new(vec![delivery(1, 0).receipt]);
        held.delivered(&delivery(2, 100), 0);
        held.settled(&[settle(1, Action::Ack(Ack {}))], 1);
        assert_eq!(held.receipts(), [delivery(2, 0).receipt]);
    }

    #[test]
    fn what_has_run_out_is_forgotten_and_what_was_extended_is_not() {
        let mut held = Held::default();
        for receipt in 0..SWEEP {
            held.delivered(&delivery(receipt, 100), 0);
        }
        let lease = Some(prost_types::Duration {
            seconds: 1,
            nanos: 0,
        });
        held.settled(&[settle(7, Action::Extend(Extend { lease }))], 50);
        held.delivered(&delivery(SWEEP, 100), 500);
        assert_eq!(
            held.receipts(),
            [delivery(7, 0).receipt, delivery(SWEEP, 0).receipt]
        );
    }
}
