//! Consumer sessions whose stream is gone: how long their leases are kept for them. Pure.

use std::collections::{BTreeMap, BTreeSet};

use roadstead_core::shard::{PartitionId, SessionId};

/// Sessions without a stream. Times are milliseconds of any monotonic clock.
#[derive(Debug, Default)]
pub struct Sessions {
    gone: BTreeMap<SessionId, Gone>,
}

#[derive(Debug)]
struct Gone {
    due_ms: u64,
    partitions: BTreeSet<PartitionId>,
}

impl Sessions {
    /// The session has no stream any more; its leases are kept until `due_ms`.
    pub fn left(
        &mut self,
        session: SessionId,
        partitions: impl IntoIterator<Item = PartitionId>,
        due_ms: u64,
    ) {
        let none = || Gone {
            due_ms,
            partitions: BTreeSet::new(),
        };
        let gone = self.gone.entry(session).or_insert_with(none);
        gone.due_ms = due_ms;
        gone.partitions.extend(partitions);
    }

    /// A session has leases in a partition, and no stream has come to them here: unless it was here
    /// and is waited for, they are kept until `due_ms`.
    pub fn never_came(&mut self, session: SessionId, partition: PartitionId, due_ms: u64) {
        let none = || Gone {
            due_ms,
            partitions: BTreeSet::new(),
        };
        let gone = self.gone.entry(session).or_insert_with(none);
        gone.partitions.insert(partition);
    }

    /// The session has a stream again for these partitions.
    pub fn back(&mut self, session: SessionId, partitions: &[PartitionId]) {
        if let Some(gone) = self.gone.get_mut(&session) {
            gone.partitions
                .retain(|partition| !partitions.contains(partition));
            if gone.partitions.is_empty() {
                self.gone.remove(&session);
            }
        }
    }

    /// When the first one is due.
    pub fn next_due_ms(&self) -> Option<u64> {
        self.gone.values().map(|gone| gone.due_ms).min()
    }

    /// Takes out the sessions whose time has come, with the partitions where they had a stream.
    pub fn due(&mut self, now_ms: u64) -> Vec<(SessionId, BTreeSet<PartitionId>)> {
        let due = self.gone.extract_if(.., |_, gone| gone.due_ms <= now_ms);
        due.map(|(session, gone)| (session, gone.partitions))
            .collect()
    }

    /// Forgets all: another node leads.
    pub fn clear(&mut self) {
        self.gone.clear();
    }
}

/// Set in the ids of sessions that are of one receive: its leases outlast it.
const ONE_TIME: u128 = 1 << 127;

/// The core's id of a session that a client named, within one consumer group of a queue: of its
/// streams, or of one receive that may be tried again.
pub fn session_id((queue, group): (u64, u32), name: &str, one_time: bool) -> SessionId {
    let mut bytes = queue.to_be_bytes().to_vec();
    bytes.extend_from_slice(&group.to_be_bytes());
    bytes.extend_from_slice(name.as_bytes());
    let hash = xxhash_rust::xxh3::xxh3_128(&bytes);
    SessionId(if one_time {
        hash | ONE_TIME
    } else {
        hash & !ONE_TIME
    })
}

/// Whether a session is of one receive.
pub fn is_one_time(session: SessionId) -> bool {
    session.0 & ONE_TIME != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SessionId = SessionId(1);
    const B: SessionId = SessionId(2);

    fn partition(partition: u32) -> PartitionId {
        PartitionId {
            queue: 1,
            partition,
        }
    }

    #[test]
    fn a_session_that_is_back_in_time_keeps_its_leases() {
        let mut sessions = Sessions::default();
        sessions.left(A, [partition(0), partition(1)], 100);
        sessions.left(B, [partition(0)], 50);
        assert_eq!(sessions.next_due_ms(), Some(50));
        sessions.back(B, &[partition(0)]);
        assert_eq!(sessions.next_due_ms(), Some(100));
        assert_eq!(sessions.due(99), []);
        sessions.back(A, &[partition(1)]);
        assert_eq!(sessions.due(100), [(A, BTreeSet::from([partition(0)]))]);
        assert_eq!(sessions.next_due_ms(), None);
    }

    #[test]
    fn one_that_never_came_is_over_at_once_and_one_that_left_has_its_time() {
        let mut sessions = Sessions::default();
        sessions.left(A, [partition(0)], 100);
        sessions.never_came(A, partition(1), 10);
        sessions.never_came(B, partition(1), 10);
        assert_eq!(sessions.due(10), [(B, BTreeSet::from([partition(1)]))]);
        let both = BTreeSet::from([partition(0), partition(1)]);
        assert_eq!(sessions.due(100), [(A, both)]);
    }

    #[test]
    fn a_name_means_another_session_in_another_queue_or_group() {
        let id = |of, name| session_id(of, name, false);
        assert_ne!(id((1, 0), "a"), id((2, 0), "a"));
        assert_ne!(id((1, 0), "a"), id((1, 1), "a"));
        assert_eq!(id((1, 1), "a"), id((1, 1), "a"));
        let once = session_id((1, 1), "a", true);
        assert!(is_one_time(once) && !is_one_time(id((1, 1), "a")));
    }
}
