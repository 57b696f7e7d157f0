//! Priorities and tenants as the API has them, from and to the core's.

use roadstead_core::catalog::{QueueSpec, TenantShare};
use roadstead_proto::v1;

use super::convert::milliseconds;
use crate::gateway::ApiError;
use crate::shard::wire::duration_ms;

/// Longest tenant that is looked at, in bytes; what is longer is none.
const TENANT_MAX: usize = 255;

/// The aging that a request asks for, in ms.
pub(super) fn aging_from_wire(
    wire: Option<&v1::Priorities>,
    default: u64,
) -> Result<u64, ApiError> {
    let aging = wire.and_then(|priorities| priorities.aging.as_ref());
    milliseconds("spec.priorities.aging", aging, default)
}

/// The tenants with a weight of their own.
pub(super) fn weights_from_wire(wire: Option<&v1::Fairness>) -> Result<Vec<TenantShare>, ApiError> {
    let weights = wire.iter().flat_map(|fairness| &fairness.weights);
    let share = |of: &v1::TenantWeight| {
        if of.tenant.len() > TENANT_MAX {
            let message = "spec.fairness.weights has a tenant of more than 128 bytes";
            return Err(ApiError::invalid("spec.fairness.weights", message));
        }
        Ok(TenantShare {
            tenant: of.tenant.clone(),
            weight: of.weight,
        })
    };
    weights.map(share).collect()
}

/// How priorities count, as the API shows it.
pub(super) fn priorities_to_wire(spec: &QueueSpec) -> v1::Priorities {
    v1::Priorities {
        aging: Some(duration_ms(spec.aging_ms)),
    }
}

/// How tenants take turns, as the API shows it.
pub(super) fn fairness_to_wire(spec: &QueueSpec) -> v1::Fairness {
    let weight = |of: &TenantShare| v1::TenantWeight {
        tenant: of.tenant.clone(),
        weight: of.weight,
    };
    v1::Fairness {
        weights: spec.weights.iter().map(weight).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_and_aging_come_back() {
        let share = |tenant: &str, weight| TenantShare {
            tenant: tenant.into(),
            weight,
        };
        let spec = QueueSpec {
            aging_ms: 5_000,
            weights: vec![share("b", 3), share("a", 1_000)],
            ..QueueSpec::default()
        };
        let fairness = fairness_to_wire(&spec);
        assert_eq!(
            weights_from_wire(Some(&fairness)).expect("valid"),
            spec.weights
        );
        let priorities = priorities_to_wire(&spec);
        assert_eq!(aging_from_wire(Some(&priorities), 7).expect("valid"), 5_000);
        assert_eq!(aging_from_wire(None, 7).expect("valid"), 7);
        assert_eq!(weights_from_wire(None).expect("valid"), []);
        let long = v1::Fairness {
            weights: vec![v1::TenantWeight {
                tenant: "x".repeat(256),
                weight: 1,
            }],
        };
        let error = weights_from_wire(Some(&long)).expect_err("too long");
        assert_eq!(error.detail.field, "spec.fairness.weights");
    }
}
