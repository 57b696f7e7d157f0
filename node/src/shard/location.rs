//! Where a message stands, as text: opaque to clients, short enough to be typed.
//!
//! ```text
//! queue id . partition . position               in line
//! queue id . partition . d due ms . sequence    delayed
//! ```
//! The queue's id is in it, so that a queue that was deleted and created anew is not taken for the
//! one of before.

use roadstead_core::shard::{Location, PartitionId};

/// The text.
pub fn encode(partition: PartitionId, location: Location) -> String {
    let PartitionId { queue, partition } = partition;
    match location {
        Location::Position(position) => format!("{queue}.{partition}.{position}"),
        Location::Delayed { due, sequence } => format!("{queue}.{partition}.d{due}.{sequence}"),
    }
}

/// Reads the text; None when it is none.
pub fn decode(text: &str) -> Option<(PartitionId, Location)> {
    let parts: Vec<&str> = text.split('.').collect();
    let (queue, partition, location) = match parts[..] {
        [queue, partition, position] => (queue, partition, Location::Position(number(position)?)),
        [queue, partition, due, sequence] => {
            let due = number(due.strip_prefix('d')?)?;
            let sequence = number(sequence)?;
            (queue, partition, Location::Delayed { due, sequence })
        }
        _ => return None,
    };
    let partition = PartitionId {
        queue: number(queue)?,
        partition: u32::try_from(number(partition)?).ok()?,
    };
    Some((partition, location))
}

fn number(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_come_back_and_their_text_is_frozen() {
        let partition = PartitionId {
            queue: 7,
            partition: 2,
        };
        let delayed = Location::Delayed {
            due: 1_700,
            sequence: 5,
        };
        for (location, text) in [(Location::Position(16), "7.2.16"), (delayed, "7.2.d1700.5")] {
            assert_eq!(encode(partition, location), text);
            assert_eq!(decode(text), Some((partition, location)));
        }
        for wrong in [
            "",
            "7-2-16",
            "7.2",
            "7.2.x",
            "7.2.+1",
            "7.2.16.3",
            "7.4294967296.1",
            "7.2.d1",
            "7.2.d1.",
            "7.2.1.2.3",
        ] {
            assert_eq!(decode(wrong), None, "{wrong}");
        }
    }
}
