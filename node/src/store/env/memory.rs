//! An environment in memory, for simulations: what was committed stays, the rest never was.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::{Change, Env, EnvError, EnvView, Table, Visit};

type Rows = BTreeMap<(Table, Vec<u8>), Bytes>;

/// Rows in memory. Clones are the same rows, as a file opened again would be.
#[derive(Clone, Default)]
pub struct MemoryEnv(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    rows: Arc<Rows>,
    full: bool,
}

impl MemoryEnv {
    /// Commits fail for lack of space from now on, or no longer.
    pub fn set_full(&self, full: bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).full = full;
    }

    /// Number of rows of a table.
    pub fn count(&self, table: Table) -> usize {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.rows.keys().filter(|(of, _)| *of == table).count()
    }
}

impl Env for MemoryEnv {
    fn view(&self) -> Result<Box<dyn EnvView>, EnvError> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Box::new(View(state.rows.clone())))
    }

    fn commit(&self, change: &dyn Change) -> Result<(), EnvError> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.full {
            return Err(EnvError::Full(
                "the environment in memory was told to be full".into(),
            ));
        }
        // Views that live keep the old rows; else nothing is copied.
        let rows = Arc::make_mut(&mut state.rows);
        change.each(&mut |table, key, value| {
            match value {
                Some(value) => {
                    drop(rows.insert((table, key.to_vec()), Bytes::copy_from_slice(value)));
                }
                None => drop(rows.remove(&(table, key.to_vec()))),
            }
            Ok(())
        })
    }

    fn size(&self) -> u64 {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state
            .rows
            .iter()
            .map(|((_, key), value)| (key.len() + value.len()) as u64)
            .sum()
    }
}

struct View(Arc<Rows>);

impl EnvView for View {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EnvError> {
        Ok(self.0.get(&(table, key.to_vec())).cloned())
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        end: &[u8],
        visit: &mut Visit<'_>,
    ) -> Result<(), EnvError> {
        if from >= end {
            return Ok(());
        }
        let range = (
            Bound::Included((table, from.to_vec())),
            Bound::Excluded((table, end.to_vec())),
        );
        for ((_, key), value) in self.0.range(range) {
            if let ControlFlow::Break(()) = visit(key, value) {
                break;
            }
        }
        Ok(())
    }
}
