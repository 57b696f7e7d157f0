//! Where in line a message or a time is.

use std::ops::ControlFlow;

use super::block::Block;
use super::header::{BLOCK, Header};
use super::keys;
use super::op::SeekTo;
use super::partition::Shared;
use crate::kv::{self, Kv, KvError};

impl Shared {
    /// The position to begin with. Of rows: what is cached must be written.
    pub(crate) fn position_of(&self, kv: &dyn Kv, to: SeekTo) -> Result<u64, KvError> {
        match to {
            SeekTo::Beginning => Ok(0),
            SeekTo::End => Ok(self.state.tail),
            // Of what was not delayed, sequences rise with positions.
            SeekTo::Sequence(sequence) => self.first_position(kv, &|header| {
                (!header.loose).then_some(header.sequence >= sequence)
            }),
            SeekTo::Time(time) => {
                self.first_position(kv, &|header| Some(header.in_line_since >= time))
            }
        }
    }

    /// The first position for which `reaches` says yes; the tail if there is none. It says no
    /// before and yes after it, except where it says nothing.
    fn first_position(
        &self,
        kv: &dyn Kv,
        reaches: &dyn Fn(&Header) -> Option<bool>,
    ) -> Result<u64, KvError> {
        let last = |block: &Block| block.headers.iter().filter_map(reaches).next_back();
        let first = self.first_block(kv, &last)?;
        let mut found = self.state.tail;
        self.visit_blocks(kv, first, &mut |number, block| {
            let mut places = (0..).zip(&block.headers);
            match places.find(|(_, header)| reaches(header) == Some(true)) {
                Some((place, _)) => {
                    found = number * BLOCK + place;
                    ControlFlow::Break(())
                }
                None => ControlFlow::Continue(()),
            }
        })?;
        Ok(found)
    }

    /// A block number such that `reaches` says no for every block before it. It says no before
    /// and yes after some block, except where it says nothing.
    pub(crate) fn first_block(
        &self,
        kv: &dyn Kv,
        reaches: &dyn Fn(&Block) -> Option<bool>,
    ) -> Result<u64, KvError> {
        let (_, end) = self.keys.kinds(b'm', b'm' + 1);
        let number_of = |row: Option<kv::Row>| row.map(|(key, _)| keys::tail(&key));
        let first = number_of(kv::first(kv, &self.keys.block(0), &end)?);
        let Some(mut low) = first else { return Ok(0) };
        let mut high = self.state.tail / BLOCK + 1;
        // It says no for all blocks before `low`; of the one from `high` on it is not known.
        while low < high {
            let middle = low + (high - low) / 2;
            let Some(number) = number_of(kv::first(kv, &self.keys.block(middle), &end)?) else {
                high = middle;
                continue;
            };
            let Some(block) = self.read_block(kv, number)? else {
                break;
            };
            match reaches(&block) {
                Some(false) => low = number + 1,
                Some(true) => high = middle,
                // Nothing to go by. Looking at more blocks is only slow.
                None => return Ok(low),
            }
        }
        Ok(low)
    }
}
