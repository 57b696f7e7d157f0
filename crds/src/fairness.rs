//! Priorities and tenants of messages.
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Span;

/// How priorities count: a message says 0 to 9, and what has a higher one is received first.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Priorities {
    /// A message is received as though it had come so much earlier for each step of its priority:
    /// 0 s..24 h. So the lowest one waits for nothing that comes later than nine times that; with
    /// `0s` it waits as long as there is anything else. Default: `60s`.
    #[serde(default = "default_aging")]
    #[x_kube(validation = Rule::new(
        "duration(self) >= duration('0s') && duration(self) <= duration('24h')"
    ).message("priorities.aging must be between 0s and 24h"))]
    pub aging: Span,
}

impl Default for Priorities {
    fn default() -> Self {
        Self {
            aging: default_aging(),
        }
    }
}

/// How tenants, the fairness keys of messages, take turns.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Fairness {
    /// Tenants that may have more than one message in a turn, at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["tenant".into()]))]
    pub weights: Vec<TenantWeight>,
}

/// How many messages a tenant may have in a turn.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantWeight {
    /// A fairness key, 1..128 bytes.
    #[schemars(length(min = 1, max = 128))]
    pub tenant: String,
    /// 1..1000. A tenant that is not named has 1.
    #[schemars(range(min = 1, max = 1000))]
    pub weight: i32,
}

fn default_aging() -> Span {
    "60s".into()
}
