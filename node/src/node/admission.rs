//! A node takes part only when its peers know of no later start of it than this one.
//!
//! On a volume that was put back to an older state, or copied, a node has forgotten what it voted
//! for and what it acknowledged. Whoever knows its latest start says so; to hear it, the node asks
//! all other members before it asks or answers anything else, and goes on when all have answered,
//! or a majority has and the others have been waited for: one of them may be the one that knows.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use openraft_rt::Instant as _;

use super::Node;
use crate::runtime::Runtime;

/// The longest that one answer may take.
const ANSWER: Duration = Duration::from_secs(1);
/// Those that do not answer are waited for as long, when a majority has answered. Longer than it
/// takes to replace a pod: a peer that is about to come back may be the one that knows.
const MOMENT: Duration = Duration::from_secs(5);
/// Pause before those that have not answered are asked again.
const PAUSE: Duration = Duration::from_millis(100);
/// Without a majority a node goes on after this. It may be away for so long that the members it
/// knows are members no more; who is, checks its start with every link.
const LONELY: Duration = Duration::from_secs(10);

/// What follows from the answers so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Those that have not answered are asked again.
    Ask,
    TakePart,
    /// It takes part, though no majority has answered.
    TakePartAlone,
}

/// Of so many members, this node among them, `silent` have not answered for so long.
fn verdict(members: usize, silent: usize, waited: Duration) -> Verdict {
    let has_majority = (members - silent) * 2 > members;
    if silent == 0 || (has_majority && waited >= MOMENT) {
        Verdict::TakePart
    } else if waited >= LONELY {
        Verdict::TakePartAlone
    } else {
        Verdict::Ask
    }
}

pub(super) async fn run<R: Runtime>(node: Arc<Node<R>>) {
    // As the catalog on this node's disk has them; it may be behind.
    let mut silent = node.meet_members();
    let members = silent.len() + 1;
    let began = R::Instant::now();
    loop {
        let asked = silent.iter().map(|peer| {
            let (peer, peers) = (*peer, node.peers());
            async move { peers.introduce(peer, ANSWER).await.map(|()| peer) }
        });
        for answered in join_all(asked).await {
            match answered {
                Ok(peer) => drop(silent.remove(&peer)),
                Err(why) => tracing::debug!(why, "a peer has not answered yet"),
            }
        }
        // It may have been disowned.
        if node.is_stopping() {
            return;
        }
        match verdict(members, silent.len(), began.elapsed()) {
            Verdict::Ask => R::sleep(PAUSE).await,
            Verdict::TakePart => break,
            Verdict::TakePartAlone => {
                let silent = silent.len();
                tracing::warn!(members, silent, "no majority of peers answers");
                break;
            }
        }
    }
    node.peers().admit();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_takes_part_once_its_peers_have_answered() {
        let cases = [
            (1, 0, Duration::ZERO, Verdict::TakePart),
            (3, 0, Duration::ZERO, Verdict::TakePart),
            (3, 1, MOMENT.saturating_sub(PAUSE), Verdict::Ask),
            (3, 1, MOMENT, Verdict::TakePart),
            (3, 2, MOMENT, Verdict::Ask),
            (3, 2, LONELY.saturating_sub(PAUSE), Verdict::Ask),
            (3, 2, LONELY, Verdict::TakePartAlone),
            (4, 2, MOMENT, Verdict::Ask),
            (5, 2, MOMENT, Verdict::TakePart),
        ];
        for (members, silent, waited, expected) in cases {
            let found = verdict(members, silent, waited);
            assert_eq!(
                found, expected,
                "{silent} of {members} silent for {waited:?}"
            );
        }
    }
}
