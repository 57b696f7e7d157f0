//! The receipts that a consumer's stream has been given and has not settled. Pure.

use std::collections::BTreeMap;

use bytes::Bytes;
use roadstead_proto::v1::settlement::Action;
use roadstead_proto::v1::{Delivery, SettleResult, Settlement};
use tonic::Code;

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

    /// What the consumer asked for was answered. Until then it holds what it settles: a shard that
    /// is asked meanwhile may not have seen the settlement, and would deliver again.
    pub fn answered(&mut self, settlements: &[Settlement], results: &[SettleResult], now_ms: u64) {
        for (Settlement { receipt, action }, result) in settlements.iter().zip(results) {
            let code = result.error.as_ref().map(|error| Code::from(error.code));
            match (action, code) {
                (Some(Action::Extend(extend)), None) => {
                    if let Some(until) = self.until_ms.get_mut(receipt) {
                        let lease = extend.lease.as_ref().and_then(millis).unwrap_or(0);
                        *until = now_ms.saturating_add(lease);
                    }
                }
                // Done now or before, or its lease is over.
                (_, None | Some(Code::NotFound)) => {
                    self.until_ms.remove(receipt);
                }
                // It may be asked for again.
                (_, Some(_)) => {}
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
    use roadstead_proto::v1::{Ack, EntryError, Extend};

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

    fn answer(error: Option<Code>) -> SettleResult {
        let error = error.map(|code| EntryError {
            code: code.into(),
            ..EntryError::default()
        });
        SettleResult { error }
    }

    #[test]
    fn what_is_settled_is_held_until_that_is_answered() {
        let ack = [settle(1, Action::Ack(Ack {}))];
        for (error, stays) in [
            (None, false),
            (Some(Code::NotFound), false),
            (Some(Code::Unavailable), true),
        ] {
            let mut held = Held::new(vec![delivery(1, 0).receipt]);
            held.delivered(&delivery(2, 100), 0);
            held.answered(&ack, &[answer(error)], 1);
            let both = [delivery(1, 0).receipt, delivery(2, 0).receipt];
            assert_eq!(held.receipts(), both[usize::from(!stays)..]);
        }
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
        let extend = [settle(7, Action::Extend(Extend { lease }))];
        held.answered(&extend, &[answer(None)], 50);
        held.delivered(&delivery(SWEEP, 100), 500);
        assert_eq!(
            held.receipts(),
            [delivery(7, 0).receipt, delivery(SWEEP, 0).receipt]
        );
    }
}
