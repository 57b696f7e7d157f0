//! What waits to be proposed, bounded by bytes.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use roadstead_core::shard::{Op, Reply};
use tokio::sync::{Notify, oneshot};

use super::replica::Unapplied;

/// The answer to one op: its reply, or why there is none.
pub type Answer = Result<Reply, Unapplied>;

/// One op that waits for its turn.
#[derive(Debug)]
pub struct Job {
    /// What to log.
    pub op: Op,
    /// Bytes that it adds to an entry, at most.
    pub bytes: usize,
    /// Gets the answer.
    pub done: oneshot::Sender<Answer>,
}

/// Jobs by their place in an entry: housekeeping, then settles, then sends.
#[derive(Debug, Default)]
pub struct Lanes {
    /// All other ops.
    pub control: VecDeque<Job>,
    /// Settle.
    pub settles: VecDeque<Job>,
    /// What carries messages.
    pub sends: VecDeque<Job>,
    /// Bytes of all three.
    pub bytes: usize,
}

impl Lanes {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.control.is_empty() && self.settles.is_empty() && self.sends.is_empty()
    }

    fn push(&mut self, job: Job) {
        self.bytes += job.bytes;
        match &job.op {
            Op::Settle(_) => self.settles.push_back(job),
            op if is_bounded(op) => self.sends.push_back(job),
            _ => self.control.push_back(job),
        }
    }

    /// Takes everything that waits, in order.
    pub fn drain(&mut self) -> impl Iterator<Item = Job> + use<> {
        self.bytes = 0;
        let control = std::mem::take(&mut self.control);
        let settles = std::mem::take(&mut self.settles);
        control
            .into_iter()
            .chain(settles)
            .chain(std::mem::take(&mut self.sends))
    }
}

/// Whether an op carries messages, so that it may be large.
fn is_bounded(op: &Op) -> bool {
    match op {
        Op::Send(_) | Op::Accept(_) | Op::Complete(_) => true,
        Op::Redrive(op) => op.moves.iter().any(|one| one.payload.is_some()),
        _ => false,
    }
}

/// Why a job was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IntakeError {
    /// As many bytes wait as may.
    #[error("{waiting} bytes wait to be written, at most {limit} may")]
    Full {
        /// Bytes that wait.
        waiting: usize,
        /// The limit.
        limit: usize,
    },
    /// Nothing new is taken: leadership is about to move.
    #[error("leadership of the shard is about to move")]
    Draining,
}

#[derive(Debug, Default)]
struct State {
    lanes: Lanes,
    bytes: usize,
    draining: bool,
}

/// The jobs of one shard that wait for the proposer.
#[derive(Debug)]
pub struct Intake {
    state: Mutex<State>,
    limit: usize,
    wake: Notify,
}

impl Intake {
    /// At most `limit` bytes of sends may wait. Settles and housekeeping are always taken: they
    /// are small, bounded by what is leased, and they free space.
    pub fn new(limit: usize) -> Self {
        Self {
            state: Mutex::default(),
            limit,
            wake: Notify::new(),
        }
    }

    /// Queues a job; its answer comes by the receiver.
    pub fn push(&self, op: Op, bytes: usize) -> Result<oneshot::Receiver<Answer>, IntakeError> {
        let (done, answer) = oneshot::channel();
        {
            let mut state = self.lock();
            let bounded = is_bounded(&op);
            if state.draining && (bounded || matches!(op, Op::Settle(_))) {
                return Err(IntakeError::Draining);
            }
            if bounded && state.bytes > 0 && state.bytes + bytes > self.limit {
                return Err(IntakeError::Full {
                    waiting: state.bytes,
                    limit: self.limit,
                });
            }
            state.bytes += bytes;
            state.lanes.push(Job { op, bytes, done });
        }
        self.wake.notify_one();
        Ok(answer)
    }

    /// Moves what waits into `lanes`, behind what is there. Its bytes count until
    /// [`taken`](Self::taken).
    pub fn take(&self, lanes: &mut Lanes) {
        let mut state = self.lock();
        lanes.control.append(&mut state.lanes.control);
        lanes.settles.append(&mut state.lanes.settles);
        lanes.sends.append(&mut state.lanes.sends);
        lanes.bytes += std::mem::take(&mut state.lanes.bytes);
    }

    /// `bytes` of what was taken are answered.
    pub fn taken(&self, bytes: usize) {
        let mut state = self.lock();
        state.bytes = state.bytes.saturating_sub(bytes);
    }

    /// Refuses sends and settles from now on, or takes them again.
    pub fn set_draining(&self, draining: bool) {
        self.lock().draining = draining;
    }

    /// Whether sends and settles are refused.
    pub fn is_draining(&self) -> bool {
        self.lock().draining
    }

    /// Nothing waits and nothing is being written.
    pub fn is_idle(&self) -> bool {
        self.lock().bytes == 0
    }

    /// Waits until something was queued, or [`wake`](Self::wake) was called.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Lets the proposer look again.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use roadstead_core::shard::{PartitionId, Send, Settle};

    use super::*;

    const PARTITION: PartitionId = PartitionId {
        queue: 1,
        partition: 0,
    };

    fn send() -> Op {
        Op::Send(Send {
            partition: PARTITION,
            producer: None,
            messages: Vec::new(),
            atomic: false,
        })
    }

    #[test]
    fn sends_are_bounded_by_bytes_until_they_are_answered() {
        let intake = Intake::new(100);
        let first = intake.push(send(), 80);
        assert!(first.is_ok());
        let full = IntakeError::Full {
            waiting: 80,
            limit: 100,
        };
        assert_eq!(intake.push(send(), 30).map(|_| ()), Err(full));
        let settle = Op::Settle(Settle {
            partition: PARTITION,
            group: 0,
            items: Vec::new(),
        });
        assert!(intake.push(settle, 30).is_ok());
        let mut lanes = Lanes::default();
        intake.take(&mut lanes);
        assert_eq!((lanes.settles.len(), lanes.sends.len()), (1, 1));
        assert!(
            intake.push(send(), 30).is_err(),
            "what is being written still counts"
        );
        intake.taken(110);
        assert!(intake.is_idle());
        assert!(
            intake.push(send(), 1_000).is_ok(),
            "one of any size is taken when none waits"
        );
    }

    #[test]
    fn nothing_new_is_taken_while_leadership_moves() {
        let intake = Intake::new(100);
        intake.set_draining(true);
        assert_eq!(
            intake.push(send(), 1).map(|_| ()),
            Err(IntakeError::Draining)
        );
        assert!(intake.push(Op::Tick, 8).is_ok());
        intake.set_draining(false);
        assert!(intake.push(send(), 1).is_ok());
    }
}
