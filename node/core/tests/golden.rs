//! The bytes of every op are in logs and must never change their meaning; and no bytes, whatever
//! they are, make a machine panic.

mod golden {
    pub mod catalog_ops;
    pub mod row_makers;
    pub mod shard_ops;
    pub mod sticky_ops;
}

use bytes::Bytes;
use golden::catalog_ops::{catalog_ops, row_makers_of_catalog};
use golden::row_makers::row_makers;
use golden::shard_ops::shard_ops;
use proptest::prelude::*;
use roadstead_core::catalog::{self, CatalogMachine};
use roadstead_core::kv::MemoryKv;
use roadstead_core::shard::*;

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn shard_entry(op: &Op) -> Bytes {
    let mut builder = EntryBuilder::new(1_000);
    builder.push(op);
    builder.finish()
}

fn all() -> String {
    let mut lines = Vec::new();
    for (name, op) in shard_ops() {
        lines.push(format!("shard {name}: {}", hex(&shard_entry(&op))));
    }
    for (name, op) in catalog_ops() {
        lines.push(format!(
            "catalog {name}: {}",
            hex(&catalog::encode_entry(1_000, &[op]))
        ));
    }
    lines.join("\n") + "\n"
}

#[test]
fn the_bytes_of_every_op_are_frozen() {
    assert_eq!(all(), include_str!("golden/ops.txt"));
}

fn rows(kv: &MemoryKv) -> String {
    let lines: Vec<_> = kv
        .rows()
        .map(|(key, value)| hex(key) + " " + &hex(value))
        .collect();
    lines.join(
        "
",
    ) + "
"
}

/// Rows of every kind: a shard's after a history that makes them, and the catalog's.
fn all_rows() -> String {
    let mut shard = MemoryKv::new();
    let mut machine = ShardMachine::open(&shard).expect("no rows");
    for (n, op) in row_makers().iter().enumerate() {
        let applied = machine.apply(&mut shard, n as u64 + 1, &shard_entry(op));
        let reply = &applied.expect("it is whole").replies[0];
        assert!(!matches!(reply, Reply::Refused(_)), "{op:?}: {reply:?}");
    }
    let kinds = shard
        .rows()
        .filter(|(key, _)| key[0] == 0x10)
        .map(|(key, _)| key[13] as char);
    let mut kinds: Vec<_> = kinds.collect();
    kinds.dedup();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(
        kinds.iter().collect::<String>(),
        "abcdefghijklmnopqrstuvwxyz"
    );
    let mut catalog = MemoryKv::new();
    let mut machine = CatalogMachine::open(&catalog).expect("no rows");
    for (n, op) in row_makers_of_catalog().into_iter().enumerate() {
        let entry = catalog::encode_entry(1_000, &[op]);
        machine
            .apply(&mut catalog, n as u64 + 1, &entry)
            .expect("it is whole");
    }
    format!("shard\n{}catalog\n{}", rows(&shard), rows(&catalog))
}

#[test]
fn the_bytes_of_every_row_are_frozen() {
    assert_eq!(all_rows(), include_str!("golden/rows.txt"));
}

#[test]
fn every_op_can_be_read_again() {
    for (name, op) in shard_ops() {
        assert_eq!(inspect(&shard_entry(&op)), Ok((1_000, 1)), "{name}");
    }
    let mut machine = CatalogMachine::open(&MemoryKv::new()).expect("no rows");
    for (name, op) in catalog_ops() {
        let entry = catalog::encode_entry(1_000, &[op]);
        let applied = machine.apply(&mut MemoryKv::new(), 1, &entry);
        assert_eq!(applied.expect(name).replies.len(), 1, "{name}");
    }
}

#[test]
fn a_digest_of_more_than_a_bounded_piece_is_refused() {
    let (rows, bytes) = (MAX_DIGEST_ROWS, MAX_DIGEST_BYTES);
    let digest = |key, rows, bytes| {
        let from = Bytes::from(vec![1; key]);
        let op = Digest { from, rows, bytes };
        inspect(&shard_entry(&Op::Digest(op))).map_err(|error| error.what)
    };
    assert_eq!(digest(96, rows, bytes), Ok((1_000, 1)));
    assert_eq!(digest(0, 1, 1), Ok((1_000, 1)));
    assert_eq!(digest(97, rows, bytes), Err("first key of digest"));
    for wrong in [0, rows + 1, u32::MAX] {
        assert_eq!(digest(0, wrong, bytes), Err("rows of digest"));
    }
    for wrong in [0, bytes + 1, u32::MAX] {
        assert_eq!(digest(0, rows, wrong), Err("bytes of digest"));
    }
}

/// An entry with one byte changed, one cut off, or one put in.
fn damaged() -> impl Strategy<Value = (bool, Vec<u8>)> {
    let shard = shard_ops()
        .into_iter()
        .map(|(_, op)| (true, shard_entry(&op).to_vec()));
    let catalog = catalog_ops().into_iter();
    let catalog = catalog.map(|(_, op)| (false, catalog::encode_entry(1_000, &[op]).to_vec()));
    let entries: Vec<_> = shard.chain(catalog).collect();
    let damage = (any::<prop::sample::Index>(), any::<u8>(), 0..3);
    (
        prop::sample::select(entries),
        prop::collection::vec(damage, 1..4),
    )
        .prop_map(|((is_shard, mut bytes), damage)| {
            for (at, byte, how) in damage {
                let at = at.index(bytes.len());
                match how {
                    0 => bytes[at] = byte,
                    1 => bytes.truncate(at.max(1)),
                    _ => bytes.insert(at, byte),
                }
            }
            (is_shard, bytes)
        })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 20_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn damaged_entries_are_refused_or_applied((is_shard, bytes) in damaged()) {
        let mut kv = MemoryKv::new();
        let data = Bytes::from(bytes);
        if is_shard {
            let mut machine = ShardMachine::open(&kv).expect("no rows");
            let first = shard_entry(&shard_ops()[0].1);
            machine.apply(&mut kv, 1, &first).expect("it is whole");
            if machine.apply(&mut kv, 2, &data).is_ok() {
                ShardMachine::open(&kv).expect("its own rows can be read");
            }
        } else {
            let mut machine = CatalogMachine::open(&kv).expect("no rows");
            if machine.apply(&mut kv, 1, &data).is_ok() {
                CatalogMachine::open(&kv).expect("its own rows can be read");
            }
        }
    }

    #[test]
    fn any_bytes_are_refused_or_applied(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let data = Bytes::from([&[1], &bytes[..]].concat());
        let mut kv = MemoryKv::new();
        let mut machine = ShardMachine::open(&kv).expect("no rows");
        let _ = machine.apply(&mut kv, 1, &data);
        let mut kv = MemoryKv::new();
        let mut machine = CatalogMachine::open(&kv).expect("no rows");
        let _ = machine.apply(&mut kv, 1, &data);
        let _ = Receipt::decode(&data);
        let _ = split_payload(&data);
    }
}
