//! When a queue may have sticky keys.

use super::spec::{Checks, QueueSpec};
use crate::shard::Ordering;

impl Checks {
    pub(super) fn sticky_keys(&mut self, spec: &QueueSpec) {
        if !spec.sticky_keys {
            return;
        }
        if spec.ordering != Ordering::PerKey {
            let why = "keys stay with a consumer only where order is kept by key: make the queue \
                       with ordering PER_KEY, or leave it out";
            self.add("sticky_keys", why.into());
        }
        if !spec.weights.is_empty() {
            let why = "where keys are sticky, each consumer takes its own keys and tenants take \
                       no turns: leave the weights out, or sticky_keys";
            self.add("fairness.weights", why.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{TenantShare, validate};

    #[test]
    fn sticky_keys_need_order_by_key_and_no_weights() {
        let fields = |spec: &QueueSpec| -> Vec<&str> {
            let wrong = validate(spec).err().unwrap_or_default();
            wrong.iter().map(|violation| violation.field).collect()
        };
        let sticky = |ordering| QueueSpec {
            ordering,
            sticky_keys: true,
            ..QueueSpec::default()
        };
        assert_eq!(fields(&sticky(Ordering::PerKey)), [""; 0]);
        for ordering in [Ordering::None, Ordering::Strict] {
            assert_eq!(fields(&sticky(ordering)), ["sticky_keys"]);
        }
        let weighted = QueueSpec {
            weights: vec![TenantShare {
                tenant: "gold".into(),
                weight: 3,
            }],
            ..sticky(Ordering::PerKey)
        };
        assert_eq!(fields(&weighted), ["fairness.weights"]);
        let plain = QueueSpec {
            sticky_keys: false,
            ..weighted
        };
        assert_eq!(fields(&plain), [""; 0]);
    }
}
