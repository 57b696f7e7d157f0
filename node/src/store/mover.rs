//! The loop that gives journal segments back: what still lives in the oldest one is moved to the
//! environment, then its file is used again. It also keeps the spare file and the reserve.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use roadstead_core::shard::PayloadRef;

use super::drivers::{BackgroundLoop, LoopControl, Turn, Wakeup};
use super::payloads::{LivePayloads, PayloadError, Payloads};
use super::rows::layers::Shared;
use super::rows::{Around, Request, Requests};
use super::space::Hidden;
use crate::raft::types::GroupId;

/// Bytes moved in one transaction.
const PIECE: usize = 4 << 20;

/// Time between two looks at the journal's size and the disk.
const LOOK: Duration = Duration::from_millis(200);

/// The mover.
pub(super) struct Mover {
    pub payloads: Payloads,
    pub requests: Requests,
    pub live: LiveSlot,
    pub around: Around,
    pub control: LoopControl,
    pub window_bytes: u64,
    pub bytes_per_second: u64,
    pub work: Option<Work>,
    /// It was said that there is no spare file.
    pub lacks_spare: bool,
}

/// Who knows the live payloads, while there is somebody. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct LiveSlot(Arc<Mutex<Option<Arc<dyn LivePayloads>>>>);

impl LiveSlot {
    pub(super) fn set(&self, live: Option<Arc<dyn LivePayloads>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = live;
    }

    fn get(&self) -> Option<Arc<dyn LivePayloads>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// A segment on its way out.
pub(super) struct Work {
    segment: u32,
    groups: VecDeque<(GroupId, u64, u64)>,
    /// The group that is being moved, with what is left of it.
    current: Option<(Arc<Shared>, u64, VecDeque<PayloadRef>)>,
    /// A request that the committer has not answered yet.
    asked: Option<Arc<OnceLock<Result<(), String>>>>,
}

impl Mover {
    /// The oldest segment, if it should and can go.
    fn begin(&self) -> Option<Work> {
        let live = self.live.get()?;
        if self.payloads.journal.bytes() <= self.window_bytes {
            return None;
        }
        let (segment, ranges) = self.payloads.journal.oldest_segment()?;
        let mut ready = true;
        for &(group, _, last) in &ranges {
            let shared = self.shared(group)?;
            let (durable, held) = {
                let layers = shared.layers();
                (layers.durable.applied.map(|id| id.index), layers.holds > 0)
            };
            let purged = self
                .payloads
                .journal
                .group(group)
                .ends()
                .purged
                .map(|id| id.index);
            if purged < Some(last) {
                if let Some(index) = durable.filter(|index| purged < Some(*index)) {
                    live.purge_wanted(group, index);
                }
                ready = false;
            }
            ready &= durable >= Some(last) && !held;
        }
        ready.then(|| Work {
            segment,
            groups: ranges.into(),
            current: None,
            asked: None,
        })
    }

    fn shared(&self, group: GroupId) -> Option<Arc<Shared>> {
        let groups = self
            .payloads
            .groups
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        groups.get(&group).cloned()
    }

    /// Does a bounded piece. Returns how many bytes it moved, or nothing when it must wait.
    fn step(&mut self, work: &mut Work) -> Result<Step, String> {
        if let Some(asked) = &work.asked {
            match asked.get() {
                None => return Ok(Step::Wait),
                Some(Err(what)) => return Err(what.clone()),
                Some(Ok(())) => work.asked = None,
            }
        }
        let Some((shared, last, mut refs)) = work.current.take() else {
            return self.next_group(work);
        };
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some(at) = refs.front().filter(|_| bytes < PIECE) {
            bytes += at.len as usize;
            batch.push(*at);
            refs.pop_front();
        }
        // Where there is no space a segment waits until nothing in it lives; deletions, which free
        // it, are never behind what has no place.
        self.look_at_disk();
        if !batch.is_empty() && !self.around.reserve.may_move(2 * bytes as u64) {
            batch.into_iter().rev().for_each(|at| refs.push_front(at));
            work.current = Some((shared, last, refs));
            return Ok(Step::Wait);
        }
        let payloads = self.read(&shared, batch)?;
        let moved = refs.is_empty().then_some(last + 1);
        let answer = Arc::new(OnceLock::new());
        let (tell, wakeup) = (answer.clone(), self.control.wakeup().clone());
        let whose = moved.map(|_| shared.clone());
        let told = move |done: Result<(), String>| {
            if let Some(shared) = whose {
                let mut layers = shared.layers();
                layers.moving = None;
                layers.freed_meanwhile.clear();
            }
            let _ = tell.set(done);
            wakeup.wake();
        };
        let group = shared.group;
        self.requests.ask(
            Request::Move {
                group,
                payloads,
                moved,
            },
            Box::new(told),
        );
        self.around.metrics.moved(bytes);
        work.asked = Some(answer);
        if moved.is_none() {
            work.current = Some((shared, last, refs));
        }
        Ok(Step::Moved(bytes))
    }

