//! Snapshots on their way from one replica to another.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use openraft::errors::{NetworkError, ReplicationClosed, StreamingError};
use openraft::raft::SnapshotResponse;
use openraft::{AnyError, OptionalSend};
use openraft_rt::Select2;
use roadstead_proto::v1::{PeerMessage, SnapshotPiece, SnapshotReply, peer_message::Body};

use super::state_machine::GroupState;
use super::types::{GroupId, NodeId, TypeConfig, Vote};
use crate::peers::{Peers, codec};
use crate::runtime::Runtime;
use crate::store::{SnapshotCapture, SnapshotInstaller, Staged, Store};
use crate::transport::Lane;

/// A piece that is not answered by then is lost, and the snapshot with it.
const PIECE_TIMEOUT: Duration = Duration::from_secs(10);

/// What openraft hands around as a snapshot.
pub enum SnapshotData {
    /// A note that the state up to the snapshot's log id is here: enough to purge the log, and to
    /// send a snapshot, which holds the state as it is then.
    Noted,
    /// A state of another node, received whole, to be installed.
    Staged(Box<Staged>),
}

impl std::fmt::Debug for SnapshotData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Noted => "Noted",
            Self::Staged(_) => "Staged",
        })
    }
}

/// A snapshot with its log id and membership.
pub(super) type Snapshot<R> = openraft::type_config::alias::SnapshotOf<TypeConfig<R>, SnapshotData>;

/// Where a snapshot goes.
pub(super) struct Way<'a, R: Runtime> {
    pub(super) peers: &'a Peers<R>,
    pub(super) state: &'a GroupState,
    pub(super) target: NodeId,
    pub(super) group: GroupId,
}

/// Sends the present state, piece by piece, and waits until it is installed.
///
/// It is no older than the snapshot that openraft knows of, which is what it goes on from: what a
/// follower has applied already it takes as matched.
pub(super) async fn send<R: Runtime>(
    way: Way<'_, R>,
    vote: Vote,
    cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
) -> Result<SnapshotResponse<TypeConfig<R>>, StreamingError<TypeConfig<R>>> {
    let capture = way
        .state
        .capture()
        .map_err(|error| broken(&error.to_string()))?;
    match R::select2(pin!(cancel), pin!(send_pieces(&way, vote, capture))).await {
        Select2::First(closed) => Err(StreamingError::Closed(closed)),
        Select2::Second(sent) => sent.map_err(|why| broken(&why)),
    }
}

async fn send_pieces<R: Runtime>(
    way: &Way<'_, R>,
    vote: Vote,
    capture: SnapshotCapture,
) -> Result<SnapshotResponse<TypeConfig<R>>, String> {
    let store = way.state.store();
    let mut reader = store
        .open_snapshot(capture)
        .await
        .map_err(|error| error.to_string())?;
    let mut id = None;
    let mut number = 0;
    loop {
        let chunk = reader.next().await.map_err(|error| error.to_string())?;
        let done = chunk.is_none();
        let piece = SnapshotPiece {
            vote: Some(codec::vote_to_wire(&vote)),
            number,
            chunk: chunk.unwrap_or_default(),
            done,
        };
        let reply = send_piece(way, &mut id, piece).await?;
        if !reply.error.is_empty() {
            return Err(reply.error);
        }
        let seen = codec::vote_from_wire(reply.vote.as_ref());
        if done || seen != vote {
            return Ok(SnapshotResponse::new(seen));
        }
        number += 1;
    }
}

async fn send_piece<R: Runtime>(
    way: &Way<'_, R>,
    id: &mut Option<u64>,
    piece: SnapshotPiece,
) -> Result<SnapshotReply, String> {
    let body = Body::Snapshot(piece);
    let answer = match *id {
        None => {
            let (first, answer) = way.peers.ask(way.target, Lane::Bulk, way.group, body);
            *id = Some(first);
            answer
        }
        Some(id) => way.peers.ask_again(way.target, way.group, id, body),
    };
    let answer = R::timeout(PIECE_TIMEOUT, answer).await;
    match answer.map_err(|_| "a piece of the snapshot was not answered in time")? {
        Ok(Ok(PeerMessage {
            body: Some(Body::SnapshotReply(reply)),
            ..
        })) => Ok(reply),
        Ok(Ok(_)) => Err("an answer of another kind".to_owned()),
        Ok(Err(why)) => Err(why),
        Err(_) => Err("the link broke".to_owned()),
    }
}

fn broken<R: Runtime>(why: &str) -> StreamingError<TypeConfig<R>> {
    StreamingError::Network(NetworkError::new(&AnyError::error(why)))
}

/// Snapshots that are being received, at most one per group.
#[derive(Default)]
pub struct Receiving(Mutex<BTreeMap<GroupId, Incoming>>);

struct Incoming {
    peer: NodeId,
    id: u64,
    next: u64,
    installer: SnapshotInstaller,
}

impl std::fmt::Debug for Receiving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiving").finish_non_exhaustive()
    }
}

/// Names one snapshot on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// Who sends it.
    pub peer: NodeId,
    /// Id of its pieces.
    pub id: u64,
    /// The group.
    pub group: GroupId,
}

impl Receiving {
    /// Takes a chunk; it is durable when this returns. A first chunk replaces what was being
    /// received for the group before.
    pub async fn write(
        &self,
        store: &Store,
        source: Source,
        number: u64,
        chunk: Bytes,
    ) -> Result<(), String> {
        let mut incoming = if number == 0 {
            self.take(source.group);
            let installer = store
                .begin_install(source.group)
                .map_err(|e| e.to_string())?;
            Incoming {
                peer: source.peer,
                id: source.id,
                next: 0,
                installer,
            }
        } else {
            self.expect(source, number)?
        };
        incoming
            .installer
            .write(chunk)
            .await
            .map_err(|error| error.to_string())?;
        incoming.next = number + 1;
        self.lock().insert(source.group, incoming);
        Ok(())
    }

    /// After the last chunk: what can be installed.
    pub fn finish(&self, source: Source, number: u64) -> Result<Staged, String> {
        let incoming = self.expect(source, number)?;
        incoming
            .installer
            .finish()
            .map_err(|error| error.to_string())
    }

    fn expect(&self, source: Source, number: u64) -> Result<Incoming, String> {
        match self.take(source.group) {
            Some(incoming)
                if (incoming.peer, incoming.id, incoming.next)
                    == (source.peer, source.id, number) =>
            {
                Ok(incoming)
            }
            _ => Err(format!(
                "piece {number} of a snapshot whose beginning is not here"
            )),
        }
    }

    fn take(&self, group: GroupId) -> Option<Incoming> {
        self.lock().remove(&group)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<GroupId, Incoming>> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
