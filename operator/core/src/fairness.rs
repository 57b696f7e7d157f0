//! Priorities and tenants of a Queue manifest as the node is asked for them, and as they compare.
use roadstead_crds as crds;
use roadstead_proto::v1;

use crate::queue::{duration, positive};
use crate::validate::Violation;

/// How priorities count.
pub(crate) fn priorities(spec: &crds::Priorities) -> Result<v1::Priorities, Violation> {
    let aging = Some(duration(&spec.aging, "spec.priorities.aging")?);
    Ok(v1::Priorities { aging })
}

/// How tenants take turns, in order of their names.
pub(crate) fn specification(spec: &crds::Fairness) -> v1::Fairness {
    let weight = |of: &crds::TenantWeight| v1::TenantWeight {
        tenant: of.tenant.clone(),
        weight: positive(of.weight),
    };
    let mut fairness = v1::Fairness {
        weights: spec.weights.iter().map(weight).collect(),
    };
    sort(&mut fairness);
    fairness
}

/// Sets what is left out.
pub(crate) fn settle(spec: &mut v1::QueueSpec) {
    let minute = prost_types::Duration {
        seconds: 60,
        nanos: 0,
    };
    let priorities = spec.priorities.get_or_insert_default();
    priorities.aging.get_or_insert(minute);
    sort(spec.fairness.get_or_insert_default());
}

fn sort(fairness: &mut v1::Fairness) {
    let weights = &mut fairness.weights;
    weights.sort_by(|one, other| one.tenant.cmp(&other.tenant));
}
