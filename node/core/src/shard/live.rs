//! Which payloads of a range of log entries are still named by rows.

use std::ops::ControlFlow;

use super::block::Block;
use super::id::PayloadRef;
use super::keys;
use super::machine::ShardMachine;
use super::partition::Shared;
use super::payload::loose_payload;
use crate::kv::{Kv, KvError};

impl ShardMachine {
    /// Visits the payloads of the log entries `first..=last` that rows still name, in no
    /// particular order, until `visit` breaks. The cost follows what is found, not the backlog.
    pub fn live_payloads(
        &self,
        kv: &dyn Kv,
        first: u64,
        last: u64,
        visit: &mut dyn FnMut(PayloadRef) -> ControlFlow<()>,
    ) -> Result<(), KvError> {
        let (from, end) = keys::loose_range(first, last);
        let mut broken = None;
        let mut stopped = false;
        kv.scan(&from, &end, &mut |key, value| {
            let Some(payload) = loose_payload(key, value) else {
                broken = Some(KvError("row of a loose payload cannot be read".into()));
                return ControlFlow::Break(());
            };
            let flow = visit(payload);
            stopped = flow.is_break();
            flow
        })?;
        if let Some(error) = broken {
            return Err(error);
        }
        // Also of partitions that are being deleted, as long as their rows name payloads.
        for p in self.partitions.values() {
            if stopped {
                break;
            }
            stopped = p.live_payloads(kv, first, last, visit)?;
        }
        Ok(())
    }
}

impl Shared {
    /// True: `visit` broke.
    fn live_payloads(
        &self,
        kv: &dyn Kv,
        first: u64,
        last: u64,
        visit: &mut dyn FnMut(PayloadRef) -> ControlFlow<()>,
    ) -> Result<bool, KvError> {
        let mut stopped = false;
        let start = self.first_block(kv, &|block| {
            own(block).last().map(|payload| payload.index >= first)
        })?;
        self.visit_blocks(kv, start, &mut |_, block| {
            // Of payloads that are not loose, log indexes rise with positions.
            let mut range = own(block).map(|payload| payload.index);
            if range.next().is_some_and(|index| index > last) {
                return ControlFlow::Break(());
            }
            let places = 0..block.headers.len() as u64;
            let live = places
                .filter_map(|place| block.live(place))
                .filter(|h| !h.loose);
            for payload in live.map(|header| header.payload) {
                if (first..=last).contains(&payload.index) && visit(payload).is_break() {
                    stopped = true;
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })?;
        Ok(stopped)
    }
}

fn own(block: &Block) -> impl Iterator<Item = PayloadRef> {
    block
        .headers
        .iter()
        .filter(|header| !header.loose)
        .map(|header| header.payload)
}
