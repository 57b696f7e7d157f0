//! Where a live message stands in its partition: how it is named from outside.

use super::header::{BLOCK, decode_single};
use super::id::{MessageId, PartitionId, PayloadRef};
use super::machine::ShardMachine;
use super::partition::corrupt;
use crate::codec::{Decoded, Put, Reader};
use crate::kv::{Kv, KvError};

/// Where a live message stands. A delayed message gets a position when it falls due; a position is
/// never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Location {
    /// At this position.
    Position(u64),
    /// Delayed, without a position yet.
    Delayed {
        /// When it falls due, in ms since 1970.
        due: u64,
        /// Its sequence in the partition.
        sequence: u64,
    },
}

// Frozen: these bytes are in logs.
const POSITION: u8 = 0;
const DELAYED: u8 = 1;

pub(crate) fn put_location(out: &mut Vec<u8>, location: Location) {
    match location {
        Location::Position(position) => {
            out.push(POSITION);
            out.put_varint(position);
        }
        Location::Delayed { due, sequence } => {
            out.push(DELAYED);
            out.put_varint(due);
            out.put_varint(sequence);
        }
    }
}

pub(crate) fn read_location(r: &mut Reader<'_>) -> Decoded<Location> {
    Ok(match r.u8("kind of location")? {
        POSITION => Location::Position(r.varint("position")?),
        DELAYED => Location::Delayed {
            due: r.varint("due time")?,
            sequence: r.varint("sequence of delayed message")?,
        },
        _ => return r.fail("kind of location"),
    })
}

impl ShardMachine {
    /// The message at a location, whichever group needs it; also one that is only retained.
    pub fn message_at(
        &self,
        kv: &dyn Kv,
        partition: PartitionId,
        location: Location,
    ) -> Result<Option<(MessageId, PayloadRef)>, KvError> {
        let Some(p) = self.partition(partition) else {
            return Ok(None);
        };
        let header = match location {
            Location::Position(position) => {
                let block = p.read_block(kv, position / BLOCK)?;
                block.and_then(|block| block.live(position % BLOCK))
            }
            Location::Delayed { due, sequence } => {
                let row = kv.get(&p.keys.delayed(due, sequence))?;
                let header = row.map(|row| decode_single(&row)).transpose();
                header.map_err(|e| corrupt("delayed message", p.id(), &e))?
            }
        };
        Ok(header.map(|header| (header.id(partition), header.payload)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_come_back_and_their_bytes_are_frozen() {
        let delayed = Location::Delayed {
            due: 300,
            sequence: 7,
        };
        let cases: [(Location, &[u8]); 2] = [
            (Location::Position(300), &[0, 0xac, 2]),
            (delayed, &[1, 0xac, 2, 7]),
        ];
        for (location, bytes) in cases {
            let mut out = Vec::new();
            put_location(&mut out, location);
            assert_eq!(out, bytes);
            assert_eq!(read_location(&mut Reader::new(&out)), Ok(location));
        }
        assert!(read_location(&mut Reader::new(&[2, 0])).is_err());
    }
}
