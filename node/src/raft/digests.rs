//! What pieces of a shard's rows hashed to on this replica.

use std::collections::VecDeque;

use roadstead_core::shard::Reply;

use super::types::LogId;

/// How many are remembered: at the pace at which they are made, some seconds of them, so that what
/// replicas report now and then overlaps.
pub const REMEMBERED: usize = 8;

/// The hash that an entry of the log asked for, as this replica's rows gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoggedDigest {
    /// Term of the entry.
    pub term: u64,
    /// Its index.
    pub index: u64,
    /// Hash of the rows that it names.
    pub hash: u64,
}

/// The newest digests that a replica has applied, the oldest first. In memory only.
#[derive(Debug, Default)]
pub struct Digests(VecDeque<LoggedDigest>);

impl Digests {
    /// Notes what the entry `at` asked for, if it did, by the replies to its ops. A leader writes
    /// one digest into an entry; of several the first counts, on every replica.
    pub fn note(&mut self, at: LogId, replies: &[Reply]) {
        let hash = replies.iter().find_map(|reply| match reply {
            Reply::Digested(digested) => Some(digested.hash),
            _ => None,
        });
        let Some(hash) = hash else { return };
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(LoggedDigest {
            term: at.leader_id.term,
            index: at.index,
            hash,
        });
    }

    /// Forgets all: the rows are others from now on.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// All that are remembered.
    pub fn all(&self) -> Vec<LoggedDigest> {
        self.0.iter().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use roadstead_core::shard::Digested;

    use super::*;
    use crate::raft::types::LeaderId;

    #[test]
    fn the_newest_are_remembered_with_their_entry() {
        let mut digests = Digests::default();
        for index in 1..=20 {
            let leader_id = LeaderId {
                term: 3,
                node_id: 7,
            };
            let mut replies = vec![Reply::Configured(true)];
            if index % 2 == 0 {
                let (hash, rows, next) = (index * 100, 1, None);
                replies.push(Reply::Digested(Digested { hash, rows, next }));
            }
            digests.note(LogId { leader_id, index }, &replies);
        }
        let all = digests.all();
        let expected = (3..=10).map(|n| LoggedDigest {
            term: 3,
            index: 2 * n,
            hash: 200 * n,
        });
        assert_eq!(all, expected.collect::<Vec<_>>());
        digests.clear();
        assert_eq!(digests.all(), []);
    }
}
