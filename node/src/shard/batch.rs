//! Fills one log entry: housekeeping, settles, sends, and receives for those who wait. Pure.

use std::collections::BTreeMap;

use bytes::Bytes;
use roadstead_core::kv::Kv;
use roadstead_core::shard::{
    Action, EntryBuilder, NewMessage, Op, Ordering, PartitionId, ShardMachine, slot_of_key,
};
use tokio::sync::oneshot;

use super::consumer::Line;
use super::consumers::{Asked, Consumers};
use super::intake::{Answer, Job, Lanes};
use super::waiting::Ready;

/// An entry takes no further op when it would get longer than this. A single op may be longer.
pub const ENTRY_BYTES: usize = 512 << 10;
/// An entry takes no further op when it has this many.
const ENTRY_OPS: usize = 4_096;
/// A group whose rate is used up is looked at again after this, or when it has room: what comes
/// meanwhile comes together.
const RATE_PAUSE_MS: u64 = 10;

/// A partition, the consumer group for which something comes (None: for all of them), and the slot
/// of its key, where keys are sticky there.
pub type Coming = (PartitionId, Option<u32>, Option<u8>);

/// The applied state.
type State<'a> = (&'a ShardMachine, &'a dyn Kv);

/// Messages that are being written, or freed by what is, and not applied yet.
pub type Incoming = BTreeMap<Coming, u64>;

/// Who waits for the replies of one entry, in order of its ops.
#[derive(Debug, Default)]
pub struct Batch {
    /// One per op, before `asked`.
    pub answers: Vec<oneshot::Sender<Answer>>,
    /// One per Receive, the last ops.
    pub asked: Vec<Asked>,
    /// Bytes that count against the intake.
    pub bytes: usize,
    /// What it adds to [`Incoming`] until it is applied.
    pub incoming: Incoming,
    /// Partitions of its ops other than receives.
    pub touched: Vec<PartitionId>,
    /// It holds a Tick.
    pub tick: bool,
    /// Some of its ops send messages to other queues.
    pub outputs: bool,
}

/// Puts into an entry of the given time what fits of `lanes`, and receives for those consumers who
/// wait with credit. None: there is nothing to write.
pub fn fill(
    lanes: &mut Lanes,
    consumers: &mut Consumers,
    incoming: &mut Incoming,
    (machine, kv): State<'_>,
    time_ms: u64,
) -> Option<(Bytes, Batch)> {
    let waiting = lanes.bytes.min(ENTRY_BYTES);
    let mut entry = EntryBuilder::with_capacity(time_ms, waiting + 1_024);
    let mut batch = Batch::default();
    for lane in [&mut lanes.control, &mut lanes.settles, &mut lanes.sends] {
        while let Some(job) = lane.pop_front() {
            let fits = entry.len() + job.bytes <= ENTRY_BYTES && entry.ops() < ENTRY_OPS;
            if !fits && !entry.is_empty() {
                lane.push_front(job);
                break;
            }
            lanes.bytes -= job.bytes;
            batch.note(&job, (machine, kv));
            entry.push(&job.op);
            batch.answers.push(job.done);
        }
    }
    for (coming, messages) in &batch.incoming {
        *incoming.entry(*coming).or_default() += messages;
        consumers.touched(coming.0);
    }
    if consumers.is_dirty() {
        let ready = |line| ready(machine, line, time_ms);
        batch.asked = consumers.ask(incoming, ready);
        for asked in &batch.asked {
            entry.push(&Op::Receive(asked.receive));
        }
    }
    (!entry.is_empty()).then(|| (entry.finish(), batch))
}

/// What a group may get of a partition; None: nothing at present.
fn ready(machine: &ShardMachine, (partition, group): Line, time_ms: u64) -> Option<Ready> {
    if !machine.delivers(partition, group) {
        return None;
    }
    let rate = machine.delivery_rate(partition, group, time_ms);
    let (by_rate, next_ms) = rate.unwrap_or((u64::MAX, 0));
    Some(Ready {
        leased: machine.ready(partition, group),
        at_most_once: machine.ready_at_most_once(partition, group),
        room: machine.room_in_flight(partition),
        by_rate,
        look_at_ms: next_ms.max(time_ms + RATE_PAUSE_MS),
        by_slot: machine.ready_by_slot(partition, group),
    })
}

