//! Walks through the messages of a queue's partitions that a shard holds, a bounded piece at a
//! time, and finds those that a filter means.

use bytes::Bytes;
use roadstead_core::kv::KvError;
use roadstead_core::shard::{BrowseFrom, Browsed, PartitionId, Peeked};
use roadstead_proto::v1::WalkPlace;

use super::blob::{self, Blob};
use super::deliver::{self, ANSWER_BYTES};
use super::desk::Desk;
use super::filter::Filter;
use super::replica::Replica;
use crate::gateway::ApiError;
use crate::runtime::Runtime;

/// Messages looked at under one lock.
const PIECE: usize = 128;
/// Payloads read at a time.
const READ_TOGETHER: usize = 32;
/// Messages looked at for one answer.
pub const LOOK_MAX: u64 = 4_096;
/// Bytes of payloads read for one answer, about.
const READ_BYTES: usize = 8 << 20;

/// A message that a filter means.
#[derive(Debug, Clone)]
pub struct Found {
    /// Where it is.
    pub partition: PartitionId,
    /// What the state machine knows of it.
    pub peeked: Peeked,
    /// Its payload, taken apart.
    pub blob: Blob,
}

/// What a piece of a walk found.
#[derive(Debug, Default)]
pub struct Walked {
    /// In the order of the walk; about [`ANSWER_BYTES`] of them at most.
    pub found: Vec<Found>,
    /// Where to go on; None: the walk has gone through the shard.
    pub next: Option<WalkPlace>,
    /// Messages looked at; an empty piece of a partition counts as one.
    pub looked_at: u64,
}

/// A piece of a walk that is under way.
struct Walk<'a, R: Runtime, P: Replica> {
    desk: &'a Desk<R, P>,
    group: u32,
    filter: &'a Filter,
    max: usize,
    walked: Walked,
    read: usize,
    answered: usize,
}

/// Goes on from `from` until `max` messages were found, or as much was looked at as may be: through
/// these partitions, as a consumer group sees them.
pub async fn walk<R: Runtime, P: Replica>(
    desk: &Desk<R, P>,
    (held, group): (&[PartitionId], u32),
    filter: &Filter,
    from: Option<&WalkPlace>,
    max: usize,
) -> Result<Walked, ApiError> {
    let first = from.map_or(0, |from| from.partition);
    let only = filter.partition();
    let meant =
        |id: &&PartitionId| id.partition >= first && only.is_none_or(|only| id.partition == only);
    let begun = read_place(from)?;
    let mut walk = Walk {
        desk,
        group,
        filter,
        max,
        walked: Walked::default(),
        read: 0,
        answered: 0,
    };
    for partition in held.iter().filter(meant) {
        let from = begun.filter(|_| partition.partition == first);
        if let Some(rest) = walk.through(*partition, from).await? {
            let rest = rest.map_or_else(Vec::new, |from| from.encode());
            walk.walked.next = Some(WalkPlace {
                partition: partition.partition,
                walk: rest.into(),
            });
            break;
        }
    }
    Ok(walk.walked)
}

fn read_place(from: Option<&WalkPlace>) -> Result<Option<BrowseFrom>, ApiError> {
    let Some(from) = from.filter(|from| !from.walk.is_empty()) else {
        return Ok(None);
    };
    let read = BrowseFrom::decode(&from.walk).map_err(|_| {
        let message = "page_token is not one that a page of this queue was answered with";
        ApiError::invalid("page_token", message)
    })?;
    Ok(Some(read))
}

/// Where to go on in a partition that was not gone through; within: None where it is not begun.
type Rest = Option<Option<BrowseFrom>>;

impl<R: Runtime, P: Replica> Walk<'_, R, P> {
    async fn through(
        &mut self,
        partition: PartitionId,
        mut from: Option<BrowseFrom>,
    ) -> Result<Rest, ApiError> {
        let sequence = self.filter.from_sequence();
        if from.is_none() && sequence > 0 {
            let replica = &self.desk.replica;
            let begin = replica.read(|machine, kv| machine.browse_from(kv, partition, sequence));
            from = begin.map_err(|error| broken(replica.id(), &error))?;
        }
        loop {
            if self.is_full() {
                return Ok(Some(from));
            }
            let (replica, line) = (&self.desk.replica, (partition, self.group));
            let piece = replica.read(|machine, kv| machine.browse(kv, line, from, PIECE));
            let piece = piece.map_err(|error| broken(replica.id(), &error))?;
            self.walked.looked_at += (piece.messages.len() as u64).max(1);
            let (next, begun) = (piece.next, piece.from);
            if let Some(last) = self.look_at(partition, piece).await {
                // Up to this one; None: not even at the first.
                return Ok(Some(match last {
                    Some(last) => begun.map(|begun| begun.behind(last.location)),
                    None => begun,
                }));
            }
            if next.is_none() {
                return Ok(None);
            }
            from = next;
        }
    }

    fn is_full(&self) -> bool {
        self.walked.found.len() >= self.max
            || self.walked.looked_at >= LOOK_MAX
            || self.read >= READ_BYTES
            || self.answered >= ANSWER_BYTES
    }

    /// Looks at the payloads of a piece. The last message that was looked at, where there was no
    /// room for more.
    async fn look_at(&mut self, partition: PartitionId, piece: Browsed) -> Option<Option<Peeked>> {
        let mut last = None;
        let filter = self.filter;
        let mut candidates = piece
            .messages
            .into_iter()
            .filter(|message| filter.may_match(message))
            .peekable();
        while candidates.peek().is_some() {
            if self.is_full() {
                return Some(last);
            }
            let mut bytes = 0;
            let mut batch = Vec::new();
            while let Some(message) = candidates.next_if(|message| {
                let fits = bytes + message.payload.len as usize <= ANSWER_BYTES;
                batch.len() < READ_TOGETHER && (fits || batch.is_empty())
            }) {
                bytes += message.payload.len as usize;
                batch.push(message);
            }
            self.read += bytes;
            let refs = batch.iter().map(|message| message.payload).collect();
            let payloads = deliver::payloads(&*self.desk.replica, refs).await;
            for (peeked, payload) in batch.into_iter().zip(payloads) {
                let size = peeked.payload.len as usize;
                let found = payload.and_then(|payload| self.found(partition, peeked, &payload));
                if let Some(found) = found {
                    if self.answered > 0 && self.answered + size > ANSWER_BYTES {
                        self.answered = ANSWER_BYTES;
                        return Some(last);
                    }
                    self.answered += size;
                    self.walked.found.push(found);
                }
                last = Some(peeked);
                if self.walked.found.len() >= self.max {
                    return Some(last);
                }
            }
        }
        None
    }

    fn found(&self, partition: PartitionId, peeked: Peeked, payload: &Bytes) -> Option<Found> {
        match blob::decode(payload) {
            Ok(blob) if self.filter.matches(&blob) => Some(Found {
                partition,
                peeked,
                blob,
            }),
            Ok(_) => None,
            Err(error) => {
                tracing::error!(message = %peeked.id, %error, "cannot be shown");
                None
            }
        }
    }
}

/// Rows cannot be read.
pub fn broken(shard: u16, error: &KvError) -> ApiError {
    let message = format!("shard {shard} cannot read its rows: {error}; see the node's log");
    ApiError::new(tonic::Code::Internal, message)
}
