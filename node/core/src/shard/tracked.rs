//! Things by key, all of them in memory, that remember which of them must be written.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug)]
pub(crate) struct Tracked<K, V> {
    all: BTreeMap<K, V>,
    touched: BTreeSet<K>,
}

impl<K: Copy + Ord, V: Copy + Default> Tracked<K, V> {
    pub(crate) fn new() -> Self {
        Self {
            all: BTreeMap::new(),
            touched: BTreeSet::new(),
        }
    }

    /// Puts in what its row holds.
    pub(crate) fn learn(&mut self, key: K, thing: V) {
        self.all.insert(key, thing);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(crate) fn all(&self) -> &BTreeMap<K, V> {
        &self.all
    }

    /// A thing; what was never changed is as new.
    pub(crate) fn get(&self, key: K) -> V {
        self.all.get(&key).copied().unwrap_or_default()
    }

    /// A thing, to change it.
    pub(crate) fn change(&mut self, key: K) -> &mut V {
        self.touched.insert(key);
        self.all.entry(key).or_default()
    }

    /// Forgets a thing. Whether there was one.
    pub(crate) fn remove(&mut self, key: K) -> bool {
        self.touched.remove(&key);
        self.all.remove(&key).is_some()
    }

    /// What was changed since this was called before.
    pub(crate) fn changed(&mut self) -> impl Iterator<Item = (K, V)> {
        let touched = std::mem::take(&mut self.touched).into_iter();
        touched.filter_map(|key| Some((key, *self.all.get(&key)?)))
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_changed_is_told_once() {
        let mut things = Tracked::new();
        things.learn(1, 10);
        *things.change(3) = 30;
        *things.change(2) += 20;
        *things.change(4) = 40;
        assert!(things.remove(4) && !things.remove(4));
        assert_eq!((things.get(1), things.get(5)), (10, 0));
        assert_eq!(things.changed().collect::<Vec<_>>(), [(2, 20), (3, 30)]);
        assert_eq!(things.changed().count(), 0);
        assert_eq!(things.all().len(), 3);
        things.clear();
        assert!(things.is_empty());
    }
}
