//! Sends to one partition.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use roadstead_core::shard::{
    DeduplicateBy, Deduplication, DeduplicationScope, Identity, MAX_PRIORITY, NewMessage, Op,
    Ordering, PartitionId, ProducerRef, Reply, Send, key_hash,
};
use roadstead_proto::v1::{OutgoingMessage, ShardSend};
use roadstead_proto::{content_hash, hash_in_key, id_hash};
use tokio::sync::oneshot;

use super::batch::ENTRY_BYTES;
use super::blob;
use super::desk::Desk;
use super::intake::Answer;
use super::pace;
use super::refusal::{not_taken, unapplied};
use super::replica::Replica;
use super::sent::Sent;
use super::wire::{millis, since_1970};
use crate::gateway::ApiError;
use crate::runtime::Runtime;

/// A send is cut into ops of about this size, so that an entry holds several.
const OP_BYTES: usize = ENTRY_BYTES / 2;

/// Sends and waits until the messages are on a majority's disks. The call fails as a whole only
/// when nothing of it was accepted for sure. `deduplication` is that of the queue.
pub(super) async fn send<R: Runtime, P: Replica>(
    desk: &Arc<Desk<R, P>>,
    call: ShardSend,
    deduplication: Option<Deduplication>,
) -> Result<Sent, ApiError> {
    let shard = desk.replica.id();
    let queue = call.queue.unwrap_or_default();
    let partition = PartitionId {
        queue: call.queue_id,
        partition: call.partition,
    };
    // Held until the answers are there.
    let _place = pace::wait(&**desk, partition, &call.messages).await;
    desk.replica.sends_allowed().map_err(|why| {
        ApiError::exhausted(format!("shard {shard} takes no messages now: {why}")).about(&queue)
    })?;
    let producer = call.producer.map(|p| ProducerRef {
        id: Bytes::from(p.id),
        first: p.first_sequence,
    });
    let messages = new_messages(call.messages, deduplication);
    let ops = if call.atomic {
        vec![one_op(partition, producer, messages)]
    } else {
        ops(partition, producer.as_ref(), messages, &call.left_out)
    };
    let in_turn = ops.len() > 1 && may_overtake(&**desk, partition);
    let mut sent = Sent::new(shard, (partition, queue), ops.len());
    let mut waiting = Vec::with_capacity(1);
    for op in ops {
        let count = op.messages.len();
        if sent.hold_back(count) {
            continue;
        }
        let bytes = op.encoded_len_max();
        let answer = desk.intake.push(Op::Send(op), bytes);
        let answer = answer.map_err(|error| not_taken(shard, error));
        match answer {
            Err(error) if sent.is_empty() && waiting.is_empty() => {
                return Err(error.about(sent.queue()));
            }
            answer if in_turn => sent.take(count, wait_for(shard, answer).await, in_turn)?,
            answer => waiting.push((count, answer)),
        }
    }
    for (count, answer) in waiting {
        sent.take(count, wait_for(shard, answer).await, in_turn)?;
    }
    Ok(sent)
}

async fn wait_for(
    shard: u16,
    answer: Result<oneshot::Receiver<Answer>, ApiError>,
) -> Result<Reply, ApiError> {
    outcome(shard, answer?.await.unwrap_or_else(|_| stopped()))
}

/// Whether a later part of a send could be accepted where an earlier one was refused for now, and
/// the order would be another one.
fn may_overtake<R: Runtime, P: Replica>(desk: &Desk<R, P>, partition: PartitionId) -> bool {
    desk.replica.read(|machine, _| {
        machine.config(partition).is_some_and(|config| {
            let limited = config.max_messages | config.max_bytes | config.rate != 0;
            limited && config.ordering != Ordering::None
        })
    })
}

/// What is atomic is one op, whatever its size.
fn one_op(
    partition: PartitionId,
    producer: Option<ProducerRef>,
    messages: impl Iterator<Item = NewMessage>,
) -> Send {
    Send {
        partition,
        producer,
        messages: messages.collect(),
        atomic: true,
    }
}

/// Cuts a send into ops, each of messages whose numbers follow one another; those of `left_out` are
/// used by none.
fn ops(
    partition: PartitionId,
    producer: Option<&ProducerRef>,
    messages: impl ExactSizeIterator<Item = NewMessage>,
    left_out: &[u32],
) -> Vec<Send> {
    let mut ops = Vec::with_capacity(1);
    let (mut bytes, mut next, mut count) = (0, 0, messages.len());
    let numbers = (0..).filter(|number| left_out.binary_search(number).is_err());
    for (number, message) in numbers.zip(messages) {
        let size = message.encoded_len_max();
        match ops.last_mut() {
            Some(Send { messages, .. }) if number == next && bytes + size <= OP_BYTES => {
                messages.push(message);
                bytes += size;
            }
            _ => {
                let producer = producer.map(|it| ProducerRef {
                    id: it.id.clone(),
                    first: it.first + u64::from(number),
                });
                // The first op is mostly the only one.
                let mut messages = Vec::with_capacity(std::mem::take(&mut count));
                messages.push(message);
                ops.push(Send {
                    partition,
                    producer,
                    messages,
                    atomic: false,
                });
                bytes = size;
            }
        }
        next = number + 1;
    }
    ops
}

fn new_messages(
    messages: Vec<OutgoingMessage>,
    deduplication: Option<Deduplication>,
) -> impl ExactSizeIterator<Item = NewMessage> {
    let mut scratch = BytesMut::new();
    let messages = messages.into_iter();
    messages.map(move |message| new_message(message, deduplication, &mut scratch))
}

