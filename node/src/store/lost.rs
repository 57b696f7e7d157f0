//! Groups whose rows were lost with LMDB's file, while their log is whole.

use super::rows::layers::Shared;
use super::{Damage, Store, StoreError};
use crate::raft::types::{GroupId, LogId};

impl Store {
    /// Groups whose log begins after what their rows hold, with the last entry that is missing.
    /// They need a state that holds this entry, from another node, by [`Store::begin_install`]
    /// and [`Store::install`], before they can be used.
    ///
    /// # Errors
    /// When LMDB cannot be read.
    pub fn lost_groups(&self) -> Result<Vec<(GroupId, LogId)>, StoreError> {
        let mut lost = Vec::new();
        for group in self.0.journal.groups() {
            let shared = self.shared(group.id())?;
            lost.extend(self.gap(&shared).map(|(_, purged)| (group.id(), purged)));
        }
        Ok(lost)
    }

    /// Cuts logs that end in another past than the one that their rows hold: a state that came from
    /// another node is of committed entries, so what stands against them in the log never was.
    ///
    /// # Errors
    /// When LMDB cannot be read or the journal has failed.
    pub fn cut_tails(&self) -> Result<(), StoreError> {
        for journal in self.0.journal.groups() {
            let applied = self.shared(journal.id())?.layers().applied;
            let ends = journal.ends();
            let (Some(applied), Some(last)) = (applied, ends.last) else {
                continue;
            };
            if last < applied && last.index >= applied.index {
                let group = journal.id();
                tracing::warn!(group, %last, %applied, "entries never committed are cut");
                let cut = journal.truncate_after(ends.purged);
                cut.map_err(|error| StoreError::Stopped(error.to_string()))?;
            }
        }
        Ok(())
    }

    pub(super) fn check_gap(&self, shared: &Shared) -> Result<(), StoreError> {
        let Some((applied, purged)) = self.gap(shared) else {
            return Ok(());
        };
        let (group, applied) = (shared.group, applied.map_or(0, |id| id.index));
        Err(damaged(format!(
            "rows of group {group} end at {applied}, but its log begins after {purged}"
        )))
    }

    fn gap(&self, shared: &Shared) -> Option<(Option<LogId>, LogId)> {
        let purged = self.0.journal.group(shared.group).ends().purged?;
        let applied = shared.layers().applied;
        (applied < Some(purged)).then_some((applied, purged))
    }
}

pub(super) fn damaged(what: String) -> StoreError {
    StoreError::Damage(Damage {
        file: "lmdb/data.mdb".into(),
        offset: 0,
        what,
    })
}
