//! Frames between nodes, above whatever carries them: tonic, or the simulator.

pub mod grpc;

use std::future::Future;
use std::io;
use std::pin::Pin;

use roadstead_proto::v1::PeerFrame;
use tokio::sync::mpsc;

/// Which of the two links to a peer: they do not wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Votes, heartbeats and transfers: small, and late is as bad as lost.
    Urgent,
    /// Entries, snapshots, calls and subscriptions.
    Bulk,
}

/// One open link: frames go out by `sender` and come in by `receiver`, in order, none twice.
///
/// The link is broken when either end reports its channel closed; frames in flight may then be
/// lost. Both channels are bounded in frames, so a slow peer is felt by the sender.
#[derive(Debug)]
pub struct Link {
    /// To the peer.
    pub sender: mpsc::Sender<PeerFrame>,
    /// From the peer.
    pub receiver: mpsc::Receiver<PeerFrame>,
}

/// Opens links to peers. Incoming links are handed to the node by whoever accepts them.
pub trait Transport: Send + Sync + 'static {
    /// Connects to the peer listener at `address` (host:port).
    ///
    /// Ends in bounded time. The peer is authenticated when this returns; that it belongs to the
    /// same cluster is checked by the hello that the caller exchanges.
    fn dial(
        &self,
        address: &str,
        lane: Lane,
    ) -> Pin<Box<dyn Future<Output = io::Result<Link>> + Send + '_>>;
}
