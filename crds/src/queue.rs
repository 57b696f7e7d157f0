//! A queue as an object.
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::deduplication::Deduplication;
use crate::fairness::{Fairness, Priorities};
use crate::groups::Group;
use crate::limits::Limits;
use crate::retries::{Expiry, Retries};
use crate::{Span, Timestamp};

/// What a queue promises. Absent fields take the default that is named.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "roadstead.dev",
    version = "v1alpha1",
    kind = "Queue",
    plural = "queues",
    shortname = "rdq",
    category = "roadstead",
    namespaced,
    cel,
    derive = "PartialEq",
    status = "QueueStatus",
    doc = "A queue of a Roadstead cluster.",
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.clusterRef.name"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Depth", type_ = "integer", json_path = ".status.sample.ready"),
    printcolumn(name = "InFlight", type_ = "integer", json_path = ".status.sample.inFlight"),
    printcolumn(name = "Oldest", type_ = "date", json_path = ".status.sample.oldestEnqueuedAt"),
    printcolumn(name = "Dead", type_ = "integer", json_path = ".status.sample.dead"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Ordering",
        type_ = "string",
        json_path = ".spec.ordering",
        priority = 1
    ),
    printcolumn(
        name = "Partitions",
        type_ = "integer",
        json_path = ".spec.partitions",
        priority = 1
    ),
    printcolumn(
        name = "Policy",
        type_ = "string",
        json_path = ".spec.deletionPolicy",
        priority = 1
    ),
    validation = Rule::new(
        "!has(self.spec.deadLetter) || self.spec.deadLetter.queueRef.name != self.metadata.name"
    ).message(
        "a queue cannot be its own dead-letter queue: name another Queue in deadLetter.queueRef"
    ),
    validation = Rule::new(
        "has(self.spec.queueName) || self.metadata.name.matches('^[a-z0-9-]{1,80}([.]fifo)?$')"
    ).message(
        "the name of this Queue cannot be that of a queue (at most 80 letters, digits and \
         hyphens): name the queue in spec.queueName"
    )
)]
#[x_kube(
    validation = Rule::new("self.expiry.action != 'DeadLetter' || has(self.deadLetter)").message(
        "expiry.action DeadLetter needs deadLetter.queueRef: name the Queue that takes what expires"
    ),
    validation = Rule::new(
        "self.limits.overflow != 'DeadLetterOldest' || has(self.deadLetter)"
    ).message(
        "limits.overflow DeadLetterOldest needs deadLetter.queueRef: name the Queue that takes \
         what makes room"
    ),
    validation = Rule::new(
        "self.limits.overflow == 'Reject' || has(self.limits.maxMessages) \
         || has(self.limits.maxBytes)"
    ).message(
        "limits.overflow needs limits.maxMessages or limits.maxBytes: without them a queue never \
         overflows"
    ),
    validation = Rule::new("self.limits.maxInFlight >= self.partitions").message(
        "limits.maxInFlight must be at least partitions: each partition has its share"
    ),
    validation = Rule::new(
        "!has(self.groups) || self.groups.all(group, !has(group.maxInFlight) \
         || group.maxInFlight >= self.partitions)"
    ).message(
        "groups[].maxInFlight must be at least partitions: each partition has its share"
    ),
    validation = Rule::new(
        "!has(self.limits.maxMessages) || self.limits.maxMessages >= self.partitions"
    ).message(
        "limits.maxMessages must be at least partitions: each partition has its share"
    ),
    validation = Rule::new(
        "!has(self.limits.maxBytes) || quantity(self.limits.maxBytes).asInteger() \
         / self.partitions >= quantity(self.limits.maxMessageBytes).asInteger()"
    ).message(
        "limits.maxBytes must be at least limits.maxMessageBytes for each partition: each has its \
         share, and a largest message must fit"
    ),
    validation = Rule::new("self.ordering != 'Strict' || self.partitions == 1").message(
        "ordering Strict needs partitions: 1 (order holds within a partition); for more partitions \
         use ordering PerKey"
    ),
    validation = Rule::new(
        "self.ordering != 'Strict' || !has(self.fairness.weights) \
         || size(self.fairness.weights) == 0"
    ).message(
        "fairness.weights have no effect with ordering Strict (all messages come in one order): \
         leave them out"
    ),
    validation = Rule::new(
        "self.ordering != 'Strict' || duration(self.priorities.aging) == duration('0s') \
         || duration(self.priorities.aging) == duration('60s')"
    ).message(
        "priorities.aging has no effect with ordering Strict (all messages come in one order, and \
         a priority decides nothing): leave it out"
    ),
    validation = Rule::new("!self.stickyKeys || self.ordering == 'PerKey'").message(
        "stickyKeys needs ordering PerKey: only messages with keys have a consumer to stay with"
    ),
    validation = Rule::new(
        "!self.stickyKeys || !has(self.fairness.weights) || size(self.fairness.weights) == 0"
    ).message(
        "fairness.weights have no effect with stickyKeys (each consumer takes its own keys, and \
         tenants take no turns): leave one of them out"
    ),
    validation = Rule::new(
        "self.delivery != 'AtMostOnce' || !has(self.groups) \
         || self.groups.all(group, !has(group.circuitBreaker))"
    ).message(
        "groups[].circuitBreaker has no effect with delivery AtMostOnce (no delivery fails): leave \
         it out"
    ),
    validation = Rule::new(
        "self.delivery != 'AtMostOnce' || !has(self.groups) \
         || self.groups.all(group, !has(group.maxInFlight))"
    ).message(
        "groups[].maxInFlight has no effect with delivery AtMostOnce (nothing is in flight): leave \
         it out"
    ),
    validation = Rule::new(
        "!has(self.groups) || self.groups.all(group, !has(group.maxInFlight) \
         || group.maxInFlight <= self.limits.maxInFlight)"
    ).message(
        "groups[].maxInFlight is more than limits.maxInFlight (default 20000), which all groups \
         share: lower it, or raise that"
    ),
    validation = Rule::new(
        "!has(self.deduplication) || !has(self.deduplication.scope) \
         || self.deduplication.scope != 'Queue' || self.ordering != 'PerKey' \
         || self.partitions == 1"
    ).message(
        "deduplication.scope Queue with ordering PerKey needs partitions: 1 (messages go to \
         partitions by their keys, so an id is known among those of its key only): use scope Key"
    ),
    validation = Rule::new(
        "!has(self.deduplication) || self.deduplication.maxIds >= self.partitions"
    ).message("deduplication.maxIds is shared by the partitions: at least 1 for each"),
    validation = Rule::new(
        "!has(self.deduplication) || !has(oldSelf.deduplication) \
         || self.ordering == 'PerKey' || self.partitions == oldSelf.partitions"
    ).message(
        "partitions cannot change while there is deduplication without ordering PerKey (ids would \
         be looked for in other partitions than those that remember them): take deduplication away \
         first"
    ),
    validation = Rule::new(
        "!has(self.deduplication) || !has(oldSelf.deduplication) \
         || (has(self.deduplication.scope) ? self.deduplication.scope \
         : (self.ordering == 'PerKey' ? 'Key' : 'Queue')) \
         == (has(oldSelf.deduplication.scope) ? oldSelf.deduplication.scope \
         : (oldSelf.ordering == 'PerKey' ? 'Key' : 'Queue'))"
    ).message(
        "deduplication.scope cannot change (ids are remembered in the other scope): take \
         deduplication away first"
    ),
    validation = Rule::new(
        "has(self.queueName) == has(oldSelf.queueName) \
         && (!has(self.queueName) || self.queueName == oldSelf.queueName)"
    ).message("queueName cannot change: create another Queue and move the messages there")
)]
#[serde(rename_all = "camelCase")]
pub struct QueueSpec {
    /// The cluster that holds the queue. Cannot change.
    #[x_kube(validation = Rule::new(
        "self.name == oldSelf.name && has(self.__namespace__) == has(oldSelf.__namespace__) \
         && (!has(self.__namespace__) || self.__namespace__ == oldSelf.__namespace__)"
    ).message(
        "clusterRef cannot change: create another Queue in the other cluster and move the messages"
    ))]
    pub cluster_ref: ClusterRef,
    /// Name of the queue in the cluster, where it is `namespace/queueName`. Default: the object's
    /// name. Cannot change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 85), pattern(r"^[A-Za-z0-9_-]{1,80}([.]fifo)?$"))]
    pub queue_name: Option<String>,
    /// 1..1024, only grows; stays while there is deduplication, unless `ordering` is `PerKey`.
    /// Default: 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1024))]
    #[x_kube(validation = Rule::new("self >= oldSelf").message(
        "partitions only grow: create another Queue with fewer and move the messages there"
    ))]
    pub partitions: i32,
    /// Which order is kept. Default: `None`. Cannot change.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self == oldSelf").message(
        "ordering cannot change: create another Queue and move the messages there"
    ))]
    pub ordering: Ordering,
    /// Whether each key stays with one streaming consumer of a group: the keys of a partition are
    /// spread over the consumers that are there. Only with ordering `PerKey`. Default: false.
    /// Cannot change.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self == oldSelf").message(
        "stickyKeys cannot change: create another Queue and move the messages there"
    ))]
    pub sticky_keys: bool,
    /// What a delivery promises. Default: `AtLeastOnce`.
    #[serde(default)]
    pub delivery: Delivery,
    /// How long a delivery is leased: 0 s..12 h. Default: `30s`. With `0s` a message is for others
    /// again at once, unless its consumer asks for a lease of its own.
    #[serde(default = "default_lease")]
    #[x_kube(validation = Rule::new(
        "duration(self) >= duration('0s') && duration(self) <= duration('12h')"
    ).message("lease must be 0s to 12h: a message is acked within it"))]
    pub lease: Span,
    /// When a waiting message is given up. Default: the defaults of its fields.
    #[serde(default)]
    pub expiry: Expiry,
    /// What happens to a message that was not acked. Default: the defaults of its fields.
    #[serde(default)]
    pub retries: Retries,
    /// Where messages go that failed too often or were rejected; absent: they are dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<DeadLetter>,
    /// How a message that is sent again is known, beside its producer's numbers; absent: it is not,
    /// and messages with a deduplication id are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deduplication: Option<Deduplication>,
    /// What is said of consumer groups. Every queue has the group `default`; others are those that
    /// are named here, at most 1023.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub groups: Vec<Group>,
    /// How priorities count. Default: the defaults of its fields.
    #[serde(default)]
    pub priorities: Priorities,
    /// How tenants take turns. Default: each has one message in a turn.
    #[serde(default)]
    pub fairness: Fairness,
    /// What the queue may hold at most. Default: the defaults of its fields.
    #[serde(default)]
    pub limits: Limits,
    /// What happens to the queue when this object is deleted. Default: `Retain`.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