    /// Payloads that were freed since the list was made are left out.
    fn read(
        &self,
        shared: &Shared,
        mut batch: Vec<PayloadRef>,
    ) -> Result<Vec<(PayloadRef, bytes::Bytes)>, String> {
        {
            let layers = shared.layers();
            batch.retain(|at| !layers.freed_meanwhile.contains(at));
        }
        match self.payloads.get_blocking(shared.group, &batch) {
            Ok(bytes) => Ok(batch.into_iter().zip(bytes).collect()),
            Err(PayloadError::Missing { group, at }) => Err(format!(
                "a live payload of group {group} at {at:?} is nowhere"
            )),
            Err(error) => Err(error.to_string()),
        }
    }

    fn next_group(&self, work: &mut Work) -> Result<Step, String> {
        let Some((group, first, last)) = work.groups.pop_front() else {
            let freed = self.payloads.journal.free_segment(work.segment);
            freed.map_err(|e| format!("freeing a journal segment: {e}"))?;
            return Ok(Step::Done);
        };
        let (Some(live), Some(shared)) = (self.live.get(), self.shared(group)) else {
            return Err(format!("group {group} is not open"));
        };
        let first = {
            let mut layers = shared.layers();
            let first = first.max(layers.durable.moved);
            if first <= last {
                layers.moving = Some(last + 1);
                layers.freed_meanwhile.clear();
            }
            first
        };
        if first > last {
            return Ok(Step::Again);
        }
        let refs = live.live(group, first, last)?;
        work.current = Some((shared, last, refs.into()));
        Ok(Step::Again)
    }

    fn look(&mut self) {
        self.look_at_disk();
        self.around.metrics.lmdb(self.payloads.env.size());
        match self.payloads.journal.prepare_spare() {
            Ok(()) => self.lacks_spare = false,
            Err(_) if self.lacks_spare => {}
            Err(error) => {
                self.lacks_spare = true;
                tracing::warn!(%error, "no spare journal segment: tried again until there is one");
            }
        }
    }

    fn look_at_disk(&self) {
        self.around.reserve.refresh(Hidden {
            reusable: self.payloads.env.reusable(),
            owed: self.owed(),
        });
    }

    /// What is about to move on.
    fn owed(&self) -> u64 {
        let journal = self.payloads.journal.bytes();
        journal.saturating_sub(self.window_bytes)
    }

    fn pause_after(&self, bytes: usize) -> Duration {
        let rate = self.bytes_per_second.max(1);
        Duration::from_micros((bytes as u64).saturating_mul(1_000_000) / rate)
    }
}

enum Step {
    Again,
    Wait,
    Moved(usize),
    Done,
}

impl BackgroundLoop for Mover {
    fn name(&self) -> &'static str {
        "journal-mover"
    }

    fn wakeup(&self) -> Wakeup {
        self.control.wakeup().clone()
    }

    fn turn(&mut self) -> Turn {
        if self.control.is_closed() || self.around.failure.get().is_some() {
            return Turn::Stop;
        }
        let Some(mut work) = self.work.take().or_else(|| self.begin()) else {
            self.look();
            return Turn::Wait(Some(LOOK));
        };
        match self.step(&mut work) {
            Ok(Step::Done) => {
                self.look();
                Turn::Again
            }
            Ok(step) => {
                self.work = Some(work);
                match step {
                    Step::Moved(bytes) => Turn::Wait(Some(self.pause_after(bytes))),
                    Step::Wait => {
                        self.look_at_disk();
                        Turn::Wait(Some(LOOK))
                    }
                    Step::Again | Step::Done => Turn::Again,
                }
            }
            Err(what) => {
                tracing::warn!("a journal segment stays for now: {what}");
                self.look_at_disk();
                Turn::Wait(Some(LOOK))
            }
        }
    }
}
