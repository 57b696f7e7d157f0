//! What applying an entry of the catalog gives.

use super::model::Queue;
use super::quota::Excess;
use super::spec::Violation;

/// What applying one entry gives.
#[derive(Debug, Default)]
pub struct Applied {
    /// One per op, in the same order.
    pub replies: Vec<Reply>,
    /// Members or placement changed.
    pub cluster_changed: bool,
    /// Ids of queues that changed, came or went.
    pub queues_changed: Vec<u64>,
}

/// Answer to one op.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// It did nothing.
    Refused(Refusal),
    /// To Bootstrap. False: the cluster had been founded before, with the same id.
    Founded(bool),
    /// Done, or it was so already.
    Done,
    /// To `CreateQueue`, `UpdateQueue` and `DeleteQueue`.
    Queue {
        /// The queue as it is now.
        queue: Box<Queue>,
        /// False: it was so already.
        changed: bool,
    },
}

/// Why an op did nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nothing can be done before Bootstrap.
    #[error("the cluster has not been founded: bootstrap it first")]
    NotFounded,
    /// The catalog belongs to another cluster.
    #[error("this is cluster {0}, not the one that was named")]
    OtherCluster(String),
    /// Bootstrap asks for something that cannot be.
    #[error("bootstrap: {0}")]
    BadBootstrap(String),
    /// A newer operator has spoken.
    #[error("order {got} is older than {newest}: another operator has taken over")]
    Fenced {
        /// Fence of the order.
        got: u64,
        /// Newest fence heard of.
        newest: u64,
    },
    /// No such member.
    #[error("node {0:016x} is not a member")]
    NoMember(u64),
    /// A node came back with another start than its last: its disk is old or a copy.
    #[error(
        "start {got} of node {node:016x} does not continue start {known}, which the cluster has \
         seen: its disk is a restored or copied one, it must come back as a new node"
    )]
    OldBoot {
        /// The node.
        node: u64,
        /// Number of the start that it reports.
        got: u64,
        /// Number of the start that is known.
        known: u64,
    },
    /// A node holds a replica.
    #[error("node {node:016x} still holds a replica of group {group}: drain it first")]
    StillPlaced {
        /// The node.
        node: u64,
        /// The group.
        group: u16,
    },
    /// A node's data was given up.
    #[error(
        "the data of node {0:016x} is given up: it takes no part again, add the node in its place"
    )]
    Lost(u64),
    /// A placement is none.
    #[error("placement of group {group}: {why}")]
    BadPlacement {
        /// The group.
        group: u16,
        /// What is wrong.
        why: String,
    },
    /// The specification or a name is not valid.
    #[error("{}", told(.0))]
    Invalid(Vec<Violation>),
    /// Another queue has this name.
    #[error("queue {0} exists with another specification: update it, or choose another name")]
    Exists(String),
    /// No such queue.
    #[error("there is no queue {0}")]
    NoQueue(String),
    /// The queue is being deleted.
    #[error("queue {0} is being deleted: try again when it is gone")]
    Deleting(String),
    /// A field that cannot change.
    #[error("{field} cannot change in place: {why}")]
    Immutable {
        /// The field, as the API names it.
        field: &'static str,
        /// Why not, and what to do.
        why: &'static str,
    },
    /// The queue has changed since the caller looked.
    #[error("the queue has generation {present}, not {expected}: look again")]
    WrongGeneration {
        /// Generation that the caller named.
        expected: u64,
        /// Present generation.
        present: u64,
    },
    /// `dead_letter.queue` names a queue that is not there.
    #[error("dead-letter queue {0} does not exist: create it first")]
    NoDeadLetterQueue(String),
    /// Others name the queue for their dead letters.
    #[error(
        "queue {queue} takes the dead letters of {}: delete these first, or give them another \
         dead-letter queue",
        some(by)
    )]
    TakesDeadLetters {
        /// The queue.
        queue: String,
        /// Who names it.
        by: Vec<String>,
    },
    /// The quota of the namespace does not leave what is asked for.
    #[error("{0}")]
    QuotaExceeded(Box<Excess>),
    /// A member cannot apply the version.
    #[error("cannot finalize version {version}: member {node:016x} knows commands up to {knows}")]
    VersionTooHigh {
        /// Version asked for.
        version: u32,
        /// A member that is in the way.
        node: u64,
        /// What it can apply.
        knows: u32,
    },
}

/// The first ten, and how many more.
pub(super) fn some(names: &[String]) -> String {
    let (shown, more) = names.split_at(names.len().min(10));
    match more.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn told(violations: &[Violation]) -> String {
    let all: Vec<_> = violations
        .iter()
        .map(|v| format!("{}: {}", v.field, v.message))
        .collect();
    all.join("; ")
}
