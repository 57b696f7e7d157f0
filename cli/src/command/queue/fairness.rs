//! Priorities and tenants of a queue as options.

use std::time::Duration;

use clap::Args;
use roadstead_client::proto::{QueueSpec, TenantWeight};

use crate::units;

/// How priorities count, and how tenants take turns.
#[derive(Debug, Default, PartialEq, Eq, Args)]
pub struct Fairness {
    /// A message is received as though it had come so much earlier for each step of its priority,
    /// 0s..24h; 0s: what has a higher one always goes first
    #[arg(long, value_parser = units::duration, allow_hyphen_values = true)]
    aging: Option<Duration>,
    /// A tenant that may have more than one message in a turn, as TENANT=1..1000. Say it for each:
    /// those that are not named have 1
    #[arg(long = "weight", value_name = "TENANT=N", value_parser = weight)]
    weights: Vec<TenantWeight>,
    /// No tenant has more than one message in a turn any more
    #[arg(long, conflicts_with = "weights")]
    no_weights: bool,
}

fn weight(text: &str) -> Result<TenantWeight, String> {
    let wrong = || format!("{text:?} is not TENANT=N with N in 1..1000");
    let (tenant, weight) = text.rsplit_once('=').ok_or_else(wrong)?;
    let weight = weight.parse().ok().filter(|n| (1..=1_000).contains(n));
    Ok(TenantWeight {
        tenant: Some(tenant.to_owned())
            .filter(|it| !it.is_empty())
            .ok_or_else(wrong)?,
        weight: weight.ok_or_else(wrong)?,
    })
}

impl Fairness {
    /// Writes what is named into `spec`.
    pub fn apply(self, spec: &mut QueueSpec) {
        if let Some(aging) = self.aging {
            let priorities = spec.priorities.get_or_insert_default();
            priorities.aging = prost_types::Duration::try_from(aging).ok();
        }
        if self.no_weights || !self.weights.is_empty() {
            spec.fairness.get_or_insert_default().weights = self.weights;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_is_of_a_tenant_with_any_name() {
        let of = weight("a=b=7").expect("a weight");
        assert_eq!((of.tenant.as_str(), of.weight), ("a=b", 7));
        for bad in ["a", "=3", "a=0", "a=1001", "a=-1", "a=x"] {
            assert!(weight(bad).is_err(), "{bad}");
        }
    }
}
