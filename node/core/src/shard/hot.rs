//! A cache of things by number, quick for the one that was used last.

use std::collections::BTreeMap;

/// Things by number. It remembers which were handed out since the last `touched`.
#[derive(Debug)]
pub(crate) struct Hot<T> {
    last: Option<(u64, T)>,
    rest: BTreeMap<u64, T>,
    touched: Vec<u64>,
}

impl<T> Hot<T> {
    pub(crate) fn new() -> Self {
        Self {
            last: None,
            rest: BTreeMap::new(),
            touched: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.rest.len() + usize::from(self.last.is_some())
    }

    /// Whether it is here; then `last_mut` gives it.
    pub(crate) fn find(&mut self, number: u64) -> bool {
        if self.last.as_ref().is_some_and(|(last, _)| *last == number) {
            return true;
        }
        match self.rest.remove(&number) {
            Some(found) => {
                self.insert(number, found);
                true
            }
            None => false,
        }
    }

    /// The one that was found or inserted last.
    pub(crate) fn last_mut(&mut self) -> Option<&mut T> {
        self.last.as_mut().map(|(_, thing)| thing)
    }

    pub(crate) fn insert(&mut self, number: u64, thing: T) {
        self.touched.push(number);
        if let Some((number, thing)) = self.last.replace((number, thing)) {
            self.rest.insert(number, thing);
        }
    }

    pub(crate) fn remove(&mut self, number: u64) -> Option<T> {
        if self.last.as_ref().is_some_and(|(last, _)| *last == number) {
            return self.last.take().map(|(_, thing)| thing);
        }
        self.rest.remove(&number)
    }

    /// The lowest number from `number` on.
    pub(crate) fn next_from(&self, number: u64) -> Option<u64> {
        let last = self
            .last
            .as_ref()
            .map(|(last, _)| *last)
            .filter(|last| *last >= number);
        let rest = self.rest.range(number..).next().map(|(number, _)| *number);
        match (last, rest) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Calls `visit` with each that was handed out since it was called before.
    pub(crate) fn touched(&mut self, mut visit: impl FnMut(u64, &mut T)) {
        if let Some((number, thing)) = self.last.take() {
            self.rest.insert(number, thing);
        }
        for number in self.touched.drain(..) {
            if let Some(thing) = self.rest.get_mut(&number) {
                visit(number, thing);
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_finds_removes_and_tells_what_was_touched() {
        let mut hot = Hot::new();
        for number in [5, 3, 9] {
            hot.insert(number, number * 10);
        }
        let mut seen = Vec::new();
        hot.touched(|number, _| seen.push(number));
        assert_eq!(seen, [5, 3, 9]);
        assert!(hot.find(3) && !hot.find(4));
        assert_eq!(hot.last_mut(), Some(&mut 30));
        assert_eq!(
            (hot.next_from(4), hot.next_from(3), hot.next_from(10)),
            (Some(5), Some(3), None)
        );
        assert_eq!(hot.remove(9), Some(90));
        seen.clear();
        hot.touched(|number, _| seen.push(number));
        assert_eq!(seen, [3]);
        assert_eq!(
            (hot.remove(3), hot.remove(3), hot.len()),
            (Some(30), None, 1)
        );
        hot.clear();
        assert_eq!(hot.len(), 0);
    }
}
