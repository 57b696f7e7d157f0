//! What a shard can be told to do: one file per op, each with its encoding and what it does.

mod accept;
mod complete;
mod configure;
mod delete_message;
mod digest;
mod drop_partition;
mod outbox_done;
mod purge;
mod receive;
mod redrive;
mod release_session;
mod seek;
mod send;
mod settle;

pub use accept::{Accept, MovedMessage};
pub use complete::{Ack, Complete, MAX_OUTPUTS, Output};
pub use configure::Configure;
pub use delete_message::{DeleteMessage, LeaseRef};
pub use digest::{Digest, MAX_DIGEST_BYTES, MAX_DIGEST_ROWS};
pub use drop_partition::DropPartition;
pub use outbox_done::OutboxDone;
pub use purge::{Purge, PurgeFrom};
pub use receive::{MAX_RECEIVE, Receive};
pub use redrive::{MAX_REDRIVE, Move, NewPayload, Redrive};
pub use release_session::ReleaseSession;
pub use seek::{Seek, SeekTo};
pub use send::{MAX_SEND, NewMessage, ProducerRef, Send};
pub use settle::{Action, MAX_ERROR_BYTES, MAX_SETTLE, Settle, Settlement};

pub(crate) use digest::hash_rows;
pub(crate) use settle::LoggedSettle;

use crate::codec::{Decoded, Reader};

/// One operation of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Creates a partition or changes what it promises.
    Configure(Configure),
    /// Deletes a partition with its messages.
    Drop(DropPartition),
    /// Acks, nacks, rejects or extends deliveries.
    Settle(Settle),
    /// Acks deliveries and sends what came of them.
    Complete(Complete),
    /// Adds messages.
    Send(Send),
    /// Leases messages to a consumer.
    Receive(Receive),
    /// Ends the leases of a session that is gone.
    ReleaseSession(ReleaseSession),
    /// Does what has fallen due at the time of the entry, at most [`TICK_BUDGET`] steps.
    Tick,
    /// Takes in messages that another partition has in its outbox.
    Accept(Accept),
    /// Forgets messages of the outbox that the target has accepted.
    OutboxDone(OutboxDone),
    /// Removes messages that are not leased.
    Purge(Purge),
    /// Hashes a piece of the shard's rows.
    Digest(Digest),
    /// Moves messages to other queues.
    Redrive(Redrive),
    /// Deletes one message.
    DeleteMessage(DeleteMessage),
    /// Lets a group begin with another message.
    Seek(Seek),
}

/// Steps (a lease ended, a delayed message made ready, a message expired …) per [`Op::Tick`].
pub const TICK_BUDGET: usize = 1_000;

// Frozen: these bytes are in logs.
const CONFIGURE: u8 = 1;
const DROP: u8 = 2;
const SETTLE: u8 = 3;
const SEND: u8 = 4;
const RECEIVE: u8 = 5;
const RELEASE_SESSION: u8 = 6;
const TICK: u8 = 7;
const ACCEPT: u8 = 8;
const OUTBOX_DONE: u8 = 9;
const PURGE: u8 = 10;
const DIGEST: u8 = 11;
const REDRIVE: u8 = 12;
const DELETE_MESSAGE: u8 = 13;
const COMPLETE: u8 = 15;
const SEEK: u8 = 14;

/// An op as it stands in an entry: payloads are ranges of the entry's data.
#[derive(Debug)]
pub(crate) enum LoggedOp<'a> {
    Configure(Configure),
    Drop(DropPartition),
    Settle(LoggedSettle<'a>),
    Complete(complete::LoggedComplete),
    Send(send::LoggedSend<'a>),
    Receive(Receive),
    ReleaseSession(ReleaseSession),
    Tick,
    Accept(accept::LoggedAccept),
    OutboxDone(OutboxDone),
    Purge(Purge),
    Digest(Digest),
    Redrive(redrive::LoggedRedrive),
    DeleteMessage(DeleteMessage),
    Seek(Seek),
}

impl Op {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Configure(op) => op.encode(tag(out, CONFIGURE)),
            Self::Drop(op) => op.encode(tag(out, DROP)),
            Self::Settle(op) => op.encode(tag(out, SETTLE)),
            Self::Complete(op) => op.encode(tag(out, COMPLETE)),
            Self::Send(op) => op.encode(tag(out, SEND)),
            Self::Receive(op) => op.encode(tag(out, RECEIVE)),
            Self::ReleaseSession(op) => op.encode(tag(out, RELEASE_SESSION)),
            Self::Tick => drop(tag(out, TICK)),
            Self::Accept(op) => op.encode(tag(out, ACCEPT)),
            Self::OutboxDone(op) => op.encode(tag(out, OUTBOX_DONE)),
            Self::Purge(op) => op.encode(tag(out, PURGE)),
            Self::Digest(op) => op.encode(tag(out, DIGEST)),
            Self::Redrive(op) => op.encode(tag(out, REDRIVE)),
            Self::DeleteMessage(op) => op.encode(tag(out, DELETE_MESSAGE)),
            Self::Seek(op) => op.encode(tag(out, SEEK)),
        }
    }
}

fn tag(out: &mut Vec<u8>, kind: u8) -> &mut Vec<u8> {
    out.push(kind);
    out
}

impl<'a> LoggedOp<'a> {
    /// Reads the next op of an entry.
    pub(crate) fn decode(r: &mut Reader<'a>) -> Decoded<Self> {
        Ok(match r.u8("kind of op")? {
            CONFIGURE => Self::Configure(Configure::decode(r)?),
            DROP => Self::Drop(DropPartition::decode(r)?),
            SETTLE => Self::Settle(LoggedSettle::decode(r)?),
            COMPLETE => Self::Complete(complete::LoggedComplete::decode(r)?),
            SEND => Self::Send(send::LoggedSend::decode(r)?),
            RECEIVE => Self::Receive(Receive::decode(r)?),
            RELEASE_SESSION => Self::ReleaseSession(ReleaseSession::decode(r)?),
            TICK => Self::Tick,
            ACCEPT => Self::Accept(accept::LoggedAccept::decode(r)?),
            OUTBOX_DONE => Self::OutboxDone(OutboxDone::decode(r)?),
            PURGE => Self::Purge(Purge::decode(r)?),
            DIGEST => Self::Digest(Digest::decode(r)?),
            REDRIVE => Self::Redrive(redrive::LoggedRedrive::decode(r)?),
            DELETE_MESSAGE => Self::DeleteMessage(DeleteMessage::decode(r)?),
            SEEK => Self::Seek(Seek::decode(r)?),
            _ => return r.fail("kind of op (a newer binary wrote it?)"),
        })
    }
}