/// The entry was applied, or will never be.
pub fn settled(batch: &Batch, incoming: &mut Incoming) {
    for (coming, messages) in &batch.incoming {
        if let Some(left) = incoming.get_mut(coming) {
            *left = left.saturating_sub(*messages);
            if *left == 0 {
                incoming.remove(coming);
            }
        }
    }
}

impl Batch {
    fn note(&mut self, job: &Job, (machine, kv): State<'_>) {
        self.bytes += job.bytes;
        let partition = match &job.op {
            Op::Send(op) => {
                let at_once = |m: &&NewMessage| m.delay_ms == 0 && m.not_before == 0;
                let now = op.messages.iter().filter(at_once);
                self.come(machine, op.partition, now.map(|m| m.key));
                op.partition
            }
            Op::Accept(op) => {
                self.come(machine, op.target, op.messages.iter().map(|m| m.key));
                op.target
            }
            Op::Settle(op) => {
                // An ack makes room for the next message of its key.
                let config = machine.config(op.partition);
                let keyed = config.is_some_and(|config| config.ordering != Ordering::None);
                let waits = config.is_some_and(|config| config.backoff.is_some());
                let frees = |action: &Action| match action {
                    Action::Nack {
                        unstarted,
                        delay_ms,
                        ..
                    } => *unstarted || delay_ms.map_or(!waits, |delay_ms| delay_ms == 0),
                    Action::Ack | Action::Reject { .. } => keyed,
                    Action::Extend { .. } => false,
                };
                let freed = op.items.iter().filter(|item| frees(&item.action));
                let freed = freed.map(|item| (item.delivery, item.slot));
                self.free((machine, kv), (op.partition, op.group), freed);
                op.partition
            }
            Op::Complete(op) => {
                self.outputs |= !op.outputs.is_empty();
                let config = machine.config(op.partition);
                if config.is_some_and(|config| config.ordering != Ordering::None) {
                    let freed = op.acks.iter().map(|ack| (ack.delivery, ack.slot));
                    self.free((machine, kv), (op.partition, op.group), freed);
                }
                op.partition
            }
            Op::Configure(op) => op.partition,
            Op::Drop(op) => op.partition,
            Op::ReleaseSession(op) => op.partition,
            Op::Purge(op) => op.partition,
            Op::Redrive(op) => op.partition,
            Op::DeleteMessage(op) => op.partition,
            Op::Seek(op) => op.partition,
            Op::OutboxDone(op) => op.source,
            Op::Receive(op) => op.partition,
            Op::Tick => {
                self.tick = true;
                return;
            }
            // It changes nothing.
            Op::Digest(_) => return,
        };
        if self.touched.last() != Some(&partition) {
            self.touched.push(partition);
        }
    }

    /// Messages with these keys come, for all groups.
    fn come(
        &mut self,
        machine: &ShardMachine,
        partition: PartitionId,
        keys: impl Iterator<Item = Option<u64>>,
    ) {
        if is_sticky(machine, partition) {
            for key in keys {
                self.add((partition, None, key.map(slot_of_key)), 1);
            }
        } else {
            self.add((partition, None, None), keys.count());
        }
    }

    /// Deliveries are settled, behind which others may go to the same group.
    fn free(
        &mut self,
        (machine, kv): State<'_>,
        (partition, group): Line,
        freed: impl Iterator<Item = (u64, u16)>,
    ) {
        if is_sticky(machine, partition) {
            // Rows that cannot be read stop the shard when the op is applied.
            let slots = machine.key_slots_of(kv, (partition, group), freed);
            for slot in slots.unwrap_or_default() {
                self.add((partition, Some(group), Some(slot)), 1);
            }
        } else {
            self.add((partition, Some(group), None), freed.count());
        }
    }

    fn add(&mut self, coming: Coming, messages: usize) {
        if messages > 0 {
            *self.incoming.entry(coming).or_default() += messages as u64;
        }
    }
}

fn is_sticky(machine: &ShardMachine, partition: PartitionId) -> bool {
    let config = machine.config(partition);
    config.is_some_and(|config| config.sticky_keys)
}
