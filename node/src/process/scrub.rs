//! Scrubbing, as a process is told to do it: by the node, and by the process that reads beside it.

use std::io;
use std::os::unix::process::parent_id;
use std::path::Path;
use std::time::Duration;

use super::storage::belongs_to_a_node;
use crate::config::NodeConfig;
use crate::store::scrub::apart::{self, Rest, Walked};
use crate::store::scrub::{Pace, ScrubOptions, Walker};

/// A walk looks this often whether its node still runs.
const LOOK: Duration = Duration::from_millis(100);

/// What a node with the data directory `root` scrubs, and how fast. Without a `walker` (the
/// `roadstead-node` binary) it is the journal only.
pub(super) fn options(config: &NodeConfig, walker: Option<&Path>, root: &Path) -> ScrubOptions {
    ScrubOptions {
        bytes_per_second: config.scrub_rate,
        interval: config.scrub_interval,
        spread: rand::random(),
        walker: walker.map(|binary| Walker {
            binary: binary.to_owned(),
            dir: root.to_owned(),
        }),
    }
}

/// Reads the state file in a data directory at `rate` bytes a second while a node may be using
/// it, for as long as the process lives that asked for it.
///
/// # Errors
/// When it is no node's, it cannot be read, or nobody waits for the answer any more. That says
/// nothing about what is in it.
pub fn walk(root: &Path, rate: u64) -> anyhow::Result<Walked> {
    belongs_to_a_node(root)?;
    let mut rest = WhileAsked {
        parent: parent_id(),
    };
    Ok(apart::walk(root, Pace(rate), &mut rest)?)
}

/// Sleeps as long as the process lives that began this one.
struct WhileAsked {
    parent: u32,
}

impl Rest for WhileAsked {
    fn rest(&mut self, time: Duration) -> io::Result<()> {
        let mut left = time;
        loop {
            // Whose parent ends gets another.
            if parent_id() != self.parent {
                return Err(io::Error::other(
                    "the process that asked for this has ended",
                ));
            }
            if left.is_zero() {
                return Ok(());
            }
            let piece = left.min(LOOK);
            std::thread::sleep(piece);
            left -= piece;
        }
    }
}
