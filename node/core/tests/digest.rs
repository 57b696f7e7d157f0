//! A digest goes over all rows, in bounded pieces, and tells any change.

use bytes::Bytes;
use roadstead_core::kv::{Kv, MemoryKv};
use roadstead_core::shard::*;

const PARTITION: PartitionId = PartitionId {
    queue: 1,
    partition: 0,
};

struct World {
    kv: MemoryKv,
    machine: ShardMachine,
    index: u64,
}

impl World {
    /// A shard with one partition.
    fn new() -> Self {
        let kv = MemoryKv::new();
        let machine = ShardMachine::open(&kv).expect("no rows");
        let index = 0;
        let mut world = Self { kv, machine, index };
        world.apply(&Op::Configure(Configure {
            partition: PARTITION,
            config: PartitionConfig::default(),
        }));
        world
    }

    fn apply(&mut self, op: &Op) -> Reply {
        self.index += 1;
        let mut entry = EntryBuilder::new(1_000_000);
        entry.push(op);
        let applied = self
            .machine
            .apply(&mut self.kv, self.index, &entry.finish());
        let mut replies = applied.expect("it is whole").replies;
        replies.pop().expect("one reply per op")
    }

    fn send(&mut self, count: usize, message: &NewMessage) {
        for _ in 0..count / 1_000 {
            let reply = self.apply(&Op::Send(Send {
                partition: PARTITION,
                producer: None,
                atomic: false,
                messages: vec![message.clone(); 1_000],
            }));
            assert!(matches!(reply, Reply::Sent(_)), "{reply:?}");
        }
    }
}

fn message() -> NewMessage {
    NewMessage {
        body: Bytes::from_static(b"body"),
        ..NewMessage::default()
    }
}

/// Each piece has its bounds, and together they are all rows.
#[test]
fn a_digest_goes_over_all_rows_in_bounded_pieces() {
    let mut world = World::new();
    let late = |delay_ms| NewMessage {
        delay_ms,
        ..message()
    };
    for delay_ms in 1..=4 {
        world.send(1_000, &late(delay_ms * 1_000));
    }
    world.send(100_000, &message());
    let total = world.kv.len();
    let (mut from, mut pieces) = (Bytes::new(), Vec::new());
    loop {
        let rest = world.kv.rows().filter(|(key, _)| *key >= &from[..]);
        let sizes: Vec<usize> = rest.map(|(key, value)| key.len() + value.len()).collect();
        let reply = world.apply(&Op::Digest(Digest::largest(from)));
        let Reply::Digested(Digested { rows, next, .. }) = reply else {
            unreachable!("a digest")
        };
        let bytes: usize = sizes[..rows].iter().sum();
        assert!(
            rows <= 1_000 && bytes <= 256 << 10,
            "{rows} rows, {bytes} bytes"
        );
        let more = sizes.get(rows);
        let is_full = rows == 1_000 || more.is_none_or(|more| bytes + more > 256 << 10);
        assert!(is_full, "{rows} rows, {bytes} bytes, and {more:?} more");
        pieces.push(rows);
        let Some(next) = next else { break };
        from = next;
    }
    println!("{total} rows in pieces of {pieces:?}");
    assert_eq!(pieces.iter().sum::<usize>(), total);
    assert!(pieces.contains(&1_000) && pieces.iter().any(|rows| (1..900).contains(rows)));
}

#[test]
fn a_row_that_is_larger_than_a_digest_may_be_is_hashed_alone() {
    let mut world = World::new();
    let rows = world.kv.len();
    let mut from = Bytes::new();
    for _ in 0..rows {
        let (rows, bytes) = (1_000, 1);
        let Reply::Digested(piece) = world.apply(&Op::Digest(Digest { from, rows, bytes })) else {
            unreachable!("a digest")
        };
        assert_eq!(piece.rows, 1);
        from = piece.next.unwrap_or_default();
    }
    assert!(from.is_empty(), "the last one says so");
}

/// What hashes alike, of which part does not matter, is alike.
#[test]
fn a_digest_tells_any_change_of_a_key_or_a_value() {
    let mut world = World::new();
    world.send(1_000, &message());
    let honest = ShardMachine::digest(&world.kv).expect("rows can be read");
    let rows: Vec<_> = world
        .kv
        .rows()
        .map(|(k, v)| (k.to_vec(), v.clone()))
        .collect();
    for (key, value) in rows {
        let mut other = world.kv.clone();
        let mut flipped = value.to_vec();
        if let Some(byte) = flipped.last_mut() {
            *byte ^= 1;
        }
        for change in [Some(Bytes::from(flipped)), None] {
            match change {
                Some(value) => other.put(&key, value),
                None => other.delete(&key),
            }
            let digest = ShardMachine::digest(&other).expect("rows can be read");
            assert_ne!(digest, honest, "row {key:02x?}");
        }
    }
    assert_eq!(ShardMachine::digest(&world.kv), Ok(honest));
}
