//! The rows of one Raft group, as the machines see them.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use bytes::Bytes;

/// Rows of one group, ordered by key.
///
/// What was put is seen by the next `get` and `scan` at once. Durability is the store's business:
/// rows that were lost are made again by applying the log again.
pub trait Kv {
    /// The value of `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, KvError>;

    /// Visits the rows with `from <= key < end` in order of key until `visit` breaks.
    fn scan(
        &self,
        from: &[u8],
        end: &[u8],
        visit: &mut dyn FnMut(&[u8], &Bytes) -> ControlFlow<()>,
    ) -> Result<(), KvError>;

    /// Sets the value of `key` (at most 511 bytes), replacing what was there.
    fn put(&mut self, key: &[u8], value: Bytes);

    /// Removes `key`; does nothing when it is not there.
    fn delete(&mut self, key: &[u8]);
}

/// Storage is broken or a row cannot be read: the node must stop this group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("group rows: {0}")]
pub struct KvError(pub String);

/// Rows in memory: the twin of the real store, for tests and simulation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryKv(BTreeMap<Vec<u8>, Bytes>);

impl MemoryKv {
    /// No rows.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All rows in order of key.
    pub fn rows(&self) -> impl Iterator<Item = (&[u8], &Bytes)> {
        self.0.iter().map(|(k, v)| (k.as_slice(), v))
    }
}

impl Kv for MemoryKv {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, KvError> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(
        &self,
        from: &[u8],
        end: &[u8],
        visit: &mut dyn FnMut(&[u8], &Bytes) -> ControlFlow<()>,
    ) -> Result<(), KvError> {
        if from >= end {
            return Ok(());
        }
        let range = (Bound::Included(from), Bound::Excluded(end));
        for (key, value) in self.0.range::<[u8], _>(range) {
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn put(&mut self, key: &[u8], value: Bytes) {
        if let Some(old) = self.0.get_mut(key) {
            *old = value;
        } else {
            self.0.insert(key.to_vec(), value);
        }
    }

    fn delete(&mut self, key: &[u8]) {
        self.0.remove(key);
    }
}

/// The first row with `from <= key < end`.
pub(crate) fn first(kv: &dyn Kv, from: &[u8], end: &[u8]) -> Result<Option<Row>, KvError> {
    let mut found = None;
    kv.scan(from, end, &mut |key, value| {
        found = Some((key.to_vec(), value.clone()));
        ControlFlow::Break(())
    })?;
    Ok(found)
}

/// The first `max` rows with `from <= key < end`.
pub(crate) fn take(kv: &dyn Kv, from: &[u8], end: &[u8], max: usize) -> Result<Vec<Row>, KvError> {
    let mut rows = Vec::new();
    if max == 0 {
        return Ok(rows);
    }
    kv.scan(from, end, &mut |key, value| {
        rows.push((key.to_vec(), value.clone()));
        if rows.len() < max {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    })?;
    Ok(rows)
}

/// A key and its value.
pub(crate) type Row = (Vec<u8>, Bytes);

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(kv: &MemoryKv, from: &[u8], end: &[u8], max: usize) -> Vec<Vec<u8>> {
        take(kv, from, end, max)
            .unwrap()
            .into_iter()
            .map(|(k, _)| k)
            .collect()
    }

    #[test]
    fn what_was_put_is_read_at_once() {
        let mut kv = MemoryKv::new();
        kv.put(b"a", Bytes::from_static(b"1"));
        assert_eq!(kv.get(b"a").unwrap().unwrap(), "1");
        kv.put(b"a", Bytes::from_static(b"2"));
        assert_eq!(kv.get(b"a").unwrap().unwrap(), "2");
        kv.delete(b"a");
        kv.delete(b"a");
        assert_eq!(kv.get(b"a").unwrap(), None);
        assert!(kv.is_empty());
    }

    #[test]
    fn scan_is_ordered_half_open_and_stops_when_told() {
        let mut kv = MemoryKv::new();
        for key in [&b"b"[..], b"a", b"c", b"bb"] {
            kv.put(key, Bytes::new());
        }
        assert_eq!(
            keys(&kv, b"a", b"c", 9),
            vec![b"a".to_vec(), b"b".to_vec(), b"bb".to_vec()]
        );
        assert_eq!(keys(&kv, b"a", b"c", 2), vec![b"a".to_vec(), b"b".to_vec()]);
        assert_eq!(keys(&kv, b"c", b"a", 9), Vec::<Vec<u8>>::new());
        assert_eq!(first(&kv, b"b\0", b"z").unwrap().unwrap().0, b"bb".to_vec());
        assert_eq!(kv.rows().count(), kv.len());
    }
}
