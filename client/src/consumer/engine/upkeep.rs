//! Leases are kept alive, and what waits too long is given up.

use std::time::{Duration, Instant};

use roadstead_proto::v1::settlement::Action;
use roadstead_proto::v1::{Extend, Settlement};

use super::Engine;
use crate::consumer::settles::{Asker, Settling};
use crate::error::{Fault, SettleError};

/// A settlement that found no stream for this long is given up.
const SETTLE: Duration = Duration::from_secs(30);

impl Engine {
    /// Extends the leases of which half is over.
    pub(super) fn extend(&mut self, now: Instant) {
        let Some(pace) = self.held.pace() else { return };
        if now < self.extend_at {
            return;
        }
        self.extend_at = now + pace;
        let lease = prost_types::Duration::try_from(self.settings.lease).ok();
        for (receipt, partition) in self.held.due(now) {
            let action = Some(Action::Extend(Extend { lease }));
            self.settle(Settling {
                partition,
                settlement: Settlement { receipt, action },
                since: now,
                asker: Asker::Extension,
                retried: false,
            });
        }
    }

    /// Answers those who wait for settlements that found no stream.
    pub(super) fn give_up_settles(&mut self, now: Instant) {
        let (over, rest) = std::mem::take(&mut self.orphans)
            .into_iter()
            .partition(|settling: &Settling| now >= settling.since + SETTLE);
        self.orphans = rest;
        for settling in over {
            let fault = Fault::unreachable("no stream to the partition's leader for 30 s");
            self.settled(settling, Err(SettleError::Unknown(Box::new(fault))));
        }
    }
}