/// Names a `QueueCluster`.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterRef {
    /// Its name.
    #[schemars(length(min = 1, max = 40))]
    pub name: String,
    /// Its namespace. Default: the queue's own. The cluster must allow the queue's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
}

/// Which order a queue keeps.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ordering {
    /// No order is promised.
    #[default]
    None,
    /// Messages with the same ordering key are delivered in order, one at a time.
    PerKey,
    /// All messages are delivered in order; needs one partition.
    Strict,
}

/// What a delivery promises.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Delivery {
    /// A delivery is leased until it is acked.
    #[default]
    AtLeastOnce,
    /// A delivery is acked by being delivered.
    AtMostOnce,
}

/// Where messages go that failed too often or were rejected.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    /// A Queue object of the same namespace and cluster, not itself.
    pub queue_ref: QueueObjectRef,
}

/// Names a `Queue` object of the same namespace.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueueObjectRef {
    /// Its object name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// What happens to the queue when its object is deleted. None of these blocks the deletion.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeletionPolicy {
    /// The queue and its messages stay in the cluster; the same object finds them again.
    #[default]
    Retain,
    /// The queue goes when it holds no message; else it stays, with a Warning event.
    DeleteIfEmpty,
    /// The queue goes with its messages.
    Delete,
}

/// What the operator last saw of a queue.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueStatus {
    /// The generation that the rest speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The queue's number in the cluster, never used again.
    #[serde(default, rename = "queueID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20))]
    pub queue_id: Option<String>,
    /// Counts, written only when they moved by more than a tenth, at most every 30 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<QueueSample>,
    /// Accepted, Ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// Counts of the consumer group `default` of a queue at one moment.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueSample {
    /// When they were read.
    pub at: Timestamp,
    /// Receivable now.
    pub ready: i64,
    /// Leased to a consumer.
    pub in_flight: i64,
    /// Delayed by their sender or backing off.
    pub delayed: i64,
    /// Dead-lettered so far.
    pub dead: i64,
    /// When the oldest ready message was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_enqueued_at: Option<Timestamp>,
}

fn one() -> i32 {
    1
}

fn default_lease() -> Span {
    "30s".into()
}
