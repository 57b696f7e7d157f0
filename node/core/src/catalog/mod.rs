//! The state machine of the catalog: queues, members, placement, quotas and the cluster's version.

mod boot;
mod breaker;
mod dead_letter;
mod deduplication;
mod entry;
mod fairness;
mod groups;
mod limits;
mod machine;
mod model;
mod names;
mod op;
mod quota;
mod reply;
mod row;
mod spec;
mod spread;
mod sticky;

pub use boot::Boot;
pub use breaker::{MAX_BREAKER_MS, MIN_BREAKER_MS};
pub use deduplication::{DEFAULT_IDS, DEFAULT_WINDOW_MS, MAX_IDS, MAX_WINDOW_MS, MIN_WINDOW_MS};
pub use entry::encode_entry;
pub use fairness::{MAX_AGING_MS, MAX_TENANT_BYTES, TenantShare};
pub use groups::{ConsumerGroup, DEFAULT_GROUP_NAME, GroupIds};
pub use limits::MAX_RATE;
pub use machine::{ApplyError, CatalogMachine};
pub use model::{Cluster, Member, NodeInfo, Placement, Queue, QueueName, QueueState};
pub use names::{validate_namespace, validate_queue_name};
pub use op::{
    AddMember, Bootstrap, CreateQueue, DeleteQueue, DrainMember, FinalizeVersion, FinishDelete, Op,
    RemoveMember, SetPlacement, SetQuota, UpdateMember, UpdateQueue,
};
pub use quota::{
    ANY_NAMESPACE, Bound, Excess, MAX_QUOTA, MAX_QUOTAS, Quota, QuotaReport, Taken, Usage, Why,
};
pub use reply::{Applied, Refusal, Reply};
pub use spec::{
    DEFAULT_BACKOFF, MAX_LEASE_MS, MAX_MESSAGE_BYTES, MAX_PARTITIONS, MIN_TTL_MS, QueueSpec,
    Violation, validate,
};

/// Highest command version that this binary can apply, of the catalog and of shards.
pub const COMMAND_VERSION: u32 = 1;
