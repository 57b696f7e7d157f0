//! What ends by itself at a leader: words that drain consumers, and leases of sessions that are
//! gone.

use roadstead_core::shard::{Op, PartitionId, ReleaseSession, SessionId};

use super::proposer::Proposer;
use super::replica::Replica;
use super::sessions::is_one_time;
use crate::runtime::Runtime;

/// When leases that could not be released, or were too many for one entry, are tried again.
const RELEASE_AGAIN_MS: u64 = 100;

impl<R: Runtime, P: Replica> Proposer<R, P> {
    /// Drains, sessions that did not come back, and leases of those who are drained.
    pub(super) fn end_what_is_over(&mut self) {
        let desk = self.desk.clone();
        let now = desk.now_ms();
        if self.absent_due_ms.is_some_and(|due| due <= now) {
            self.absent_due_ms = None;
            self.note_absent(now);
        }
        let (undelivered, due) = {
            let mut seats = desk.seats();
            seats.consumers.pass(now);
            (seats.consumers.undelivered(), seats.sessions.due(now))
        };
        for received in &undelivered {
            desk.hand_back(received);
        }
        for (session, partitions) in due {
            let held: Vec<_> = partitions
                .into_iter()
                .filter(|partition| self.holds(session, *partition))
                .collect();
            for partition in &held {
                let op = ReleaseSession {
                    partition: *partition,
                    session,
                };
                drop(desk.intake.push(Op::ReleaseSession(op), 40));
            }
            desk.intake.take(&mut self.lanes);
            let mut seats = desk.seats();
            // It may have come meanwhile.
            let gone = held.into_iter();
            let gone = gone.filter(|partition| !seats.consumers.is_seated(session, *partition));
            let gone: Vec<_> = gone.collect();
            if !gone.is_empty() {
                // Looked at again until it holds nothing.
                seats.sessions.left(session, gone, now + RELEASE_AGAIN_MS);
            }
        }
    }

    /// Whether a session leases something in a partition and has no stream to it.
    fn holds(&self, session: SessionId, partition: PartitionId) -> bool {
        let replica = &self.desk.replica;
        let holds = replica.read(|machine, kv| machine.holds(kv, partition, session));
        holds.is_ok_and(|holds| holds) && !self.desk.seats().consumers.is_seated(session, partition)
    }

    /// Sessions that lease something and have not come to this leader within their time: their
    /// consumers went with the one before, or earlier.
    fn note_absent(&self, now: u64) {
        let shard = self.desk.replica.id();
        let found = self.desk.replica.read(|machine, kv| machine.sessions(kv));
        let found = found.unwrap_or_else(|error| {
            tracing::error!(shard, %error, "cannot read who leases messages");
            Vec::new()
        });
        let mut seats = self.desk.seats();
        for (partition, group, session) in found {
            let line = (partition, group);
            if !is_one_time(session) && !seats.consumers.has_session(session, line) {
                seats.sessions.never_came(session, partition, now);
            }
        }
    }
}