/// By what a message is known when it is sent again.
fn identity(message: &OutgoingMessage, deduplication: Option<Deduplication>) -> Option<Identity> {
    let by_content = deduplication.is_some_and(|it| it.by == DeduplicateBy::Content);
    let in_key = deduplication.is_some_and(|it| it.scope == DeduplicationScope::Key);
    let scoped = |hash| {
        if in_key {
            hash_in_key(&message.ordering_key, hash)
        } else {
            hash
        }
    };
    match message.deduplication_id.as_str() {
        "" if by_content => Some(Identity::Content(scoped(content_hash(message)))),
        "" => None,
        id => Some(Identity::Id(scoped(id_hash(id)))),
    }
}

/// A message as the state machine takes it. `deduplication` is that of its queue.
pub fn new_message(
    message: OutgoingMessage,
    deduplication: Option<Deduplication>,
    scratch: &mut BytesMut,
) -> NewMessage {
    let hash = |name: &str| (!name.is_empty()).then(|| key_hash(name.as_bytes()));
    NewMessage {
        identity: identity(&message, deduplication),
        key: hash(&message.ordering_key),
        delay_ms: message.delay.as_ref().and_then(millis).unwrap_or(0),
        not_before: message.not_before.as_ref().map_or(0, since_1970),
        ttl_ms: message.time_to_live.as_ref().and_then(millis).unwrap_or(0),
        // Checked before: at most 9.
        priority: u8::try_from(message.priority).unwrap_or(MAX_PRIORITY),
        tenant: hash(&message.fairness_key),
        header: blob::header(&message, scratch),
        body: message.body,
    }
}

/// The reply to an op, or the error of a call that was not applied.
pub fn outcome(shard: u16, answer: Answer) -> Result<Reply, ApiError> {
    answer.map_err(|error| unapplied(shard, &error))
}

/// What an op gets whose proposer is gone.
pub fn stopped() -> Answer {
    Err(super::replica::Unapplied::Unknown(
        "the node is stopping".to_owned(),
    ))
}

/// The state machine answered another question.
pub fn odd_reply(shard: u16) -> ApiError {
    let message = format!("shard {shard} answered with a reply of another kind: report it");
    ApiError::new(tonic::Code::Internal, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTITION: PartitionId = PartitionId {
        queue: 1,
        partition: 0,
    };

    fn message(bytes: usize) -> OutgoingMessage {
        OutgoingMessage {
            body: Bytes::from(vec![7; bytes]),
            ..OutgoingMessage::default()
        }
    }

    /// How many messages each op has, and its first number.
    fn parts(ops: &[Send]) -> Vec<(usize, u64)> {
        let first = |op: &Send| op.producer.as_ref().map_or(0, |p| p.first);
        ops.iter()
            .map(|op| (op.messages.len(), first(op)))
            .collect()
    }

    #[test]
    fn a_large_send_is_cut_and_keeps_its_numbers() {
        let producer = Some(ProducerRef {
            id: Bytes::from_static(b"p"),
            first: 10,
        });
        let messages = new_messages(vec![message(100 << 10); 5], None);
        let ops = ops(PARTITION, producer.as_ref(), messages, &[]);
        assert_eq!(parts(&ops), [(2, 10), (2, 12), (1, 14)]);
    }

    #[test]
    fn numbers_that_are_left_out_are_used_by_nobody() {
        let producer = Some(ProducerRef {
            id: Bytes::from_static(b"p"),
            first: 10,
        });
        let of = |left_out: &[u32]| {
            let messages = new_messages(vec![message(1); 4], None);
            parts(&ops(PARTITION, producer.as_ref(), messages, left_out))
        };
        assert_eq!(of(&[]), [(4, 10)]);
        assert_eq!(of(&[0]), [(4, 11)]);
        assert_eq!(of(&[1, 2, 5]), [(1, 10), (2, 13), (1, 16)]);
        assert_eq!(of(&[4, 5]), [(4, 10)]);
    }

    #[test]
    fn a_message_is_known_by_its_id_and_by_its_content_where_the_queue_says_so() {
        let with_id = OutgoingMessage {
            deduplication_id: "a".into(),
            ..message(1)
        };
        let setting = |by, scope| Deduplication {
            by,
            scope,
            window_ms: 1_000,
            max_ids: 10,
        };
        let of = |setting| {
            let messages = vec![message(1), with_id.clone()];
            let messages = new_messages(messages, setting);
            messages.map(|message| message.identity).collect::<Vec<_>>()
        };
        let id = Some(Identity::Id(id_hash("a")));
        assert_eq!(of(None), [None, id]);
        let by_id = setting(DeduplicateBy::Id, DeduplicationScope::Queue);
        assert_eq!(of(Some(by_id)), [None, id]);
        let content = Some(Identity::Content(content_hash(&message(1))));
        let by_content = setting(DeduplicateBy::Content, DeduplicationScope::Queue);
        assert_eq!(of(Some(by_content)), [content, id]);
        let in_key = setting(DeduplicateBy::Id, DeduplicationScope::Key);
        let id = Some(Identity::Id(hash_in_key("", id_hash("a"))));
        assert_eq!(of(Some(in_key)), [None, id]);
    }

    #[test]
    fn a_small_send_is_one_op() {
        let messages = new_messages(vec![message(1); 1_000], None);
        let ops = ops(PARTITION, None, messages, &[]);
        assert_eq!(ops.len(), 1);
        assert_eq!(ops[0].messages.len(), 1_000);
    }
}
