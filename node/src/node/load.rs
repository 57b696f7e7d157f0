//! The load of consumer groups, as this node's leaders see it, for autoscaling.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use openraft_rt::Select2;
use roadstead_proto::v1::ConsumerLoadFrame;
use tokio::sync::mpsc;

use super::{Node, Shard};
use crate::runtime::Runtime;

/// Time between two frames when nothing wakes anybody up.
const PERIOD: Duration = Duration::from_secs(1);

/// Time between two frames at least, so that a burst of wake-ups is one frame.
const PERIOD_MIN: Duration = Duration::from_millis(20);

/// Frames that may wait for a reader; one that does not read gets the newest when it does.
const FRAMES: usize = 1;

/// Full frames, one a second and one at each wake-up, until the reader is gone.
pub(super) fn watch<R: Runtime>(node: &Arc<Node<R>>) -> mpsc::Receiver<ConsumerLoadFrame> {
    let (frames, reader) = mpsc::channel(FRAMES);
    let watched = node.clone();
    node.shared().scope.spawn(async move {
        loop {
            let shards = watched.shards();
            let versions: Vec<u64> = shards.iter().map(|shard| shard.load_version()).collect();
            if frames.send(frame(&watched, &shards)).await.is_err() {
                return;
            }
            R::sleep(PERIOD_MIN).await;
            let mut changes: FuturesUnordered<_> = shards
                .iter()
                .zip(versions)
                .map(|(shard, version)| shard.load_changed(version))
                .collect();
            let woken = async {
                if changes.next().await.is_none() {
                    std::future::pending::<()>().await;
                }
            };
            match R::select2(Box::pin(woken), Box::pin(R::sleep(PERIOD))).await {
                Select2::First(()) | Select2::Second(()) => {}
            }
        }
    });
    reader
}

fn frame<R: Runtime>(node: &Node<R>, shards: &[Arc<Shard<R>>]) -> ConsumerLoadFrame {
    ConsumerLoadFrame {
        full: true,
        node_id: node.node_id(),
        loads: shards.iter().flat_map(|shard| shard.load()).collect(),
    }
}
